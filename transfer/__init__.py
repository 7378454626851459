"""How an agent starts: `warm_start`, from whatever was learned elsewhere, and the table of methods.

May import: core, envs, agents.
"""
