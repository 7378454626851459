"""Carrying tensors and statistics of a source into an agent of other spaces, with a report of each.

May import: core, envs, agents, transfer.matching.
"""
