"""How an agent starts: transfer methods, alignment, reports. May import envs and agents."""
