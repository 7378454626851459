"""Drawing simulations off screen, and the options of a task that ask for it.

May import: core, envs.simulation, envs.tasks, envs.physics, envs.robots.
"""
