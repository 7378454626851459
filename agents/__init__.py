"""What learns: PPO, SAC and TD3 with seams, checkpoints, evaluation. May import envs."""
