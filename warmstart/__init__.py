"""warmstart: start reinforcement learning agents from what was learned elsewhere, and know whether it helped."""
