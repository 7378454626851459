"""Methods that give up some of the source's parameters so that the agent can learn again.

May import: core, envs, agents, transfer.carry, transfer.methods.
"""
