"""Many simulations stepped by a pool of threads of our own."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.core.bounds import State
from warmstart.envs.simulation.fields import COMPONENTS, DIVERGED, NOBODY, STATE, ModelFields
from warmstart.envs.simulation.stepper import Array, Ids, Stepper

_Work = Callable[[int, mujoco.MjData], None]


class ThreadStepper(Stepper):
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
        self._fields: ModelFields | None = None
        self._divergences = self._warnings[:, DIVERGED]
        self._outputs: dict[str, Array] = {}
        self._views: dict[str, Array] = {}
        # per thread: live array of its MjData, and the array of all simulations it is copied to
        self._copies: list[list[tuple[Array, Array]]] = [[] for _ in self._datas]
        self._pool = ThreadPoolExecutor(self.n_threads - 1, "simulation") if self.n_threads > 1 else None
        self.reset()

    @override
    def bind(self, name: str) -> Array:
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

    @override
    def field(self, name: str) -> Array:
        """What is written takes effect at `commit` or `set_const`."""
        if self._fields is None:
            self._models = [mujoco.MjModel.__copy__(self.model) for _ in range(self.nsim)]
            self._fields = ModelFields(self._models)
        return self._fields.field(name)

    @override
    def _differs(self, name: str) -> bool:
        return self._fields is not None

    @override
    def commit(self, ids: Ids = None) -> None:
        if self._fields is not None:
            self._fields.commit(self._all(ids))

    @override
    def set_const(self, ids: Ids = None) -> None:
        if self._fields is not None:
            self._fields.set_const(self._all(ids))

    @override
    def reset(self, ids: Ids = None) -> None:
        data = self._datas[0]
        for sim in self._all(ids):
            mujoco.mj_resetData(self._models[sim], data)
            mujoco.mj_getState(self._models[sim], data, self._rows[sim], STATE)
            self._warnings[sim] = 0

    @override
    def forward(self, ids: Ids = None) -> None:
        """Fields that it doesn't compute become those of a fresh `MjData`."""

        def forward_one(sim: int, data: mujoco.MjData) -> None:
            model = self._models[sim]
            mujoco.mj_resetData(model, data)
            mujoco.mj_setState(model, data, self._rows[sim], STATE)
            mujoco.mj_forward(model, data)

        self._run(forward_one, self._all(ids))

    @override
    def step(self, ids: Ids = None, nstep: int = 1, last: bool = True) -> NDArray[np.intp]:
        models, rows = self._models, self._rows
        forces = self._contact_forces and last

        def step_one(sim: int, data: mujoco.MjData) -> None:
            model = models[sim]
            mujoco.mj_setState(model, data, rows[sim], STATE)
            mujoco.mj_step(model, data, nstep)
            if forces:
                mujoco.mj_rnePostConstraint(model, data)

        return self._run(step_one, self._all(ids))

    @override
    def materialize(self, sim: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = mujoco.MjModel.__copy__(self._models[sim])
        data = mujoco.MjData(model)
        mujoco.mj_setState(model, data, self._rows[sim], STATE)
        mujoco.mj_forward(model, data)
        return model, data

    @override
    def load_state_dict(self, state: State) -> None:
        self.reset()
        self.state[...] = state["state"]
        for name, values in state["outputs"].items():
            self.bind(name)
            self._outputs[name][...] = values

    @override
    def hold(self, ids: NDArray[np.integer[Any]]) -> Callable[[], None]:
        """Nothing but a step changes a state here, so nothing has to be put back."""
        del ids
        return lambda: None

    @override
    def close(self) -> None:
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
