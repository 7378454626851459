"""Methods that add to a frozen network: units beside it, or low-rank changes of its layers.

May import: core, envs, agents, transfer.carry, transfer.methods.
"""
