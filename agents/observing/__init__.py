"""What stands between a task's observations and an agent's networks: frames, history, privileged inputs.

May import: core, envs, agents.settings, agents.encoders, agents.extractors.
"""
