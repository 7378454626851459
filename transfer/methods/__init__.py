"""The transfer methods, one file each, and the table that users add theirs to.

May import: core, envs, agents, transfer.carry.
"""
