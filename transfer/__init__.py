"""How an agent starts: methods, alignment of different spaces, reports. May import envs and agents."""
