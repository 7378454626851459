"""Which dimension of a source is which of a target, and what its numbers are there.

May import: core, envs.
"""
