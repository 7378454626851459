"""What people see of a run: figures and one HTML file.

May import: core, envs, agents, transfer, sim2real, experiments.analysis, experiments.records.
"""
