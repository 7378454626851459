"""Physical and visual parameters: what a model has, how each is written, what is in force.

May import: core, envs.simulation, envs.robots, envs.tasks.
"""
