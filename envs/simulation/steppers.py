"""Two ways to step many simulations of one model behind one interface.

`BatchStepper` runs on `mujoco.batch`; `ThreadStepper` computes what the batch can't: contact forces after the
step.
"""

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.fields import COMPONENTS, DIVERGED, NOBODY
from warmstart.envs.simulation.stepper import Array, Ids, Stepper
from warmstart.envs.simulation.thread_stepper import ThreadStepper


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

    Raises:
        WarmstartError: ``"batch"`` is asked for, and contact forces are read.
    """
    if kind == "batch" and contact_forces:
        raise WarmstartError(
            "Expected stepper='threads' or 'auto', found 'batch': the task reads contact forces (cfrc_ext), "
            "which mujoco.batch doesn't compute."
        )
    if kind == "threads" or (kind == "auto" and contact_forces):
        return ThreadStepper(model, nsim, n_threads, contact_forces)
    return BatchStepper(model, nsim, n_threads)


class BatchStepper(Stepper):
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

    @override
    def bind(self, name: str) -> Array:
        values: Array = self._batch.bind(name)
        if name not in COMPONENTS:
            self._outputs[name] = values
        return values

    @override
    def field(self, name: str) -> Array:
        if name not in self._expanded:
            self._expanded[name] = self._batch.expand(name)
        return self._expanded[name]

    @override
    def _differs(self, name: str) -> bool:
        return name in self._expanded

    @override
    def set_const(self, ids: Ids = None) -> None:
        self._batch.set_const(ids)

    @override
    def commit(self, ids: Ids = None) -> None:
        """The batch reads its fields at every call."""

    @override
    def reset(self, ids: Ids = None) -> None:
        self._batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE)

    @override
    def forward(self, ids: Ids = None) -> None:
        self._batch.forward(ids)

    @override
    def step(self, ids: Ids = None, nstep: int = 1, last: bool = True) -> NDArray[np.intp]:
        try:
            self._batch.step(ids, nstep)
        except SimulationError as error:
            return np.asarray(error.ids, dtype=np.intp)
        return NOBODY

    @override
    def materialize(self, sim: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = self._batch.get_model(sim)
        data = self._batch.get_data(sim)
        mujoco.mj_forward(model, data)
        return model, data

    @override
    def load_state_dict(self, state: State) -> None:
        self._batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)
        self.state[...] = state["state"]
        for name, values in state["outputs"].items():
            self._write(self.bind(name), ..., values)

    @override
    def hold(self, ids: NDArray[np.integer[Any]]) -> Callable[[], None]:
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

    @override
    def close(self) -> None:
        """The batch ends its threads when it is collected."""
