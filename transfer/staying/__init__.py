"""Methods that hold the parameters near the source's.

May import: core, envs, agents, transfer.carry, transfer.methods, transfer.teaching,
transfer.replaying.
"""
