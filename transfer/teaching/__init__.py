"""A source's policy that teaches: by what it would do, or by doing it; and what it did in its own task.

May import: core, envs, agents, transfer.matching, transfer.carry, transfer.methods.
"""
