"""What stable-baselines3 of any version wrote: zips, policies, normalisers, as data; nothing is unpickled.

May import: core, envs, agents.settings, agents.encoders, agents.extractors, agents.observing,
agents.checkpoints, agents.untrusted.
"""
