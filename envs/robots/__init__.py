"""The batched MuJoCo tasks, one file per robot with all that is known of it, and the table of them.

Humanoid and HumanoidStandup share a file, as do the two pendulums, and Reacher and Pusher.

May import: core, envs.simulation.
"""
