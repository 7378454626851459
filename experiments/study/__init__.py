"""A study, and the trials that it comes to.

May import: core, envs, agents, transfer, sim2real, experiments.records, experiments.trial,
experiments.engines.
"""
