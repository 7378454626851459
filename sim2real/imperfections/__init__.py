"""What sensors, actuators, links and surroundings do wrong.

May import: core, envs.
"""
