"""The command's subcommands, one file each.

May import: core, envs, agents, transfer, sim2real, experiments.
"""
