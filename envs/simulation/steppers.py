"""Two ways to step many simulations of one model behind one interface.

`BatchStepper` runs on `mujoco.batch`; `ThreadStepper` computes what the batch can't: contact forces after the
step.
"""

from collections.abc import Callable
from typing import Any, Protocol

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError
from numpy.typing import NDArray

from warmstart.envs.simulation.fields import COMPONENTS, DIVERGED, NOBODY, read_field
from warmstart.envs.simulation.thread_stepper import ThreadStepper

Array = NDArray[Any]
Ids = NDArray[np.integer[Any]] | None


class Stepper(Protocol):
    """Many simulations of one model.

    Attributes:
        model: The model, with nominal values.
        nsim: Number of simulations.
        n_threads: Threads that step them, the caller's included.
        state: Live integration state of each simulation (`mjSTATE_INTEGRATION`). Shape: (nsim, nstate).
    """

    model: mujoco.MjModel
    nsim: int
    n_threads: int
    state: Array

    def bind(self, name: str) -> Array:
        """Live array of an `MjData` field; only state fields are writable. Shape: (nsim, ...)."""

    def field(self, name: str) -> Array:
        """Writable per-simulation values of a model field (``"body_mass"``). Shape: (nsim, ...)."""

    def values(self, name: str) -> Array:
        """Per-simulation values of a model field, read-only where nobody asked for `field`."""

    def set_const(self, ids: Ids = None) -> None:
        """Recompute the constants that MuJoCo derives from the model's fields (`mj_setConst`)."""

    def commit(self, ids: Ids = None) -> None:
        """Make written model fields take effect."""

    def reset(self, ids: Ids = None) -> None:
        """Reset to the model's default state and clear the warnings; follow it by `forward`."""

    def forward(self, ids: Ids = None) -> None:
        """Compute everything that depends on the state (`mj_forward`)."""

    def step(self, ids: Ids = None, nstep: int = 1, last: bool = True) -> NDArray[np.intp]:
        """Advance by `nstep` substeps; `last` says that the control step ends with them.

        Returns:
            The simulations in which MuJoCo raised an error; they kept their state.
        """

    def hold(self, ids: NDArray[np.integer[Any]]) -> Callable[[], None]:
        """Remember state and outputs of simulations; what it returns puts them back."""

    def diverged(self) -> NDArray[np.intp]:
        """Simulations that MuJoCo found diverged, and silently reset, since their last `reset`."""

    def materialize(self, sim: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Copies of one simulation's model and data, to render it or to pass to any function."""

    def state_dict(self) -> dict[str, Any]:
        """State and bound fields, enough to go on bit for bit."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""

    def close(self) -> None:
        """Stop the threads."""


def make_stepper(
    model: mujoco.MjModel, nsim: int, n_threads: int, contact_forces: bool, kind: str = "auto"
) -> Stepper:
    """Make the stepper that a task needs.

    Args:
        model: The model; copied.
        nsim: Number of simulations.
        n_threads: Threads, the caller's included.
        contact_forces: Whether ``cfrc_ext`` is read, which only `ThreadStepper` computes.
        kind: ``"auto"``, ``"batch"`` or ``"threads"``.
    """
    if kind == "threads" or (kind == "auto" and contact_forces):
        return ThreadStepper(model, nsim, n_threads, contact_forces)
    return BatchStepper(model, nsim, n_threads)


class BatchStepper:
    """Simulations on `mujoco.batch`, bit-identical to a loop over `MjData`."""

    def __init__(self, model: mujoco.MjModel, nsim: int, n_threads: int = 1) -> None:
        self._batch = Batch(model, nsim, n_threads)
        self.model = self._batch.model
        self.nsim = nsim
        self.n_threads = self._batch.nthread
        self.state = self._batch.state
        self._expanded: dict[str, Array] = {}
        self._outputs: dict[str, Array] = {}
        self._divergences = self._batch.warning[:, DIVERGED, 1]

    def bind(self, name: str) -> Array:
        """See `Stepper.bind`."""
        values: Array = self._batch.bind(name)
        if name not in COMPONENTS:
            self._outputs[name] = values
        return values

    def field(self, name: str) -> Array:
        """See `Stepper.field`."""
        if name not in self._expanded:
            self._expanded[name] = self._batch.expand(name)
        return self._expanded[name]

    def values(self, name: str) -> Array:
        """See `Stepper.values`."""
        if name in self._expanded:
            return self._expanded[name]
        nominal = read_field(self.model, name)
        return np.broadcast_to(nominal, (self.nsim, *nominal.shape))

    def set_const(self, ids: Ids = None) -> None:
        """See `Stepper.set_const`."""
        self._batch.set_const(ids)

    def commit(self, ids: Ids = None) -> None:
        """See `Stepper.commit`; the batch reads its fields at every call."""

    def reset(self, ids: Ids = None) -> None:
        """See `Stepper.reset`."""
        self._batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE)

    def forward(self, ids: Ids = None) -> None:
        """See `Stepper.forward`."""
        self._batch.forward(ids)

    def step(self, ids: Ids = None, nstep: int = 1, last: bool = True) -> NDArray[np.intp]:  # noqa: ARG002
        """See `Stepper.step`."""
        try:
            self._batch.step(ids, nstep)
        except SimulationError as error:
            return np.asarray(error.ids, dtype=np.intp)
        return NOBODY

    def diverged(self) -> NDArray[np.intp]:
        """See `Stepper.diverged`."""
        return np.flatnonzero(self._divergences.any(axis=1)) if self._divergences.any() else NOBODY

    def materialize(self, sim: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """See `Stepper.materialize`."""
        model = self._batch.get_model(sim)
        data = self._batch.get_data(sim)
        mujoco.mj_forward(model, data)
        return model, data

    def state_dict(self) -> dict[str, Any]:
        """See `Stepper.state_dict`."""
        return {"state": self.state.copy(), "outputs": {k: v.copy() for k, v in self._outputs.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Stepper.load_state_dict`."""
        self._batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)
        self.state[...] = state["state"]
        for name, values in state["outputs"].items():
            self._write(self.bind(name), ..., values)

    def hold(self, ids: NDArray[np.integer[Any]]) -> Callable[[], None]:
        """See `Stepper.hold`."""
        state, outputs = self.state[ids], {name: rows[ids] for name, rows in self._outputs.items()}

        def put_back() -> None:
            self.state[ids] = state
            for name, rows in outputs.items():
                self._write(self._outputs[name], ids, rows)

        return put_back

    @staticmethod
    def _write(output: Array, place: Any, values: Array) -> None:
        output.flags.writeable = True  # the batch marks its outputs read-only against lost writes
        output[place] = values
        output.flags.writeable = False

    def close(self) -> None:
        """See `Stepper.close`; the batch ends its threads when it is collected."""
