"""Will a transfer help? What a few thousand steps in the target tell before any training.

May import: core, envs, agents, transfer.matching, transfer.carry, transfer.methods, transfer.teaching.
"""
