"""The batched MuJoCo tasks, one file per kind of robot, and the table that users add theirs to.

May import: core, envs.simulation, envs.tasks, envs.physics.
"""
