"""What makes a policy robust: domain randomization. May import envs, agents and transfer."""
