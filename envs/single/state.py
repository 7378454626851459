"""The state of a Gymnasium environment and its wrappers: what a copy of it needs to go on the same way."""

import copy
import hashlib
import inspect
import logging
from collections import deque
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.models import HeldModel

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_MADE_AGAIN = frozenset({"mujoco_renderer", "observation_space", "action_space", "spec", "env"})
_HARMLESS = (gymnasium.Space, EnvSpec, ModuleType, logging.Logger, mujoco.MjModel, mujoco.MjData, type)
_CHANGING = frozenset({"threadpool"})


def env_state(env: Any, held: HeldModel | None) -> State:
    """Plain values of an environment and its wrappers, its generators and MuJoCo's data.

    Args:
        env: The environment with its wrappers.
        held: Where its model and data are; None where it has none.

    Returns:
        ``lost`` among others: the attributes with a state of their own that can't be kept.
    """
    layers, spaces, lost = [], [], []
    for layer in _layers(env):
        layers.append({name: copy.deepcopy(v) for name, v in _attributes(layer) if _is_plain(v)})
        spaces.append({name: _space_state(space) for name, space in _spaces(layer)})
        lost += [
            f"{type(layer).__name__}.{name} ({type(value).__name__})"
            for name, value in _attributes(layer)
            if not _is_plain(value) and not isinstance(value, _HARMLESS) and not _is_function(value)
        ]
    data = None if held is None or held.data is None else _data_state(held.model, held.data)
    model = None if held is None else _digest(held.model)
    return {"layers": layers, "spaces": spaces, "data": data, "model": model, "lost": lost}


def load_env_state(env: Any, held: HeldModel | None, state: State) -> None:
    """Restore what `env_state` returned, in an environment that was reset before.

    Raises:
        WarmstartError: Its wrappers or its model are others.
    """
    layers = list(_layers(env))
    if len(layers) != len(state["layers"]):
        raise WarmstartError(f"Expected {len(state['layers'])} layers of wrappers, found {len(layers)}.")
    if held is not None and _digest(held.model) != state["model"]:
        raise WarmstartError(f"The MuJoCo model of {type(env.unwrapped).__name__} isn't as it was.")
    for layer, attributes, spaces in zip(layers, state["layers"], state["spaces"], strict=True):
        vars(layer).update(copy.deepcopy(attributes))
        for name, space in _spaces(layer):
            _load_space(space, spaces[name])
    if held is not None and held.data is not None and state["data"] is not None:
        values = state["data"]
        mujoco.mj_setState(held.model, held.data, values["integration"], _STATE)
        for name, array in _arrays(held.data):
            if name in values["arrays"] and values["arrays"][name].shape == array.shape:
                array[...] = values["arrays"][name]


def _layers(env: Any) -> Iterator[Any]:
    """An environment's wrappers and itself, outermost first."""
    yield env
    while env is not env.unwrapped:
        env = env.env
        yield env


def _attributes(layer: Any) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in vars(layer).items() if name not in _MADE_AGAIN]


def _spaces(layer: Any) -> list[tuple[str, gymnasium.Space[Any]]]:
    """The spaces of a layer, from which an environment may draw its states."""
    return [(name, value) for name, value in vars(layer).items() if isinstance(value, gymnasium.Space)]


def _parts(space: Any) -> list[Any]:
    parts = getattr(space, "spaces", ())
    return list(parts.values() if isinstance(parts, dict) else parts)


def _space_state(space: Any) -> State:
    """The generators of a space and of its parts, as far as they were asked for anything."""
    own = space._np_random
    state = None if own is None else own.bit_generator.state
    return {"own": state, "parts": [_space_state(part) for part in _parts(space)]}


def _load_space(space: Any, state: State) -> None:
    if state["own"] is not None:
        space.np_random.bit_generator.state = state["own"]
    for part, values in zip(_parts(space), state["parts"], strict=True):
        _load_space(part, values)


def _data_state(model: mujoco.MjModel, data: mujoco.MjData) -> State:
    """What MuJoCo integrates, and what it has computed from it, which rewards may be taken from."""
    integration = np.empty(mujoco.mj_stateSize(model, _STATE))
    mujoco.mj_getState(model, data, integration, _STATE)
    return {"integration": integration, "arrays": {name: array.copy() for name, array in _arrays(data)}}


def _arrays(owner: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    for name in dir(owner):
        if not name.startswith("_") and name not in _CHANGING:
            value = getattr(owner, name)
            if isinstance(value, np.ndarray):
                yield name, value


def _digest(model: mujoco.MjModel) -> str:
    """A model's values, so that another one is noticed."""
    found = hashlib.sha256()
    for name, array in _arrays(model):
        found.update(name.encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def _is_function(value: Any) -> bool:
    return inspect.isroutine(value) or inspect.isclass(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset | deque):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject
    plain = bool | int | float | str | bytes | np.generic | np.random.Generator
    return value is None or isinstance(value, plain)
