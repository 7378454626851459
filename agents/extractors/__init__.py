"""Visual encoders inside a policy, where they train.

May import: core, envs, agents.settings, agents.algorithms, agents.encoders.
"""
