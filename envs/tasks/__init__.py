"""What a task is: its text, its physical context, and where other rooms act inside an environment.

May import: core, envs.simulation, envs.robots.
"""
