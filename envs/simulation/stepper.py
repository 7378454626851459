"""What a stepper is: many simulations of one model, stepped together."""

from collections.abc import Callable
from typing import Any, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.core.bounds import State
from warmstart.envs.simulation.fields import NOBODY, Fields, read_field

Array = NDArray[Any]
Ids = NDArray[np.integer[Any]] | None


class Stepper(Fields, Protocol):
    """Many simulations of one model.

    Methods with ``ids`` act on these simulations, ``None`` is all.

    Attributes:
        model: The model, with nominal values.
        nsim: Number of simulations.
        n_threads: Threads that step them, the caller's included.
        state: Live integration state of each simulation (`mjSTATE_INTEGRATION`). Shape: (nsim, nstate).
    """

    model: mujoco.MjModel
    n_threads: int
    state: Array
    _outputs: dict[str, Array]
    _divergences: Array

    def bind(self, name: str) -> Array:
        """Live array of an `MjData` field; only state fields are writable. Shape: (nsim, ...)."""

    def values(self, name: str) -> Array:
        """Values of a model field, read-only where nobody asked for `field`. Shape: (nsim, ...)."""
        if self._differs(name):
            return self.field(name)
        nominal = read_field(self.model, name)
        return np.broadcast_to(nominal, (self.nsim, *nominal.shape))

    def _differs(self, name: str) -> bool:
        """Whether a model field may have another value in each simulation."""

    def set_const(self, ids: Ids = None) -> None:
        """Recompute what MuJoCo derives from the model's fields (`mj_setConst`). Shape of ``ids``: (n,)."""

    def commit(self, ids: Ids = None) -> None:
        """Make written model fields take effect. Shape of ``ids``: (n,)."""

    def reset(self, ids: Ids = None) -> None:
        """Reset to the model's default state and clear the warnings; follow it by `forward`.

        Args:
            ids: The simulations. Shape: (n,).
        """

    def forward(self, ids: Ids = None) -> None:
        """Compute everything that depends on the state (`mj_forward`). Shape of ``ids``: (n,)."""

    def step(self, ids: Ids = None, nstep: int = 1, last: bool = True) -> NDArray[np.intp]:
        """Advance by some substeps.

        Args:
            ids: The simulations. Shape: (n,).
            nstep: Substeps.
            last: Whether the control step ends with them.

        Returns:
            The simulations in which MuJoCo raised an error; they kept their state. Shape: (n_failed,).
        """

    def hold(self, ids: NDArray[np.integer[Any]]) -> Callable[[], None]:
        """Remember state and outputs of simulations, shape (n,); what it returns puts them back."""

    def diverged(self) -> NDArray[np.intp]:
        """Simulations that MuJoCo found diverged, and silently reset, since their last `reset`.

        Returns:
            Their indices. Shape: (n_diverged,).
        """
        return np.flatnonzero(self._divergences.any(axis=1)) if self._divergences.any() else NOBODY

    def materialize(self, sim: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Copies of one simulation's model and data, to render it or to pass to any function."""

    def state_dict(self) -> State:
        """State and bound fields, enough to go on bit for bit."""
        return {"state": self.state.copy(), "outputs": {k: v.copy() for k, v in self._outputs.items()}}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned."""

    def close(self) -> None:
        """Stop the threads."""
