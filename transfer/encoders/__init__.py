"""Pretrained visual encoders: where weights are found and how they are read.

May import: core, envs, agents.
"""
