"""What makes a policy robust and how that is judged: worlds, realities, gaps, robustness maps.

May import: core, envs, agents, transfer.
"""
