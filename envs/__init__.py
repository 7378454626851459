"""What is simulated: tasks, physical parameters, layouts, environments. Imports nothing of ours."""
