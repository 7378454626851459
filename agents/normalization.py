"""Where `FastVecNormalize` was before: files that its ``save`` wrote then name it here."""

from warmstart.agents.checkpoints.normalization import FastVecNormalize

__all__ = ["FastVecNormalize"]
