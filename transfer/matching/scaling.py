"""What an action of the source is in the target's numbers: control range × gear.

InvertedPendulum's ±3 × 100 and InvertedDoublePendulum's ±1 × 500 mean different torques for the same number.
"""

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError
from warmstart.transfer.matching.matching import Matching

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """``factor · x + offset`` per target dimension."""

    factor: Array
    """Shape: (target dimensions,)."""

    offset: Array
    """Shape: (target dimensions,)."""

    @property
    def trivial(self) -> bool:
        """Whether it changes nothing."""
        return bool(np.all(self.factor == 1.0) and np.all(self.offset == 0.0))

    @classmethod
    def identity(cls, size: int) -> "Affine":
        """Return the map that changes nothing."""
        return cls(np.ones(size), np.zeros(size))


@dataclass(frozen=True)
class ActionScaling:
    """How the actor's outputs and the critic's action inputs change their numbers."""

    outputs: Affine
    """Actor: target output = factor · source output + offset (before squashing, for SAC and TD3)."""

    inputs: Affine
    """Critic: source input = factor · target input + offset (both in SB3's [-1, 1])."""

    notes: tuple[str, ...] = ()
    """What is approximate."""


def action_scaling(
    matching: Matching, source_space: spaces.Space[object], target_space: spaces.Space[object], squashed: bool
) -> ActionScaling:
    """Compute the numbers that keep the physical action (N·m, N) of every matched actuator.

    With scale ``g`` (gear), an unsquashed Gaussian policy acts with ``g·a``: its rows are multiplied by
    ``g_source / g_target``, exactly. A squashed policy acts with ``g·(m + h·tanh(u))`` where ``m`` and ``h``
    are the middle and half width of the control range: equal where ``g·h`` and ``g·m`` agree, otherwise
    matched in value and slope at ``u = 0``. Pairs whose units differ keep their numbers: those of the action,
    or where it is squashed its share of the range.

    Args:
        matching: Matched actions; its layouts carry the scales.
        source_space: Action space of the source; its bounds are the control range.
        target_space: Action space of the target.
        squashed: Whether the policy squashes with tanh (SAC, TD3).

    Raises:
        WarmstartError: If a scale is zero, or the target's range can't reach the middle of the source's.
    """
    size = len(matching.indices)
    outputs, inputs = Affine.identity(size), Affine.identity(size)
    if not isinstance(source_space, spaces.Box) or not isinstance(target_space, spaces.Box):
        return ActionScaling(outputs, inputs)
    if any(0.0 in matching.scales(t, s) for t, s in matching.matched):
        raise WarmstartError("An actuator with gear 0 has no torque to match: map its action to None.")
    differing, ratios = [], matching.ratios
    for t, s in matching.matched:
        if not matching.same_unit(t, s):
            outputs.factor[t] = inputs.factor[t] = ratios[t]  # 1 or -1; said by `Matching.notes`
            continue
        name, (scale, source_scale) = matching.target.names[t], matching.scales(t, s)
        middle, half = _range(target_space, t, scale)
        source_middle, source_half = _range(source_space, s, source_scale)
        if not squashed:
            outputs.factor[t] = 1.0 / ratios[t]
            if not np.allclose((middle, abs(half)), (source_middle, abs(source_half))):
                differing.append(f"{name} (±{abs(source_half):g} → ±{abs(half):g})")
            continue
        inputs.factor[t], inputs.offset[t] = half / source_half, (middle - source_middle) / source_half
        centre, ratio = (source_middle - middle) / half, source_half / half
        if abs(centre) >= 1.0:
            raise WarmstartError(
                f"The target's {name} can't reach the middle of the source's range "
                f"({source_middle:g}, in N·m or N; the target reaches {middle - half:g} to "
                f"{middle + half:g})."
            )
        if centre != 0.0 or ratio != 1.0:
            differing.append(name)
        outputs.factor[t], outputs.offset[t] = ratio / (1.0 - centre**2), np.arctanh(centre)
    listed = ", ".join(differing)
    note = f"Equal physical actions hold inside both control ranges; these ranges differ: {listed}."
    if squashed:
        note = (
            f"Control range × gear differs for {listed}: a tanh-squashed policy is matched to first order "
            "(value and slope at the middle of the range), not exactly, for large actions."
        )
    return ActionScaling(outputs, inputs, (note,) if differing else ())


def _range(space: spaces.Box, index: int, scale: float) -> tuple[float, float]:
    """Return the middle and the half width of one action's range, in physical units."""
    low, high = float(space.low.reshape(-1)[index]), float(space.high.reshape(-1)[index])
    return scale * (low + high) / 2.0, scale * (high - low) / 2.0
