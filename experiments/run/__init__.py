"""Running studies and reading runs back: scheduling, what is predicted, states of trials.

May import: core, envs, agents, transfer, sim2real, experiments.records, experiments.trial,
experiments.engines, experiments.study, experiments.analysis, experiments.report.
"""
