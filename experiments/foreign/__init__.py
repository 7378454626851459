"""Curves that others recorded: a reader for each kind of file, and their names and seeds.

May import: core, envs, agents, transfer, sim2real, experiments.records, experiments.trial,
experiments.study, experiments.analysis, experiments.report, experiments.run.
"""
