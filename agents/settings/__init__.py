"""What an agent is trained with, as frozen dataclasses, and what is tuned per task; imports no torch.

May import: core, envs.
"""
