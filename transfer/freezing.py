"""Where `FreezingOptimizer` was before: zips that SB3 saved of frozen models then name it here."""

from warmstart.transfer.carry.freezing import FreezingOptimizer

__all__ = ["FreezingOptimizer"]
