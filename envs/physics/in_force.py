"""The physical context of every environment of a batch: what was asked for, what is in force."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.batch import BatchParameters
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.physics.visuals import VisualFields
from warmstart.envs.simulation.simulation import Simulation
from warmstart.envs.simulation.stepper import Stepper
from warmstart.envs.tasks.contexts import Change, Context, parse_context
from warmstart.envs.tasks.hooks import ChangingSource, ContextSource, Ids

Array = NDArray[Any]


class EnvContexts:
    """Contexts that take effect when an environment's next episode begins.

    A `ContextSource` draws on top of the context that was set: its factors and offsets act on what that
    gives.

    Args:
        stepper: The simulations.
        sim: Their view, whose timestep and substeps are kept up to date.
        parameters: The model's physical parameters.
        context: What every environment starts with.
        source: What draws further changes at every episode, if anything.
        visuals: Values of the visual parameters, where frames are drawn.
    """

    def __init__(
        self,
        stepper: Stepper,
        sim: Simulation,
        parameters: Parameters,
        context: Context,
        source: ContextSource | None,
        visuals: VisualFields | None = None,
    ) -> None:
        self.parameters = parameters
        self.source = source
        self._stepper = stepper
        self._sim = sim
        self._period = float(sim.dt[0])
        self._frame_skip = int(sim.n_substeps[0])
        self._batch = BatchParameters(parameters, stepper if visuals is None else visuals)
        self._wanted: list[Context] = [()] * sim.n
        self._stale = np.zeros(sim.n, dtype=bool)
        self.in_force: list[Context] = [()] * sim.n
        self._names: list[str] = []
        self._binding = None if source is None else self._batch.bind(tuple(source.terms))
        if source is not None:
            self._remember_names(selector for selector, _ in source.terms)
        if context:
            self.set([context] * sim.n, np.arange(sim.n, dtype=np.int32))
        self.drawn = np.full((sim.n, 0 if source is None else len(source.terms)), np.nan)
        changing = isinstance(source, ChangingSource) and source.changes_within
        self._changing: ChangingSource | None = source if changing else None  # type: ignore[assignment]
        bounds = getattr(source, "bounds", None)
        if self._binding is not None and bounds is not None:
            self._binding.check(*bounds)

    def set(self, contexts: Sequence[Context], ids: Ids, now: bool = False) -> None:
        """Ask for contexts; `contexts[i]` is for environment `ids[i]` from its next episode on.

        Args:
            contexts: One for each of the environments.
            ids: The environments. Shape: (n,).
            now: Whether they hold from the next step on already; the simulations' state stays as it is.

        Raises:
            WarmstartError: A context is unknown, out of bounds or unsound for this model.
        """
        for context in dict.fromkeys(contexts):
            self.parameters.check(context)
            self.parameters.frame_skip(context, self._frame_skip)
            self._remember_names(change.selector for change in context)
        for env, context in zip(ids, contexts, strict=True):
            self._wanted[env] = context
            self._stale[env] = context != self.in_force[env]
        stale = ids[self._stale[ids]]
        if now and stale.size:
            put_back = self._stepper.hold(stale)  # recomputing constants overwrites positions
            self._put_in_force(stale)
            if self._binding is not None:
                self._binding.apply(stale.astype(np.intp), self.drawn[stale])
            put_back()
            self._follow_timestep(stale)

    def _put_in_force(self, stale: Ids) -> None:
        self._batch.apply(stale.astype(np.intp), [self._wanted[env] for env in stale])
        for env in stale:
            self.in_force[env] = self._wanted[env]
        self._stale[stale] = False

    def begin(self, ids: Ids, episode_ids: NDArray[np.int64]) -> None:
        """Put the contexts of the episodes that begin into force; the state must be written afterwards.

        Args:
            ids: The environments whose episodes begin. Shape: (n,).
            episode_ids: Number of each of these episodes. Shape: (n,).
        """
        stale = ids[self._stale[ids]]
        if stale.size:
            self._put_in_force(stale)
        if self.source is not None and self._binding is not None:
            self.drawn[ids] = self.source.draw(ids, episode_ids)
            self._binding.apply(ids.astype(np.intp), self.drawn[ids])
        if stale.size:
            self._follow_timestep(ids)

    def go_on(self, episode_ids: NDArray[np.int64], elapsed: NDArray[np.int64]) -> None:
        """Draw anew what changes within episodes; the simulations' state stays as it is.

        Args:
            episode_ids: Number of each environment's episode. Shape: (n,).
            elapsed: Steps since each environment's reset. Shape: (n,).
        """
        if self._binding is None or self._changing is None:
            return
        due = np.flatnonzero(self._changing.due(elapsed, self._period)).astype(np.int32)
        if not due.size:
            return
        values = self._changing.draw_within(due, episode_ids[due], elapsed[due], self._period)
        self.drawn[due] = values
        put_back = self._stepper.hold(due)  # recomputing constants overwrites positions
        self._binding.apply(due.astype(np.intp), values)
        put_back()

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that any context so far is about; a vector has one name per component."""
        return tuple(
            name if parameter.size == 1 else f"{name}[{component}]"
            for name in self._names
            for parameter in self.parameters.select(name)
            for component in range(parameter.size)
        )

    def values(self) -> Array:
        """Current values of these parameters, in their units. Shape: (n, len(names))."""
        if not self._names:
            return np.zeros((self._sim.n, 0))
        values: Array = self._batch.values(self._names)
        return values

    def state_dict(self) -> State:
        """Plain values from which `load_state_dict` restores the contexts."""
        return {
            "wanted": [_plain(context) for context in self._wanted],
            "in_force": [_plain(context) for context in self.in_force],
            "names": list(self._names),
            "parameters": self._batch.state_dict(),
            "source": None if self.source is None else self.source.state_dict(),
            "drawn": self.drawn.copy(),
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned; the simulations' state must be restored afterwards."""
        self._wanted = [_context(plain) for plain in state["wanted"]]
        self.in_force = [_context(plain) for plain in state["in_force"]]
        self._stale[:] = [wanted != there for wanted, there in zip(self._wanted, self.in_force, strict=True)]
        self._names = list(state["names"])
        self.drawn[...] = state["drawn"]
        self._batch.load_state_dict(state["parameters"])
        if self.source is not None:
            self.source.load_state_dict(state["source"])
        self._follow_timestep(np.arange(self._sim.n, dtype=np.int32))

    def _follow_timestep(self, ids: Ids) -> None:
        """Keep the control period where a context has another timestep; `set` saw that it divides it."""
        timestep = self._stepper.values("opt.timestep")[ids].reshape(len(ids))
        if (timestep == self._sim.timestep[ids]).all():
            return
        self._sim.timestep[ids] = timestep
        self._sim.n_substeps[ids] = np.round(self._period / timestep)
        self._sim.dt[ids] = timestep * self._sim.n_substeps[ids]

    def _remember_names(self, selectors: Any) -> None:
        for selector in selectors:
            for parameter in self.parameters.select(selector):
                if parameter.name not in self._names:
                    self._names.append(parameter.name)


def read_contexts(context: Context | str | Sequence[Context | str], n: int) -> list[Context]:
    """Contexts of `n` environments from one context or one for each, as changes or as text.

    Raises:
        WarmstartError: The text isn't a context, or there is another number of contexts than environments.
    """
    if isinstance(context, str):
        return [parse_context(context)] * n
    if all(isinstance(change, Change) for change in context):
        return [tuple(context)] * n  # type: ignore[arg-type]
    contexts = [parse_context(each) if isinstance(each, str) else tuple(each) for each in context]  # type: ignore[arg-type]
    if len(contexts) != n:
        raise WarmstartError(
            f"Expected one context or one for each of {n} environments, found {len(contexts)}."
        )
    return contexts


def _plain(context: Context) -> list[tuple[str, str, Any]]:
    return [(change.selector, change.operation, change.value) for change in context]


def _context(plain: Sequence[tuple[str, Any, Any]]) -> Context:
    return tuple(Change(*change) for change in plain)
