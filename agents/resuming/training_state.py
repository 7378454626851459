"""The state of a training between two rollouts: everything that its next step depends on.

Every plain value of the agent is kept, whatever its name, with the tensors that SB3 itself would save, the
replay buffer, the environments, the seams, the generators and the callbacks that have a ``state_dict``. An
attribute of the agent that is neither plain nor known to be made again stops the keeping with a message.
"""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.noise import VectorizedActionNoise
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.save_util import recursive_getattr
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from warmstart.agents.algorithms.base import SeamAgent
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError

FORMAT = 1
MOST_REPLAY = 1 << 30
"""Bytes of a replay buffer that are kept at most."""
MADE_AGAIN = {
    *("_custom_logger", "_last_infos", "_left_out", "_logger", "_update", "_vec_normalize_env"),
    *("action_noise", "action_space", "actor", "actor_batch_norm_stats"),
    *("actor_batch_norm_stats_target", "actor_target", "before_rollout", "clip_range"),
    *("clip_range_vf", "critic", "critic_batch_norm_stats", "critic_batch_norm_stats_target"),
    *("critic_target", "device", "ent_coef_optimizer", "ent_coef_tensor", "env", "learning_rate"),
    *("log_ent_coef", "lr_schedule", "observation_space", "optimize_memory_usage", "policy"),
    *("policy_class", "policy_kwargs", "quantiles_total", "replay_buffer", "replay_buffer_class"),
    *("replay_buffer_kwargs", "rollout_buffer", "rollout_buffer_class", "rollout_buffer_kwargs"),
    *("sde_sample_freq", "seams", "seed", "start_time", "tensorboard_log", "train_freq"),
    *("trainability", "unseen", "use_sde", "verbose"),
}
"""Attributes that are made again with the agent and its method, or that are kept elsewhere."""


def training_state(model: SeamAgent, callbacks: Sequence[BaseCallback]) -> State:
    """Everything that the next step of a training depends on.

    Args:
        model: Between two rollouts.
        callbacks: Those of its ``learn``.

    Raises:
        WarmstartError: Something of it can't be kept: says what.
    """
    names, variables = model._get_torch_save_params()
    own: Any = model
    return {
        "format": FORMAT,
        "values": {name: value for name, value in vars(model).items() if name not in MADE_AGAIN},
        "modules": {name: recursive_getattr(own, name).state_dict() for name in names},
        "variables": {name: recursive_getattr(own, name).detach() for name in variables if _has(own, name)},
        "factors": _factors(model),
        "replay": _replay(model),
        "noise": [getattr(each, "noise_prev", None) for each in _noises(model)],
        "envs": [_env_state(env) for env in _chain(model.env)],
        "space": model.action_space.np_random.bit_generator.state,
        "seams": model.seams.state_dict(),
        "logged": _logged(model),
        "callbacks": [each.state_dict() if hasattr(each, "state_dict") else {} for each in callbacks],
        "generators": _generators(),
    }


def load_training_state(model: SeamAgent, callbacks: Sequence[BaseCallback], state: State) -> None:
    """Restore what `training_state` returned, into an agent that was built and begun the same way.

    ``model.learn(total - model.num_timesteps, reset_num_timesteps=False)`` then goes on.

    Raises:
        WarmstartError: It is of another version or another training.
    """
    if state["format"] != FORMAT:
        raise WarmstartError(f"The training state has format {state['format']}, expected {FORMAT}.")
    own: Any = model
    for name, value in state["values"].items():
        if name in MADE_AGAIN or callable(getattr(model, name, None)):
            raise WarmstartError(f"The training state sets {name}, which is no value of an agent.")
        setattr(model, name, value)
    for name, values in state["modules"].items():
        recursive_getattr(own, name).load_state_dict(values)
    with torch.no_grad():
        for name, value in state["variables"].items():
            recursive_getattr(own, name).copy_(value)
        factors = [] if model.trainability is None else model.trainability.factor_parameters
        for parameter, value in zip(factors, state["factors"], strict=True):
            parameter.copy_(value)
    if state["replay"] is not None:
        if state["values"].get("_buffer_seeded"):
            own.seams.experience.seed_buffer(own)
        _load_replay(own.replay_buffer, state["replay"])
    if len(state["noise"]) > 1 and not isinstance(own.action_noise, VectorizedActionNoise):  # as learn does
        own.action_noise = VectorizedActionNoise(own.action_noise, len(state["noise"]))
    for noise, last in zip(_noises(model), state["noise"], strict=True):
        if last is not None:
            noise.noise_prev = last
    for env, values in zip(_chain(model.env), state["envs"], strict=True):
        _load_env(env, values)
    model.action_space.np_random.bit_generator.state = state["space"]
    model.seams.load_state_dict(state["seams"])
    logger = model.logger
    for name in ("name_to_value", "name_to_count", "name_to_excluded"):
        getattr(logger, name).update(state["logged"][name])
    for each, values in zip(callbacks, state["callbacks"], strict=True):
        if values:
            each.load_state_dict(values)  # type: ignore[attr-defined]
    _load_generators(state["generators"])


def flat_callbacks(callback: BaseCallback) -> list[BaseCallback]:
    """The callbacks of nested lists of callbacks, in order."""
    if isinstance(callback, CallbackList):
        return [each for inner in callback.callbacks for each in flat_callbacks(inner)]
    return [callback]


def _has(model: Any, name: str) -> bool:
    return recursive_getattr(model, name, None) is not None


def _factors(model: SeamAgent) -> list[torch.Tensor]:
    return [] if model.trainability is None else [p.detach() for p in model.trainability.factor_parameters]


def _logged(model: SeamAgent) -> State:
    return {
        name: dict(getattr(model.logger, name))
        for name in ("name_to_value", "name_to_count", "name_to_excluded")
    }


def _noises(model: Any) -> list[Any]:
    """The action noise of each environment; Ornstein and Uhlenbeck's remembers its last value."""
    noise = getattr(model, "action_noise", None)
    return [] if noise is None else list(getattr(noise, "noises", [noise]))


def _replay(model: Any) -> State | None:
    """The filled part of a replay buffer."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return None
    filled = buffer.buffer_size if buffer.full else buffer.pos
    size = sum(each.nbytes for each in vars(buffer).values() if isinstance(each, np.ndarray))
    if size * filled / buffer.buffer_size > MOST_REPLAY:
        raise WarmstartError(
            f"The replay buffer holds more than {MOST_REPLAY >> 20:,} MiB by now, and isn't kept any more."
        )
    left_out = ("observation_space", "action_space", "device", "env", "optimize_memory_usage")
    return {
        name: _filled(value, buffer.buffer_size, filled)
        for name, value in vars(buffer).items()
        if name not in left_out and not isinstance(value, ReplayBuffer) and not callable(value)
    }


def _filled(value: Any, size: int, filled: int) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, size, filled) for key, each in value.items()}
    long = isinstance(value, np.ndarray) and value.ndim and len(value) == size
    return value[:filled] if long else value


def _load_replay(buffer: Any, state: State) -> None:
    for name, value in state.items():
        held = getattr(buffer, name)
        pairs = (
            [(held[key], each) for key, each in value.items()] if isinstance(held, dict) else [(held, value)]
        )
        if isinstance(pairs[0][0], np.ndarray):
            for there, each in pairs:
                there[: len(each)] = each
        else:
            setattr(buffer, name, value)


def _chain(env: VecEnv | None) -> list[VecEnv]:
    """An environment and what it wraps, outermost first."""
    found = []
    while env is not None:
        found.append(env)
        env = env.venv if isinstance(env, VecEnvWrapper) else None
    return found


_STATISTICS = ("obs_rms", "ret_rms")
_NORMALIZER = ("returns", "old_reward", "old_obs")


def _env_state(env: Any) -> State:
    if isinstance(env, VecNormalize):
        statistics = {name: getattr(env, name, None) for name in _STATISTICS}
        held = {name: getattr(env, name, None) for name in _NORMALIZER}
        return held | {name: _moments(value) for name, value in statistics.items()}
    if isinstance(env, VecEnvWrapper) or not hasattr(env, "state_dict"):
        raise WarmstartError(f"{type(env).__name__} has no state that could be kept.")
    inner = getattr(env, "vector_env", None)
    if inner is not None and not hasattr(inner, "state_dict"):
        raise WarmstartError(f"{type(inner.unwrapped).__name__} has no state that could be kept.")
    state: State = env.state_dict()
    return state


def _load_env(env: Any, state: State) -> None:
    if not isinstance(env, VecNormalize):
        env.load_state_dict(state)
        return
    for name in _NORMALIZER:
        setattr(env, name, state[name])
    for name in _STATISTICS:
        held = getattr(env, name, None)
        pairs = (
            [(held[key], state[name][key]) for key in held]
            if isinstance(held, dict)
            else [(held, state[name])]
        )
        for there, values in pairs:
            if isinstance(there, RunningMeanStd):
                there.mean, there.var, there.count = values["mean"], values["var"], values["count"]


def _moments(statistics: Any) -> Any:
    if isinstance(statistics, dict):
        return {key: _moments(value) for key, value in statistics.items()}
    if statistics is None:
        return None
    return {name: getattr(statistics, name) for name in ("mean", "var", "count")}


def _generators() -> State:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002
        "torch": torch.random.get_rng_state(),
        "cuda": cuda,
    }


def _load_generators(state: State) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.random.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
