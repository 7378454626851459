"""What is compared and shown: studies, trials, metrics, reports. May import every other room."""
