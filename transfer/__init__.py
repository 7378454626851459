"""How an agent starts: `warm_start`, from whatever was learned elsewhere.

May import: core, envs, agents.
"""
