"""One trial from its configuration to its last file.

May import: core, envs, agents, transfer, sim2real, experiments.records.
"""
