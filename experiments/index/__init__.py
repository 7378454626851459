"""Many runs as one database: which there are, their trials, evaluations and metrics, as tables to query.

May import: core, agents, experiments.records, experiments.run, experiments.pairs.
"""
