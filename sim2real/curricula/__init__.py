"""Randomization whose ranges follow what the agent can do, one method a file.

May import: core, envs, agents, sim2real.randomization.
"""
