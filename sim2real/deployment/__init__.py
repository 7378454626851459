"""Exported policies outside of the simulation: what runs them, what watches them, a robot like hardware.

May import: core, envs, agents, transfer, sim2real.recordings, sim2real.deployment.runtime.
"""
