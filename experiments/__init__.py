"""What is compared and shown: studies, their trials, statistics, reports.

May import: core, envs, agents, transfer, sim2real.
"""
