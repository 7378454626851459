"""A checkpoint's policy as one file: the graph, its contract, smaller variants, and what they cost.

May import: core, envs, agents, transfer, sim2real.deployment, sim2real.deployment.runtime.
"""
