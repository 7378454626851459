"""PPO's update by hand, bit for bit as SB3's and sooner; could be deleted.

May import: core.
"""
