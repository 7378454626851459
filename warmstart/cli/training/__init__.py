"""Subcommands that train one agent.

May import: core, envs, agents, transfer, sim2real, experiments.
"""
