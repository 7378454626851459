"""A checkpoint written as stable-baselines3 writes its own, so that plain SB3 opens it."""

import io
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from warmstart.agents.checkpoints.architecture import SB3_ALGORITHMS, kwargs_from_json, policy_class
from warmstart.agents.checkpoints.checkpoint import EXTRA, Checkpoint
from warmstart.agents.checkpoints.normalization import NormalizerState, write_normalizer
from warmstart.agents.checkpoints.policy import load_tensors
from warmstart.core.errors import WarmstartError
from warmstart.core.files import replace_file


def write_sb3_zip(checkpoint: Checkpoint, path: str | Path) -> Path:
    """Write a zip that the plain class's ``load`` opens, with fresh optimizers of SB3's usual kind.

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
    if checkpoint.algorithm not in SB3_ALGORITHMS:
        raise WarmstartError(f"A checkpoint of {checkpoint.algorithm} can be read, not written as a zip.")
    cls: Any = SB3_ALGORITHMS[checkpoint.algorithm]
    kwargs = kwargs_from_json(checkpoint.policy_kwargs)
    policy = policy_class(checkpoint.algorithm, checkpoint.observation_space, checkpoint.policy_kwargs)
    use_sde = bool(kwargs.get("use_sde", False))
    if checkpoint.algorithm == "ppo":
        kwargs.pop("use_sde", None)
    model = cls(policy, env=None, device="cpu", policy_kwargs=kwargs, _init_setup_model=False)
    settable = {k: v for k, v in checkpoint.hyperparameters.items() if k in vars(model)}
    vars(model).update(settable | {"use_sde": use_sde, "n_envs": 1, "num_timesteps": checkpoint.steps})
    model.observation_space, model.action_space = checkpoint.observation_space, checkpoint.action_space
    buffer_size = None
    if checkpoint.algorithm != "ppo":
        buffer_size, model.buffer_size = model.buffer_size, 1
    if hasattr(model, "target_entropy") and model.target_entropy == "auto":
        model.target_entropy = -float(np.prod(checkpoint.action_space.shape or ()))
    with torch.random.fork_rng(devices=[]):
        model._setup_model()
    if buffer_size is not None:
        model.buffer_size = buffer_size
    load_tensors(model.policy, checkpoint.policy_tensors, critic=checkpoint.critic)
    for extra in ("log_ent_coef", "ent_coef_tensor"):
        if EXTRA + extra in checkpoint.tensors and getattr(model, extra, None) is not None:
            getattr(model, extra).data.copy_(checkpoint.tensors[EXTRA + extra])
    return model  # type: ignore[no-any-return]


def sb3_normalizer(checkpoint: Checkpoint, state: NormalizerState) -> VecNormalize:
    """A ``VecNormalize`` as SB3 pickles it, around an environment that only has spaces."""
    env: gymnasium.Env[Any, Any] = gymnasium.Env()
    env.observation_space, env.action_space = checkpoint.observation_space, checkpoint.action_space
    wrapper = VecNormalize(
        DummyVecEnv([lambda: env]),
        training=False,
        norm_obs=state.normalize_obs,
        norm_reward=state.normalize_reward,
        norm_obs_keys=list(state.mean) if isinstance(state.mean, dict) else None,
    )
    write_normalizer(wrapper, state)
    return wrapper
