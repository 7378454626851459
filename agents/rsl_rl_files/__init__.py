"""Checkpoints that rsl_rl's PPO runner wrote, also mjlab's and Isaac Lab's, as data; nothing is unpickled.

May import: core, envs, agents.settings, agents.encoders, agents.extractors, agents.observing,
agents.checkpoints, agents.untrusted.
"""
