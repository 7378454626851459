"""What takes the place of the task's reward while an agent trains: one kind a file, and the table of them.

May import: core, envs.
"""
