"""The state of a training between two rollouts: everything that its next step depends on.

Every plain value of the agent is kept, whatever its name, with the tensors that SB3 itself would save, the
replay buffer, the environments, the seams, the generators and the callbacks that have a ``state_dict``. An
attribute of the agent that is neither plain nor known to be made again stops the keeping with a message.
"""

import platform
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.noise import VectorizedActionNoise
from stable_baselines3.common.save_util import recursive_getattr

from warmstart.agents.resuming.env_state import chain, load_vec_env_state, vec_env_state
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError

FORMAT = 2
MOST_REPLAY = 1 << 34
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
    *("trainability", "unseen", "use_sde", "verbose", "q_net", "q_net_target", "quantile_net"),
    *("quantile_net_target", "batch_norm_stats", "batch_norm_stats_target", "exploration_schedule"),
    "delta_std_schedule",
}
"""Attributes that are made again with the agent and its method, or that are kept elsewhere."""


def training_state(model: BaseAlgorithm, callbacks: Sequence[BaseCallback] = ()) -> State:
    """Everything that the next step of a training depends on.

    Args:
        model: Between two rollouts.
        callbacks: Those of its ``learn``.

    Returns:
        ``lost`` among others: why a training that goes on from it won't have the same bits; empty if it will.

    Raises:
        WarmstartError: Something of it can't be kept: says what.
    """
    for name, parameter in model.policy.named_parameters():
        if not torch.isfinite(parameter).all():
            raise WarmstartError(f"{name} holds numbers that aren't finite: such a training isn't kept.")
    names, variables = model._get_torch_save_params()
    own: Any = model
    lost: list[str] = []
    envs = _env_states(model.env, lost)
    if model.device.type != "cpu":
        lost.append(f"sums on the device {model.device} have no fixed order")
    return {
        "format": FORMAT,
        "values": {name: value for name, value in vars(model).items() if name not in MADE_AGAIN},
        "modules": {name: recursive_getattr(own, name).state_dict() for name in names},
        "variables": {name: recursive_getattr(own, name).detach() for name in variables if _has(own, name)},
        "factors": _factors(model),
        "replay": _replay(model),
        "noise": [getattr(each, "noise_prev", None) for each in _noises(model)],
        "envs": envs,
        "lost": lost,
        "space": model.action_space.np_random.bit_generator.state,
        "seams": own.seams.state_dict() if hasattr(model, "seams") else {},
        "logged": _logged(model),
        "callbacks": [each.state_dict() if hasattr(each, "state_dict") else {} for each in callbacks],
        "generators": _generators(),
        "machine": machine(),
    }


def load_training_state(model: BaseAlgorithm, callbacks: Sequence[BaseCallback], state: State) -> None:
    """Restore what `training_state` returned, into an agent that was built and begun the same way.

    ``model.learn(total - model.num_timesteps, reset_num_timesteps=False)`` then goes on. Environments whose
    state wasn't kept begin new episodes, from other seeds than their first.

    Raises:
        WarmstartError: It is of another version or another training.
    """
    if state["format"] != FORMAT:
        raise WarmstartError(f"The training state has format {state['format']}, expected {FORMAT}.")
    own: Any = model
    for name, value in state["values"].items():
        held: Any = getattr(model, name, None)
        if name in MADE_AGAIN or callable(held) or name.startswith("__"):
            raise WarmstartError(f"The training state sets {name}, which is no value of an agent.")
        setattr(model, name, type(held)(*value) if hasattr(held, "_fields") else value)
    for name, values in state["modules"].items():
        recursive_getattr(own, name).load_state_dict(values)
    with torch.no_grad():
        for name, value in state["variables"].items():
            recursive_getattr(own, name).copy_(value)
        for parameter, value in zip(_factors(model), state["factors"], strict=True):
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
    _load_envs(model, state["envs"])
    model.action_space.np_random.bit_generator.state = state["space"]
    if hasattr(model, "seams"):
        own.seams.load_state_dict(state["seams"])
    for name, values in state["logged"].items():
        if hasattr(model, "_logger"):
            getattr(model.logger, name).update(values)
    for each, values in zip(callbacks, state["callbacks"], strict=True):
        if values:
            each.load_state_dict(values)  # type: ignore[attr-defined]
    _load_generators(state["generators"])


def machine() -> dict[str, str]:
    """What the bits of a computation depend on beside versions: the processor, and torch's threads."""
    try:
        told = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        told = ""
    models = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    return {"processor": processor, "threads of torch": str(torch.get_num_threads())}


def other_machine(model: BaseAlgorithm, state: State) -> list[str]:
    """Why a training that goes on here may have other bits than where its state was kept.

    Args:
        model: It, as it goes on.
        state: What `training_state` gave.
    """
    there, here = state.get("machine", {}), machine()
    found = [
        f"it was kept on another {name} ({there[name]}, here {here[name]})"
        for name in here
        if there.get(name, here[name]) != here[name]
    ]
    if model.device.type != "cpu" and not any("device" in each for each in state["lost"]):
        found.append(f"it goes on on the device {model.device}")
    return found


def flat_callbacks(callback: BaseCallback) -> list[BaseCallback]:
    """The callbacks of nested lists of callbacks, in order."""
    if isinstance(callback, CallbackList):
        return [each for inner in callback.callbacks for each in flat_callbacks(inner)]
    return [callback]


def _has(model: Any, name: str) -> bool:
    return recursive_getattr(model, name, None) is not None


def _factors(model: Any) -> list[torch.Tensor]:
    trainability = getattr(model, "trainability", None)
    return [] if trainability is None else [each.detach() for each in trainability.factor_parameters]


def _logged(model: BaseAlgorithm) -> State:
    """What was logged since it was last written."""
    names = ("name_to_value", "name_to_count", "name_to_excluded") if hasattr(model, "_logger") else ()
    return {name: dict(getattr(model.logger, name)) for name in names}


def _env_states(env: Any, lost: list[str]) -> list[State | None]:
    """The state of each layer; None for one that has none, which is told in `lost`."""
    states: list[State | None] = []
    for layer in chain(env):
        try:
            states.append(vec_env_state(layer))
        except WarmstartError as error:
            states.append(None)
            lost.append(f"the environments begin new episodes: {str(error).rstrip('.')}")
    return states


def _load_envs(model: BaseAlgorithm, states: list[State | None]) -> None:
    own: Any = model
    for env, state in zip(chain(model.env), states, strict=True):
        if state is not None:
            load_vec_env_state(env, state)
    if None in states:
        assert model.env is not None
        model.env.seed((model.seed or 0) + model.num_timesteps)
        own._last_obs = model.env.reset()
        own._last_episode_starts = np.ones(model.n_envs, dtype=bool)
        if own._vec_normalize_env is not None:
            own._last_original_obs = own._vec_normalize_env.get_original_obs()
        if getattr(own, "_episode_steps", None) is not None:
            own._episode_steps[:] = 0


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
    left_out = {"observation_space", "action_space", "device", "env", "optimize_memory_usage"}
    left_out.add("goal_selection_strategy")  # of hindsight experience replay
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
