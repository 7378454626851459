"""Pretraining encoders on frames alone: the objectives, one file each, and the loop.

May import: core, envs, agents, transfer.frames, transfer.probing.
"""
