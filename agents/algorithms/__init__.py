"""PPO, SAC and TD3: SB3's, with the six seams that a transfer method may fill.

May import: core, envs, agents.settings, agents.fast.
"""
