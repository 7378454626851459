"""A checkpoint written as stable-baselines3 writes its own, so that plain SB3 opens it."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from warmstart.agents.checkpoints.architecture import POLICIES, SB3_ALGORITHMS, kwargs_from_json
from warmstart.agents.checkpoints.checkpoint import EXTRA, Checkpoint
from warmstart.agents.checkpoints.normalization import NormalizerState
from warmstart.agents.checkpoints.policy import load_tensors
from warmstart.core.errors import WarmstartError
from warmstart.core.files import replace_file


def write_sb3_zip(checkpoint: Checkpoint, path: str | Path) -> Path:
    """Write a zip that plain ``PPO.load``, ``SAC.load`` or ``TD3.load`` opens, with fresh optimizers.

    Where the checkpoint has a normaliser, SB3's ``VecNormalize.load`` opens ``NAME.vecnormalize.pkl``
    beside it.

    Args:
        checkpoint: What to write.
        path: The zip; ``.zip`` is appended where it is missing.

    Returns:
        The zip's path.
    """
    target = Path(path)
    target = target if target.suffix == ".zip" else target.with_name(target.name + ".zip")
    model = build_model(checkpoint)
    buffer = io.BytesIO()
    model.save(buffer)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if checkpoint.normalizer is not None:
            normalizer = sb3_normalizer(checkpoint, checkpoint.normalizer)
            replace_file(target.with_name(f"{target.stem}.vecnormalize.pkl"), pickle.dumps(normalizer))
        replace_file(target, buffer.getvalue())
    except OSError as error:
        raise WarmstartError(f"{target} could not be written: {error}.") from error
    return target


def build_model(checkpoint: Checkpoint) -> BaseAlgorithm:
    """A plain SB3 model of a checkpoint, without an environment."""
    cls: Any = SB3_ALGORITHMS[checkpoint.algorithm]
    kwargs = kwargs_from_json(checkpoint.policy_kwargs)
    use_sde = bool(kwargs.get("use_sde", False))
    if checkpoint.algorithm == "ppo":
        kwargs.pop("use_sde", None)
    policies = POLICIES[checkpoint.algorithm]
    default = "MultiInputPolicy" if isinstance(checkpoint.observation_space, spaces.Dict) else "MlpPolicy"
    name = checkpoint.policy_kwargs.get("policy_class")
    model = cls(
        policies[name] if name else default,
        env=None,
        device="cpu",
        policy_kwargs=kwargs,
        _init_setup_model=False,
    )
    settable = {k: v for k, v in checkpoint.hyperparameters.items() if k in vars(model)}
    vars(model).update(settable | {"use_sde": use_sde, "n_envs": 1, "num_timesteps": checkpoint.steps})
    model.observation_space, model.action_space = checkpoint.observation_space, checkpoint.action_space
    buffer_size = None
    if checkpoint.algorithm != "ppo":
        buffer_size, model.buffer_size = model.buffer_size, 1
    if checkpoint.algorithm == "sac" and model.target_entropy == "auto":
        model.target_entropy = -float(np.prod(checkpoint.action_space.shape or ()))
    state = torch.random.get_rng_state()
    model._setup_model()
    torch.random.set_rng_state(state)
    if buffer_size is not None:
        model.buffer_size = buffer_size
    load_tensors(model.policy, checkpoint.policy_tensors)
    for extra in ("log_ent_coef", "ent_coef_tensor"):
        if EXTRA + extra in checkpoint.tensors and getattr(model, extra, None) is not None:
            getattr(model, extra).data.copy_(checkpoint.tensors[EXTRA + extra])
    return model  # type: ignore[no-any-return]


def sb3_normalizer(checkpoint: Checkpoint, state: NormalizerState) -> VecNormalize:
    """A ``VecNormalize`` as SB3 pickles it, without an environment."""
    wrapper: Any = VecNormalize.__new__(VecNormalize)
    returns = RunningMeanStd(shape=())
    returns.mean, returns.var = np.asarray(state.return_mean), np.asarray(state.return_var)
    returns.count = state.return_count
    keys = list(state.mean) if isinstance(state.mean, dict) else None
    wrapper.__dict__.update(
        observation_space=checkpoint.observation_space,
        action_space=checkpoint.action_space,
        num_envs=1,
        render_mode=None,
        venv=None,
        class_attributes={},
        norm_obs=state.normalize_obs,
        norm_reward=state.normalize_reward,
        norm_obs_keys=keys,
        ret_rms=returns,
        returns=np.zeros(1),
        clip_obs=state.clip,
        clip_reward=state.clip_reward,
        gamma=state.gamma,
        epsilon=state.epsilon,
        training=False,
        old_reward=np.array([]),
    )
    if state.normalize_obs:
        if isinstance(state.mean, dict) and isinstance(state.var, dict):
            wrapper.obs_rms = {k: moments(state.mean[k], state.var[k], state.count) for k in state.mean}
            wrapper.obs_spaces = checkpoint.observation_space.spaces  # type: ignore[attr-defined]
        else:
            wrapper.obs_rms = moments(state.mean, state.var, state.count)
    return wrapper  # type: ignore[no-any-return]


def moments(mean: Any, var: Any, count: float) -> RunningMeanStd:
    """SB3's running moments with these values."""
    out = RunningMeanStd(shape=mean.shape)
    out.mean, out.var, out.count = mean.copy(), var.copy(), count
    return out
