"""Who carries "run this trial directory" to a process: this machine, Ray, SLURM, or an engine of a user's.

May import: core, envs, agents, transfer, sim2real, experiments.records, experiments.trial.
"""
