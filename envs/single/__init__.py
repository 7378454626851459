"""Single Gymnasium environments of any kind, with a physical context, draws and frames.

May import: core, and the rest of envs but for vector environments.
"""
