"""How to build a plain stable-baselines3 agent and its environments again, as plain values.

Nothing in a recipe is run: classes are named, and only those of torch and stable-baselines3 are taken;
environments are named by what Gymnasium has registered here.
"""

import inspect
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import BaseBuffer
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecFrameStack,
    VecNormalize,
    VecTransposeImage,
)

from warmstart.agents.checkpoints.architecture import check_size
from warmstart.agents.resuming.env_state import chain
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError

_CLASSES = (
    BaseAlgorithm,
    BasePolicy,
    BaseBuffer,
    BaseFeaturesExtractor,
    torch.nn.Module,
    torch.optim.Optimizer,
)
_PACKAGES = ("stable_baselines3.", "sb3_contrib.", "torch.nn.", "torch.optim.")
_CLASS, _SCHEDULE, _NOISE = "class", "schedule", "noise"
_ELSEWHERE = frozenset({"self", "policy", "env", "device", "rms_prop_eps"})
_RENAMED = {"stats_window_size": "_stats_window_size", "delta_std": "delta_std_schedule"}
_SIZES = ("net_arch", "n_critics", "n_lstm_layers", "lstm_hidden_size", "features_extractor_kwargs")
_NORMALIZE = ("training", "norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon")


class CantBuildError(WarmstartError):
    """Something that a recipe has no words for; the message says what."""


def agent_recipe(model: BaseAlgorithm) -> State:
    """The class of an agent and what its constructor was given.

    Raises:
        CantBuildError: Something of it is of the user's own.
    """
    kind = _written(type(model), "the agent")
    names = inspect.signature(type(model).__init__).parameters
    own: Any = model
    arguments = {}
    for name in names:
        if name == "use_rms_prop":  # A2C puts the optimizer that it stands for into policy_kwargs
            arguments[name] = "optimizer_class" in model.policy_kwargs
        elif name not in _ELSEWHERE and not name.startswith("_init"):
            arguments[name] = _written(getattr(own, _RENAMED.get(name, name)), name)
    return {"kind": kind, "policy": _written(model.policy_class, "the policy"), "arguments": arguments}


def build_agent_again(
    recipe: State, env: VecEnv, device: str, tensors: Mapping[str, torch.Tensor]
) -> BaseAlgorithm:
    """Build the agent of a recipe.

    Args:
        recipe: What `agent_recipe` wrote.
        env: Its environments.
        device: Where it computes.
        tensors: What its policy is to hold; larger networks aren't built.

    Raises:
        WarmstartError: It names a class of others, or arguments that don't fit.
    """
    plain = recipe["arguments"].get("policy_kwargs") or {}
    if "net_arch" in plain:
        check_size({name: plain[name] for name in _SIZES if plain.get(name) is not None}, tensors)
    kind = _read(recipe["kind"], BaseAlgorithm)
    arguments = {name: _read(value) for name, value in recipe["arguments"].items()}
    if "train_freq" in arguments and isinstance(arguments["train_freq"], list):
        arguments["train_freq"] = tuple(arguments["train_freq"])
    try:
        model: BaseAlgorithm = kind(_read(recipe["policy"], BasePolicy), env, device=device, **arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise WarmstartError(f"{kind.__name__} can't be built again: {error}") from None
    return model


def env_recipe(env: VecEnv | None) -> list[State]:
    """How an agent's environments were made, outermost wrapper first.

    Raises:
        CantBuildError: Something of them is of the user's own.
    """
    layers: list[State] = []
    for layer in chain(env):
        if isinstance(layer, VecNormalize):
            layers.append({"kind": "normalize", **{name: getattr(layer, name) for name in _NORMALIZE}})
        elif isinstance(layer, VecFrameStack):
            stacked = layer.stacked_obs
            layers.append({"kind": "stack", "n_stack": stacked.n_stack})
        elif isinstance(layer, VecTransposeImage):
            layers.append({"kind": "transpose"})
        elif isinstance(layer, DummyVecEnv):
            layers.append({"kind": "envs", "envs": [_env_written(each) for each in layer.envs]})
        else:
            raise CantBuildError(f"{type(layer).__name__} isn't built again")
    return layers


def build_env_again(layers: list[State]) -> VecEnv:
    """Build the environments of a recipe.

    Raises:
        WarmstartError: One isn't registered here, or can't be made.
    """
    *wrappers, envs = layers
    if envs["kind"] != "envs":
        raise WarmstartError("The recipe of the environments is damaged.")
    built: VecEnv = DummyVecEnv([partial(_env_read, each) for each in envs["envs"]])
    for layer in reversed(wrappers):
        arguments = {name: value for name, value in layer.items() if name != "kind"}
        if layer["kind"] == "normalize":
            built = VecNormalize(built, **arguments)
        elif layer["kind"] == "stack":
            built = VecFrameStack(built, **arguments)
        else:
            built = VecTransposeImage(built)
    return built


def _env_written(env: Any) -> State:
    monitored = type(env) is Monitor
    if monitored and env.results_writer is not None:
        raise CantBuildError("its Monitor writes a file")
    inner = env.env if monitored else env
    spec: EnvSpec | None = inner.spec
    if spec is None or spec.additional_wrappers or ":" in spec.id or spec.id not in gymnasium.registry:
        raise CantBuildError(f"{inner} isn't as gymnasium.make makes it")
    registered = gymnasium.registry[spec.id].kwargs
    own = {name: value for name, value in spec.kwargs.items() if registered.get(name) is not value}
    for name, value in own.items():
        if not (value is None or isinstance(value, bool | int | float | str | list | tuple | dict)):
            raise CantBuildError(f"its argument {name} is a {type(value).__name__}")
    return {
        "id": spec.id,
        "arguments": own,
        "limit": spec.max_episode_steps,
        "monitored": monitored,
        "keywords": list(env.info_keywords) if monitored else [],
    }


def _env_read(plain: State) -> Any:
    if plain["id"] not in gymnasium.registry:
        raise WarmstartError(f"Gymnasium doesn't know {plain['id']} here: import what registers it first.")
    try:
        env = gymnasium.make(plain["id"], max_episode_steps=plain["limit"], **plain["arguments"])
    except (TypeError, gymnasium.error.Error, ImportError) as error:
        raise WarmstartError(f"{plain['id']} can't be made again: {error}") from None
    return Monitor(env, info_keywords=tuple(plain["keywords"])) if plain["monitored"] else env


def _written(value: Any, place: str) -> Any:
    """An argument as plain values."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # how often to train, and its unit
        return [getattr(each, "value", each) for each in value]
    if isinstance(value, list | tuple):
        return [_written(each, place) for each in value]
    if isinstance(value, dict):
        return {key: _written(each, f"{place}'s {key}") for key, each in value.items()}
    if inspect.isclass(value) and f"{value.__module__}.".startswith(_PACKAGES):
        return {_CLASS: f"{value.__module__}:{value.__qualname__}"}
    if isinstance(value, FloatSchedule):
        return _written(value.value_schedule, place)
    if isinstance(value, ConstantSchedule):
        return value.val
    if isinstance(value, LinearSchedule):
        return {_SCHEDULE: [value.start, value.end, value.end_fraction]}
    if isinstance(value, VectorizedActionNoise):
        return _written(value.base_noise, place)
    if isinstance(value, NormalActionNoise):
        return {_NOISE: [np.asarray(each).tolist() for each in (value._mu, value._sigma)]}
    raise CantBuildError(f"{place} is {getattr(value, '__name__', None) or f'a {type(value).__name__}'}")


def _read(plain: Any, kind: type | None = None) -> Any:
    if isinstance(plain, list):
        return [_read(each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    if plain.keys() == {_CLASS}:
        return _class(str(plain[_CLASS]), kind)
    if plain.keys() == {_SCHEDULE}:
        return LinearSchedule(*plain[_SCHEDULE])
    if plain.keys() == {_NOISE}:
        return NormalActionNoise(*map(np.array, plain[_NOISE]))
    return {key: _read(value) for key, value in plain.items()}


def _class(name: str, kind: type | None) -> Any:
    """A class of torch or stable-baselines3 by its name."""
    module, _, path = name.partition(":")
    found: Any = None
    if f"{module}.".startswith(_PACKAGES) and path.isidentifier():
        try:
            found = getattr(import_module(module), path, None)
        except ImportError:
            found = None
    if not (inspect.isclass(found) and issubclass(found, kind or _CLASSES)):
        raise WarmstartError(f"{name} isn't a class that an agent is made of.")
    return found
