"""Visual encoders that stay as they are: networks, preprocessing, readouts, fast encoding.

May import: core, envs, agents.settings.
"""
