"""PPO, SAC, TD3, TQC and CrossQ: SB3's and sb3-contrib's, with the six seams that a transfer method may fill.

May import: core, envs, agents.settings, agents.fast.
"""
