"""What a training depends on beside its policy, kept so that a new process goes on bit for bit.

May import: core, envs, agents.algorithms, agents.checkpoints.
"""
