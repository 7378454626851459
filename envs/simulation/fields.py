"""Model fields with a value per simulation: what physical parameters are written through."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

Ids = NDArray[np.intp]
STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
"""All that a step depends on."""
_VECTORS = ("time", "qpos", "qvel", "act", "qacc_warmstart", "ctrl")
_NAMES = (*_VECTORS, "qfrc_applied", "xfrc_applied", "mocap_pos", "mocap_quat")
COMPONENTS = {
    name: getattr(mujoco.mjtState, f"mjSTATE_{name.removeprefix('qacc_').upper()}") for name in _NAMES
}
"""Fields of `mujoco.MjData` that the state consists of."""
DIVERGED = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)
"""Warnings of a simulation that MuJoCo found diverged, and silently reset."""
NOBODY: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
"""No simulation."""


class Fields(Protocol):
    """Model fields with a value per simulation; every stepper has them."""

    nsim: int

    def field(self, name: str) -> NDArray[Any]:
        """Return a model field's writable values (``body_mass``, ``opt.gravity``). Shape: (nsim, ...)."""

    def set_const(self, ids: Ids) -> None:
        """Commit what was written and let MuJoCo recompute what it derives from it (``mj_setConst``).

        Args:
            ids: The simulations. Shape: (n,).
        """

    def commit(self, ids: Ids) -> None:
        """Make what was written take effect where nothing is derived from it. Shape of ``ids``: (n,)."""


class ModelFields(Fields):
    """The fields of several models of the same structure, or of a single one.

    Values are staged in one array per field and copied into the models by ``commit`` or ``set_const``.
    """

    def __init__(self, models: Sequence[mujoco.MjModel]) -> None:
        self.nsim = len(models)
        self._models = list(models)
        self._staged: dict[str, NDArray[Any]] = {}

    @cached_property
    def _workspace(self) -> mujoco.MjData:
        return mujoco.MjData(self._models[0])

    @override
    def field(self, name: str) -> NDArray[Any]:
        """The array is staged."""
        if name not in self._staged:
            self._staged[name] = np.array([read_field(model, name) for model in self._models])
        return self._staged[name]

    @override
    def commit(self, ids: Ids | Sequence[int]) -> None:
        for index in ids:
            for name, values in self._staged.items():
                write_field(self._models[index], name, values[index])

    @override
    def set_const(self, ids: Ids | Sequence[int]) -> None:
        self.commit(ids)
        for index in ids:
            mujoco.mj_setConst(self._models[index], self._workspace)
            for name, values in self._staged.items():
                values[index] = read_field(self._models[index], name)


def read_field(model: mujoco.MjModel, name: str) -> NDArray[Any]:
    """Return a field of a model in its shape, options as ``opt.NAME``; arrays are the model's own."""
    owner, _, attribute = name.rpartition(".")
    return np.asarray(getattr(model.opt if owner else model, attribute))


def write_field(model: mujoco.MjModel, name: str, value: NDArray[Any]) -> None:
    """Write a field of a model, options as ``opt.NAME``; the value has the field's shape, () for a number."""
    owner, _, attribute = name.rpartition(".")
    setattr(model.opt if owner else model, attribute, value if value.ndim else value.item())
