"""Policies outside of the simulation: export to one file, what watches it, a robot that fails like hardware.

May import: core, envs, agents, transfer, sim2real.recordings, sim2real.deployment.runtime.
"""
