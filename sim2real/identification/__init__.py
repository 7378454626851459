"""Physical parameters from recorded motion: recordings, replay, fit, verdict.

May import: core, envs, agents, sim2real.randomization, sim2real.imperfections, sim2real.recordings.
"""
