"""Whether an encoder tells the state, and where it looks.

May import: core, envs, agents, transfer.frames.
"""
