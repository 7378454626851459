"""One plain Gymnasium environment with a physical context and a state that can be saved."""

import copy
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.physics.batch import BatchParameters
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.simulation.fields import DIVERGED, ModelFields
from warmstart.envs.simulation.infos import EACH, Infos
from warmstart.envs.simulation.models import HeldModel, held_model
from warmstart.envs.tasks.contexts import Change, Context, Operation
from warmstart.envs.tasks.hooks import ChangingSource, ContextSource

Floats = NDArray[np.float64]
_log = logging.getLogger(__name__)
RESERVED = frozenset({"final_obs", "final_info", "_final_obs", "_final_info"})
"""Names in infos that are the vector environments' own."""
_SKIPPED = frozenset({"model", "data", "mujoco_renderer", "observation_space", "action_space", "spec"})

DERIVED_ATTRIBUTES: Mapping[str, Mapping[str, Callable[[Any], float]]] = {
    "CartPoleEnv": {
        "total_mass": lambda env: env.masspole + env.masscart,
        "polemass_length": lambda env: env.masspole * env.length,
    }
}
"""Attributes that an environment computes from others in its constructor only."""

_WHOLE_BY_CHANCE = frozenset({"max_speed", "goal_velocity"})
"""Attributes that Gymnasium's own environments write as whole numbers and compute with as any number."""


class Physics(Protocol):
    """What of an environment a context can change."""

    def check(self, context: Context) -> None:
        """Raise a `WarmstartError` if the context is unknown or unsound."""

    def apply(self, context: Context) -> None:
        """Put the context into force, from the nominal."""

    def bind(self, source: ContextSource) -> "Callable[[Floats], None]":
        """Prepare what a source draws; what it returns puts values (n_terms,) on top of the context."""


class ModelPhysics(Physics):
    """The parameters of a MuJoCo environment's model."""

    def __init__(self, env: Any, held: HeldModel) -> None:
        self._env = env
        self.held = held
        self._frame_skip: int | None = getattr(env, "frame_skip", None)
        self.follow()

    @property
    def outdated(self) -> bool:
        """Whether the environment has made itself another model since."""
        return self.held.model is not self._model

    def follow(self) -> None:
        """Turn to the model that the environment has now; its values are the nominal ones."""
        self._model = self.held.model
        self.parameters = Parameters(self._model)
        self._batch = BatchParameters(self.parameters, ModelFields([self._model]))

    @override
    def check(self, context: Context) -> None:
        self.parameters.check(context)
        self.parameters.frame_skip(context, self._frame_skip or 1)

    @override
    def apply(self, context: Context) -> None:
        """The environment's `frame_skip` follows the timestep."""
        self._batch.apply([0], [context])
        if self._frame_skip is not None:
            self._env.frame_skip = self.parameters.frame_skip(context, self._frame_skip)

    @override
    def bind(self, source: ContextSource) -> Callable[[Floats], None]:
        binding = self._batch.bind(tuple(source.terms))
        bounds = getattr(source, "bounds", None)
        if bounds is not None:
            binding.check(*bounds)
        return lambda values: binding.apply([0], values[None])


class AttributePhysics(Physics):
    """The public numeric attributes of any other environment, such as CartPole's ``length``."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._derived = DERIVED_ATTRIBUTES.get(type(env).__name__, {})
        self._whole: set[str] = set()
        names = [name for name in dir(env) if not name.startswith("_")]
        self._nominal: dict[str, float] = {}
        self._touched: set[str] = set()
        for name in names:
            static = getattr(type(env), name, None)
            value = vars(env).get(name, None if callable(static) or isinstance(static, property) else static)
            if isinstance(value, int | float | np.number) and not isinstance(value, bool):
                self._nominal[name] = float(value)
                if isinstance(value, int | np.integer) and name not in _WHOLE_BY_CHANCE:
                    self._whole.add(name)

    @override
    def check(self, context: Context) -> None:
        for change in context:
            self._value(change)

    @override
    def apply(self, context: Context) -> None:
        changed = {change.selector: self._value(change) for change in context}
        for name in self._touched:
            self._set(name, self._nominal[name])
        for name, value in changed.items():
            self._set(name, value)
        self._derive(changed)
        self._touched |= changed.keys()

    @override
    def bind(self, source: ContextSource) -> Callable[[Floats], None]:
        """The base is what the attributes are when the context has been applied."""
        terms = tuple(source.terms)
        for selector, _ in terms:
            self._known(selector)

        def put(values: Floats) -> None:
            for (selector, operation), value in zip(terms, values.tolist(), strict=True):
                if not np.isnan(value):
                    self._set(selector, _changed(getattr(self._env, selector), operation, value))
            self._touched.update(selector for selector, _ in terms)
            self._derive([selector for selector, _ in terms])

        return put

    def _set(self, name: str, value: float) -> None:
        """Give an attribute a value; one that is a whole number stays one."""
        if name not in self._whole:
            setattr(self._env, name, value)
        elif value == round(value):
            setattr(self._env, name, int(value))
        else:
            self._refuse_fraction(name, value)

    def values(self) -> dict[str, float]:
        """Current values of all attributes."""
        return {name: float(getattr(self._env, name)) for name in self._nominal}

    def check_whole(self, terms: Sequence[tuple[str, str]], values: Floats) -> None:
        """See that attributes that are whole numbers stay so.

        Args:
            terms: Attribute and operation of each column.
            values: Numbers that are drawn for them. Shape: (draws, terms).

        Raises:
            WarmstartError: One would get a fraction.
        """
        for (name, operation), column in zip(terms, values.T, strict=True):
            nominal = self._nominal.get(name, 0.0)
            found = {"set": column, "scale": nominal * column, "add": nominal + column}[operation]
            fractions = found[found != np.round(found)]
            if name in self._whole and len(fractions):
                self._refuse_fraction(name, float(fractions[0]))

    def _refuse_fraction(self, name: str, value: float) -> None:
        raise WarmstartError(
            f"{name} of {type(self._env).__name__} is a whole number ({self._nominal[name]:g}), found "
            f"{value:g}: draw it from values, such as {{values: [3, 5, 8]}}."
        )

    def _known(self, name: str) -> None:
        if name not in self._nominal:
            raise unknown_name(f"attribute of {type(self._env).__name__}", name, self._nominal)

    def _value(self, change: Change) -> float:
        self._known(change.selector)
        if not isinstance(change.value, float):
            raise WarmstartError(f"Expected one number for {change.selector}, found {change.value}.")
        value = _changed(self._nominal[change.selector], change.operation, change.value)
        if not np.isfinite(value) or (change.selector in self._whole and value != round(value)):
            kind = "whole number" if change.selector in self._whole else "finite value"
            raise WarmstartError(f"Expected a {kind} for {change}, found {value:g}.")
        return value

    def _derive(self, given: Collection[str]) -> None:
        """Compute what follows from the attributes, but for what was given itself."""
        for name, compute in self._derived.items():
            if name not in given:
                setattr(self._env, name, compute(self._env))


def _changed(base: float, operation: Operation, value: float) -> float:
    return {"set": value, "scale": float(base) * value, "add": float(base) + value}[operation]


def physics_of(env: Any) -> ModelPhysics | AttributePhysics:
    """What of an environment without wrappers a context can change."""
    held = held_model(env)
    return AttributePhysics(env) if held is None else ModelPhysics(env, held)


class SingleEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Applies the context asked for when an episode begins, and notices a diverged MuJoCo simulation.

    Args:
        env: Any environment of Gymnasium.
        source: Draws the physics of every episode on top of the context; the values are in ``info["drawn"]``.
        env_id: Number of this environment among its likes, for which the source draws.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], source: ContextSource | None = None, env_id: int = 0
    ) -> None:
        super().__init__(env)
        inner: Any = env.unwrapped
        self.physics: Physics = physics_of(inner)
        self._drawn: Floats | None = None
        self._warned = 0
        self._remade = False
        self._told: set[str] = set()
        self.next_context: Context = ()
        self.context: Context = ()
        self.source = source
        self.env_ids = np.array([env_id], dtype=np.int32)
        self._put = None if source is None else self.physics.bind(source)
        self._episode, self._elapsed = -1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Infos]:
        """Begin an episode with the context asked for; a seed starts the count of episodes anew."""
        if options and EACH in options:
            options = options[EACH][int(self.env_ids[0])] or None
        if self.next_context != self.context or self.source is not None:
            self.physics.apply(self.next_context)
            self.context = self.next_context
        self._episode, self._elapsed = 0 if seed is not None else self._episode + 1, 0
        if self.source is not None and self._put is not None:
            self._drawn = self.source.draw(self.env_ids, np.array([self._episode]))[0]
            self._put(self._drawn)
        observation, info = self.env.reset(seed=seed, options=options)
        self._follow()
        self._warned = self._warnings()
        info = self._without_reserved(info)
        return observation, info if self._drawn is None else {**info, "drawn": self._drawn}

    def _without_reserved(self, info: Infos) -> Infos:
        """An environment's info without the names under which vector environments give an episode's end."""
        if not RESERVED & info.keys():
            return info
        for name in sorted(RESERVED & info.keys() - self._told):
            self._told.add(name)
            _log.warning(
                "The info entry %r is left out: vector environments give an episode's end there.", name
            )
        return {name: value for name, value in info.items() if name not in RESERVED}

    def _follow(self) -> None:
        """Put context and draws into force in a model that the environment has made itself meanwhile."""
        if not isinstance(self.physics, ModelPhysics) or not self.physics.outdated:
            return
        self.physics.follow()
        if self.source is not None:
            self._put = self.physics.bind(self.source)
        if not self.context and self._drawn is None:
            return
        self.physics.apply(self.context)
        if self._drawn is not None and self._put is not None:
            self._put(self._drawn)
        if not self._remade:
            self._remade = True
            _log.warning(
                "%s makes its model anew: its physics is put into force in each new one, after the reset has "
                "computed its observation.",
                type(self.unwrapped).__name__,
            )

    def _warnings(self) -> int:
        """MuJoCo's warnings so far that the simulation diverged."""
        data = self.physics.held.data if isinstance(self.physics, ModelPhysics) else None
        return 0 if data is None else int(data.warning.number[DIVERGED].sum())

    def _go_on(self) -> None:
        """Draw anew what changes within an episode."""
        if not isinstance(self.source, ChangingSource) or not self.source.changes_within or self._put is None:
            return
        if self.source.due(np.array([self._elapsed]), self._period)[0]:
            self.physics.apply(self.context)
            self._drawn = self._drawn_within(self.source)
            self._put(self._drawn)

    @property
    def _period(self) -> float:
        return float(getattr(self.env.unwrapped, "dt", 1.0))

    def _drawn_within(self, source: ChangingSource) -> Floats:
        episode, elapsed = np.array([self._episode]), np.array([self._elapsed])
        drawn: Floats = source.draw_within(self.env_ids, episode, elapsed, self._period)[0]
        return drawn

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, Infos]:
        """Take a step; a diverged simulation ends its episode, with the info "diverged"."""
        self._go_on()
        self._elapsed += 1
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = self._without_reserved(info)
        self._follow()
        before, self._warned = self._warned, self._warnings()
        if self._warned > before:
            return observation, 0.0, True, False, {**info, "diverged": True}
        return observation, reward, terminated, truncated, info

    @property
    def attribute_values(self) -> dict[str, float]:
        """Current values of the attributes that contexts can change."""
        assert isinstance(self.physics, AttributePhysics)
        return self.physics.values()

    @property
    def saved_state(self) -> State:
        """Everything of this environment that a copy of it needs to go on the same way."""
        layers = []
        env: Any = self.env
        while env is not env.unwrapped:
            layers.append(_plain_attributes(env))
            env = env.env
        layers.append(_plain_attributes(env))
        held = self.physics.held if isinstance(self.physics, ModelPhysics) else None
        data = copy.copy(held.data) if held is not None and held.data is not None else None
        return {
            "context": self.context,
            "next_context": self.next_context,
            "layers": layers,
            "data": data,
            "episode": self._episode,
            "elapsed": self._elapsed,
        }

    @saved_state.setter
    def saved_state(self, state: State) -> None:
        self.context, self.next_context = state["context"], state["next_context"]
        self._episode, self._elapsed = state["episode"], state["elapsed"]
        self.physics.apply(self.context)
        if self.source is not None and self._put is not None and self._episode >= 0:
            if isinstance(self.source, ChangingSource):
                self._put(self._drawn_within(self.source))
            else:
                self._put(self.source.draw(self.env_ids, np.array([self._episode]))[0])
        env: Any = self.env
        for attributes in state["layers"]:
            vars(env).update(copy.deepcopy(attributes))
            env = getattr(env, "env", env)
        if isinstance(self.physics, ModelPhysics) and state["data"] is not None:
            mujoco.mj_copyData(self.physics.held.data, self.physics.held.model, state["data"])


def _plain_attributes(env: Any) -> dict[str, Any]:
    """Copies of an environment's attributes that are plain values, arrays or generators."""
    return {
        name: copy.deepcopy(value)
        for name, value in vars(env).items()
        if name not in _SKIPPED and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    plain = bool | int | float | str | bytes | np.ndarray | np.generic | np.random.Generator
    return value is None or isinstance(value, plain)
