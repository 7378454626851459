"""One study over several sources and targets: a study for each pair, and what they say together.

May import: core, envs, agents, transfer, sim2real, experiments.records, experiments.engines,
experiments.analysis, experiments.report, experiments.study, experiments.run, experiments.templates.
"""
