"""What one change does to one parameter: its new value, whether that is sound, and how it is written."""

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError
from warmstart.core.grammar import format_vector
from warmstart.envs.physics.quantity import Entry
from warmstart.envs.simulation.fields import read_field
from warmstart.envs.tasks.contexts import Change

Floats = NDArray[np.float64]
SET_CONST_INPUTS = frozenset(
    {
        "body_mass",
        "body_inertia",
        "body_ipos",
        "qpos0",
        "qpos_spring",
        "dof_armature",
        "actuator_gear",
        "geom_size",
    }
)
"""The written fields that ``mj_setConst`` derives others from (of ``MjModel._setconst_inputs``)."""


def changed(entry: Entry, change: Change) -> Floats:
    """Return a parameter's value after a change of its nominal. Shape: (size,).

    Raises:
        WarmstartError: The change has the wrong number of components, or nothing to scale.
    """
    name, size = entry.parameter.name, entry.parameter.size
    nominal, value = np.array(entry.parameter.nominal), np.array(change.value)
    if value.ndim and len(value) != size:
        meaning = f" {entry.quantity.meaning}" if entry.quantity.meaning else ""
        raise WarmstartError(f"{name} has {size} component(s){meaning}, found {len(value)} in {change}.")
    if change.operation == "scale":
        if not np.isfinite(nominal).all():
            raise WarmstartError(
                f"{name} has no limit in the model that {change} could scale; write [low,high]."
            )
        return np.asarray(value * nominal + (1 - value) * np.array(entry.pivot))
    if not value.ndim:
        if not entry.scalar:
            raise WarmstartError(
                f"{name} takes a vector {entry.quantity.meaning}, found one number in {change}; write all of "
                "it, or a factor (x1.2)."
            )
        components = list(entry.scalar)
    else:
        components = list(range(size))
    result = nominal.copy()
    with np.errstate(invalid="ignore"):
        added = nominal + value
    result[components] = np.broadcast_to(value if change.operation == "set" else added, size)[components]
    return result


def check_sound(entry: Entry, values: Floats) -> None:
    """Refuse a value that is out of bounds or that no physical system has.

    Args:
        entry: The parameter.
        values: Its components, in its unit. Shape: (size,).

    Raises:
        WarmstartError: The message says what was expected.
    """
    parameter = entry.parameter
    low, high = np.array(parameter.low), np.array(parameter.high)
    shown = format_vector(tuple(map(float, values)) if len(values) > 1 else float(values[0]))
    found = f"{parameter.name}: found {shown} {parameter.unit}".rstrip()
    reason = entry.quantity.unsound(parameter, values)
    if reason is not None:
        raise WarmstartError(found + reason)
    if np.all((values >= low) & (values <= high)):
        return
    bounds = _bounds(parameter.low, parameter.high)
    nominal = format_vector(parameter.nominal if parameter.size > 1 else parameter.nominal[0])
    raise WarmstartError(f"{found}, which is out of bounds: expected {bounds} (nominal {nominal}).")


def _bounds(low: Sequence[float], high: Sequence[float]) -> str:
    if len(set(low)) == len(set(high)) == 1:
        return f"{low[0]:g} to {high[0]:g}"
    return "; ".join(f"{a:g} to {b:g}" for a, b in zip(low, high, strict=True))


class FieldWrite:
    """Elements of one model field that follow components of parameters by one rule.

    Attributes:
        field: The field: ``body_mass``, ``opt.gravity``.
        derived: Whether MuJoCo derives other fields from it.
        targets: Flat positions of the elements within one model's field.
    """

    def __init__(
        self, model: mujoco.MjModel, field: str, rule: str, items: Sequence[tuple[int, int, float]]
    ) -> None:
        """Group elements.

        Args:
            model: The nominal model.
            field: The field.
            rule: As in :class:`warmstart.envs.physics.catalogue.Write`.
            items: Target, source column and the source's nominal, per element.
        """
        self.field = field
        self.derived = field in SET_CONST_INPUTS
        self.targets = np.array([target for target, _, _ in items], dtype=np.intp)
        self._rule = rule
        self._sources = np.array([source for _, source, _ in items], dtype=np.intp)
        self._nominal = np.array([nominal for _, _, nominal in items])
        relative = rule in ("ratio", "bounded")
        self._base = read_field(model, field).reshape(-1)[self.targets].copy() if relative else np.zeros(0)

    def values(self, values: Floats) -> NDArray[Any]:
        """Return what to write, from components (n, columns). Shape: (n, number of elements)."""
        wanted = values[:, self._sources]
        if self._rule == "ratio":
            return np.asarray(self._base * (wanted / self._nominal))
        if self._rule == "bounded":
            return np.where(np.isfinite(wanted), wanted, self._base)
        return np.isfinite(wanted) if self._rule == "finite" else wanted
