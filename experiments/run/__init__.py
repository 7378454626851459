"""Running studies and reading runs back: processes, scheduling, import of others' curves.

May import: core, envs, agents, transfer, sim2real, experiments.records, experiments.trial,
experiments.study, experiments.analysis, experiments.report.
"""
