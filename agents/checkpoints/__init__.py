"""Policies on their own and on disk: checkpoints that can't run code, and SB3's zip files.

May import: core, envs, agents.hub, agents.settings, agents.encoders, agents.extractors, agents.observing,
agents.rewards.
"""
