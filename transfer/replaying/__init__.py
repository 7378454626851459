"""Steps that were taken before: a source's in its own task, or a dataset's; learned from and imitated.

May import: core, envs, agents, transfer.matching, transfer.carry, transfer.methods, transfer.teaching.
"""
