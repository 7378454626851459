"""Subcommands about what comes after training: export, run, monitor, view, push and pull, one file each.

May import: core, envs, agents, transfer, sim2real, experiments.
"""
