"""How well features predict the state, and which pixels they come from.

May import: core, envs, agents, transfer.frames.
"""
