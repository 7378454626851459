"""Domain randomization as data: terms, distributions, recipes.

May import: core, envs.
"""
