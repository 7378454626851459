"""One plain Gymnasium environment with a physical context and a state that can be saved.

May import from `warmstart.envs` only.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gymnasium
import mujoco
import numpy as np

from warmstart.envs.contexts import Change, Context
from warmstart.envs.errors import WarmstartError, unknown_name
from warmstart.envs.parameters import Parameters

_DIVERGED = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)
_SKIPPED = frozenset({"model", "data", "mujoco_renderer", "observation_space", "action_space", "spec"})

DERIVED_ATTRIBUTES: Mapping[str, Mapping[str, Callable[[Any], float]]] = {
    "CartPoleEnv": {
        "total_mass": lambda env: env.masspole + env.masscart,
        "polemass_length": lambda env: env.masspole * env.length,
    }
}
"""Attributes that an environment computes from others in its constructor only."""


class Physics(Protocol):
    """What of an environment a context can change."""

    def check(self, context: Context) -> None:
        """Raise a `WarmstartError` if the context is unknown or unsound."""

    def apply(self, context: Context) -> None:
        """Put the context into force, from the nominal."""


class ModelPhysics:
    """The parameters of a MuJoCo environment's model."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._nominal = mujoco.MjModel.__copy__(env.model)
        self.parameters = Parameters(self._nominal)
        self._frame_skip: int | None = getattr(env, "frame_skip", None)

    def check(self, context: Context) -> None:
        """See `Physics.check`."""
        self.parameters.check(context)
        self.parameters.frame_skip(context, self._frame_skip or 1)

    def apply(self, context: Context) -> None:
        """See `Physics.apply`; `frame_skip` follows the timestep."""
        self.parameters.apply(self._env.model, context)
        if self._frame_skip is not None:
            self._env.frame_skip = self.parameters.frame_skip(context, self._frame_skip)


class AttributePhysics:
    """The public numeric attributes of any other environment, such as CartPole's ``length``."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._derived = DERIVED_ATTRIBUTES.get(type(env).__name__, {})
        names = [name for name in dir(env) if not name.startswith("_")]
        self._nominal: dict[str, float] = {}
        self._touched: set[str] = set()
        for name in names:
            static = getattr(type(env), name, None)
            value = vars(env).get(name, None if callable(static) or isinstance(static, property) else static)
            if isinstance(value, int | float | np.number) and not isinstance(value, bool):
                self._nominal[name] = float(value)

    def check(self, context: Context) -> None:
        """See `Physics.check`."""
        for change in context:
            self._value(change)

    def apply(self, context: Context) -> None:
        """See `Physics.apply`."""
        changed = {change.selector: self._value(change) for change in context}
        for name in self._touched:
            setattr(self._env, name, self._nominal[name])
        for name, value in changed.items():
            setattr(self._env, name, value)
        for name, compute in self._derived.items():
            if name not in changed:
                setattr(self._env, name, compute(self._env))
        self._touched |= changed.keys()

    def values(self) -> dict[str, float]:
        """Current values of all attributes."""
        return {name: float(getattr(self._env, name)) for name in self._nominal}

    def _value(self, change: Change) -> float:
        if change.selector not in self._nominal:
            raise unknown_name(f"attribute of {type(self._env).__name__}", change.selector, self._nominal)
        if not isinstance(change.value, float):
            raise WarmstartError(f"Expected one number for {change.selector}, found {change.value}.")
        nominal = self._nominal[change.selector]
        results = {"set": change.value, "scale": nominal * change.value, "add": nominal + change.value}
        if not np.isfinite(results[change.operation]):
            raise WarmstartError(f"Expected a finite value for {change}, found {results[change.operation]}.")
        return results[change.operation]


class SingleEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Applies the context asked for when an episode begins, and notices a diverged MuJoCo simulation."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        inner: Any = env.unwrapped
        self._data = getattr(inner, "data", None)
        self.is_mujoco = isinstance(getattr(inner, "model", None), mujoco.MjModel)
        self.physics: Physics = ModelPhysics(inner) if self.is_mujoco else AttributePhysics(inner)
        self.next_context: Context = ()
        self.context: Context = ()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode with the context asked for."""
        if self.next_context != self.context:
            self.physics.apply(self.next_context)
            self.context = self.next_context
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step; a diverged simulation ends its episode, with the info "diverged"."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self.is_mujoco and self._data is not None and self._data.warning.number[_DIVERGED].any():
            return observation, 0.0, True, False, {**info, "diverged": True}
        return observation, reward, terminated, truncated, info

    @property
    def attribute_values(self) -> dict[str, float]:
        """Current values of the attributes that contexts can change."""
        assert isinstance(self.physics, AttributePhysics)
        return self.physics.values()

    @property
    def saved_state(self) -> dict[str, Any]:
        """Everything of this environment that a copy of it needs to go on the same way."""
        layers = []
        env: Any = self.env
        while env is not env.unwrapped:
            layers.append(_plain_attributes(env))
            env = env.env
        layers.append(_plain_attributes(env))
        data = copy.copy(env.data) if self.is_mujoco else None
        return {"context": self.context, "next_context": self.next_context, "layers": layers, "data": data}

    @saved_state.setter
    def saved_state(self, state: dict[str, Any]) -> None:
        self.context, self.next_context = state["context"], state["next_context"]
        self.physics.apply(self.context)
        env: Any = self.env
        for attributes in state["layers"]:
            vars(env).update(copy.deepcopy(attributes))
            env = getattr(env, "env", env)
        if self.is_mujoco:
            mujoco.mj_copyData(env.unwrapped.data, env.unwrapped.model, state["data"])


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
