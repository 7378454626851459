"""Single Gymnasium environments of any kind, with a physical context, draws and frames.

May import: core, envs.simulation, envs.tasks, envs.physics, envs.frames.
"""
