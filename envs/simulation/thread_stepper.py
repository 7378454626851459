"""Many simulations stepped by a pool of threads of our own."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.envs.simulation.fields import COMPONENTS, DIVERGED, NOBODY, STATE, read_field, write_field

Array = NDArray[Any]
Ids = NDArray[np.integer[Any]] | None
_Work = Callable[[int, mujoco.MjData], None]


class ThreadStepper:
    """Simulations stepped by a pool of threads, each with one `MjData` that serves many simulations.

    As in Gymnasium's environments, `mj_rnePostConstraint` runs after the last substep where contact forces
    are asked for, so that ``cfrc_ext`` is the same as there. MuJoCo releases the GIL while it works. A
    simulation gets an `MjModel` of its own once a model field differs between simulations.
    """

    def __init__(
        self, model: mujoco.MjModel, nsim: int, n_threads: int = 1, contact_forces: bool = True
    ) -> None:
        self.model = mujoco.MjModel.__copy__(model)
        self.nsim = nsim
        self.n_threads = max(1, min(n_threads, nsim))
        self._contact_forces = contact_forces
        self._models = [self.model] * nsim
        self._datas = [mujoco.MjData(self.model) for _ in range(self.n_threads)]
        self.state = np.zeros((nsim, mujoco.mj_stateSize(model, STATE)))
        self._rows = list(self.state)
        self._warnings = np.zeros((nsim, int(mujoco.mjtWarning.mjNWARNING)), dtype=np.int32)
        self._warning_rows = list(self._warnings)
        self._fields: dict[str, Array] = {}
        self._outputs: dict[str, Array] = {}
        self._views: dict[str, Array] = {}
        # per thread: live array of its MjData, and the array of all simulations it is copied to
        self._copies: list[list[tuple[Array, Array]]] = [[] for _ in self._datas]
        self._pool = ThreadPoolExecutor(self.n_threads - 1, "simulation") if self.n_threads > 1 else None
        self.reset()

    def bind(self, name: str) -> Array:
        """See `Stepper.bind`."""
        data = self._datas[0]
        if name in COMPONENTS:
            spec = int(COMPONENTS[name])
            start = mujoco.mj_stateSize(self.model, STATE & (spec - 1))
            rows = self.state[:, start : start + mujoco.mj_stateSize(self.model, spec)]
            return rows[:, 0] if name == "time" else rows.reshape(self.nsim, *getattr(data, name).shape)
        if name not in self._outputs:
            template = getattr(data, name)
            self._outputs[name] = np.zeros((self.nsim, *template.shape), dtype=template.dtype)
            for copies, each in zip(self._copies, self._datas, strict=True):
                copies.append((getattr(each, name), self._outputs[name]))
            self._views[name] = self._outputs[name].view()
            self._views[name].flags.writeable = False
        return self._views[name]

    def field(self, name: str) -> Array:
        """See `Stepper.field`; what is written takes effect at `commit` or `set_const`."""
        if name not in self._fields:
            if self._models[0] is self.model:
                self._models = [mujoco.MjModel.__copy__(self.model) for _ in range(self.nsim)]
            self._fields[name] = np.array([read_field(model, name) for model in self._models])
        return self._fields[name]

    def values(self, name: str) -> Array:
        """See `Stepper.values`."""
        if self._models[0] is not self.model:
            return self.field(name)
        nominal = read_field(self.model, name)
        return np.broadcast_to(nominal, (self.nsim, *nominal.shape))

    def commit(self, ids: Ids = None) -> None:
        """See `Stepper.commit`."""
        for name, values in self._fields.items():
            for sim in self._all(ids):
                write_field(self._models[sim], name, values[sim])

    def set_const(self, ids: Ids = None) -> None:
        """See `Stepper.set_const`."""
        if self._models[0] is self.model:
            return
        self.commit(ids)
        for sim in self._all(ids):
            mujoco.mj_setConst(self._models[sim], self._datas[0])
            for name, values in self._fields.items():
                values[sim] = read_field(self._models[sim], name)

    def reset(self, ids: Ids = None) -> None:
        """See `Stepper.reset`."""
        data = self._datas[0]
        for sim in self._all(ids):
            mujoco.mj_resetData(self._models[sim], data)
            mujoco.mj_getState(self._models[sim], data, self._rows[sim], STATE)
            self._warnings[sim] = 0

    def forward(self, ids: Ids = None) -> None:
        """See `Stepper.forward`; fields that it doesn't compute become those of a fresh `MjData`."""

        def forward_one(sim: int, data: mujoco.MjData) -> None:
            model = self._models[sim]
            mujoco.mj_resetData(model, data)
            mujoco.mj_setState(model, data, self._rows[sim], STATE)
            mujoco.mj_forward(model, data)

        self._run(forward_one, self._all(ids))

    def step(self, ids: Ids = None, nstep: int = 1, last: bool = True) -> NDArray[np.intp]:
        """See `Stepper.step`."""
        models, rows = self._models, self._rows
        forces = self._contact_forces and last

        def step_one(sim: int, data: mujoco.MjData) -> None:
            model = models[sim]
            mujoco.mj_setState(model, data, rows[sim], STATE)
            mujoco.mj_step(model, data, nstep)
            if forces:
                mujoco.mj_rnePostConstraint(model, data)

        return self._run(step_one, self._all(ids))

    def diverged(self) -> NDArray[np.intp]:
        """See `Stepper.diverged`."""
        counters = self._warnings[:, DIVERGED]
        return np.flatnonzero(counters.any(axis=1)) if counters.any() else NOBODY

    def materialize(self, sim: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """See `Stepper.materialize`."""
        model = mujoco.MjModel.__copy__(self._models[sim])
        data = mujoco.MjData(model)
        mujoco.mj_setState(model, data, self._rows[sim], STATE)
        mujoco.mj_forward(model, data)
        return model, data

    def state_dict(self) -> dict[str, Any]:
        """See `Stepper.state_dict`."""
        return {"state": self.state.copy(), "outputs": {k: v.copy() for k, v in self._outputs.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Stepper.load_state_dict`."""
        self.reset()
        self.state[...] = state["state"]
        for name, values in state["outputs"].items():
            self.bind(name)
            self._outputs[name][...] = values

    def hold(self, ids: NDArray[np.integer[Any]]) -> Callable[[], None]:
        """See `Stepper.hold`; nothing but a step changes a state here."""
        del ids

        def put_back() -> None:
            """Nothing has to be."""

        return put_back

    def close(self) -> None:
        """See `Stepper.close`."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
            self.n_threads = 1

    def _all(self, ids: Ids) -> Sequence[int]:
        return range(self.nsim) if ids is None else [int(i) for i in ids]

    def _run(self, work: _Work, sims: Sequence[int]) -> NDArray[np.intp]:
        """Do the work for every simulation, each thread taking the next one that nobody has taken.

        Returns:
            The simulations in which MuJoCo raised an error; they kept their state.
        """
        waiting, failed = iter(sims), list[int]()
        helpers = 0 if self._pool is None else min(self.n_threads, len(sims)) - 1
        others = [self._pool.submit(self._drain, waiting, work, k + 1, failed) for k in range(helpers)]  # type: ignore[union-attr]
        try:
            self._drain(waiting, work, 0, failed)
        finally:
            for other in others:
                other.result()
        return np.array(sorted(failed), dtype=np.intp) if failed else NOBODY

    def _drain(self, waiting: Iterator[int], work: _Work, thread: int, failed: list[int]) -> None:
        data, copies, models, rows = self._datas[thread], self._copies[thread], self._models, self._rows
        warnings, seen = data.warning.number, self._warning_rows
        for sim in waiting:
            warnings[:] = 0
            try:
                work(sim, data)
            except mujoco.FatalError:
                failed.append(sim)
                mujoco.mj_resetData(models[sim], data)  # an error leaves MuJoCo's stack as it was
                continue
            mujoco.mj_getState(models[sim], data, rows[sim], STATE)
            seen[sim] |= warnings
            for source, target in copies:
                target[sim] = source
