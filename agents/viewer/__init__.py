"""A policy to watch and to push, live in the browser.

May import: core, envs, agents.checkpoints.
"""
