"""Frames of tasks, acted in at random or by a policy, beside their state.

May import: core, envs, agents.
"""
