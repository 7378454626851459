"""What a context can change in a plain Gymnasium environment: its MuJoCo model, or its attributes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.physics.batch import BatchParameters
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.simulation.fields import ModelFields
from warmstart.envs.simulation.models import HeldModel, held_model, makes_models
from warmstart.envs.tasks.contexts import Change, Context, Operation
from warmstart.envs.tasks.hooks import ContextSource

Floats = NDArray[np.float64]

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

    def reinstate(self) -> tuple[str, ...]:
        """Write again what the environment has overwritten since; the names of what it was."""

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
        self.parameters: Parameters
        self._frame_skip: int | None = getattr(env, "frame_skip", None)
        self.follow()

    @property
    def outdated(self) -> bool:
        """Whether the environment has made itself another model since."""
        return self.held.model is not self._model

    def follow(self) -> None:
        """Turn to the model that the environment has now; its values are the nominal ones.

        One that was made of the changed model before gets that one's nominal values first.
        """
        before = getattr(self, "_batch", None)
        self._model = self.held.model
        if before is not None:
            self.parameters.revert(self._model, before.current(0))
        self.parameters = Parameters(self._model)
        self._batch = BatchParameters(self.parameters, ModelFields([self._model]))

    @override
    def reinstate(self) -> tuple[str, ...]:
        return self.parameters.reinstate(self._model, self._batch.current(0))

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
        self._put: dict[str, float] = {}
        for name in names:
            static = getattr(type(env), name, None)
            value = vars(env).get(name, None if callable(static) or isinstance(static, property) else static)
            if isinstance(value, int | float | np.number) and not isinstance(value, bool):
                self._nominal[name] = float(value)
                if isinstance(value, int | np.integer) and name not in _WHOLE_BY_CHANCE:
                    self._whole.add(name)

    @override
    def reinstate(self) -> tuple[str, ...]:
        lost = {name: value for name, value in self._put.items() if getattr(self._env, name) != value}
        for name, value in lost.items():
            self._set(name, value)
        if lost:
            self._derive(self._put)
        return tuple(sorted(lost))

    @override
    def check(self, context: Context) -> None:
        for change in context:
            self._value(change)

    @override
    def apply(self, context: Context) -> None:
        changed = {change.selector: self._value(change) for change in context}
        for name in self._touched:
            self._set(name, self._nominal[name])
        self._put.clear()
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
        if name in self._whole and value != round(value):
            self._refuse_fraction(name, value)
        setattr(self._env, name, int(value) if name in self._whole else value)
        self._put[name] = value

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
    """What of an environment without wrappers a context can change.

    One that makes its model at its first reset is reset.
    """
    held = held_model(env)
    if held is None and makes_models(env):
        env.reset()
        held = held_model(env)
    return AttributePhysics(env) if held is None else ModelPhysics(env, held)
