"""Policies to give away and to take: model cards, folders and the Hugging Face hub.

May import: core, envs, agents, transfer, sim2real, experiments.records, experiments.report,
experiments.templates.
"""
