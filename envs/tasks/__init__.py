"""What a task is: its text, its physical context, the names of its dimensions.

May import: core, envs.simulation.
"""
