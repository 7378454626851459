"""From a configuration to a training environment and an agent."""

import logging
from collections.abc import Sequence
from dataclasses import fields
from inspect import signature
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from warmstart.agents.algorithms.crossq import CrossQ
from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.algorithms.sac import SAC
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.td3 import TD3
from warmstart.agents.algorithms.tqc import TQC
from warmstart.agents.checkpoints.architecture import ACTIVATIONS, SB3_ALGORITHMS
from warmstart.agents.checkpoints.normalization import vec_normalize
from warmstart.agents.extractors.extractor import EncoderExtractor
from warmstart.agents.extractors.policies import ENCODER_POLICIES
from warmstart.agents.extractors.simba import SIMBA_POLICIES
from warmstart.agents.observing.asymmetric import ASYMMETRIC_POLICIES, wants_asymmetric
from warmstart.agents.observing.base import Observing
from warmstart.agents.rewards.base import RewardConfig
from warmstart.agents.rewards.table import read_reward
from warmstart.agents.settings.config import (
    AlgorithmConfig,
    EntropyConfig,
    OffPolicyConfig,
    PPOConfig,
    TD3Config,
    TQCConfig,
)
from warmstart.core.bounds import Settings, State
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.tasks.hooks import ContextSource, Perturbation
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import World, make_vec

log = logging.getLogger(__name__)
Agent = PPO | SAC | TD3 | TQC | CrossQ


def make_training_env(
    config: AlgorithmConfig,
    task: Task | str | World,
    seed: int,
    n_threads: int = 1,
    context_source: ContextSource | None = None,
    perturbations: Sequence[Perturbation] = (),
    vision: Observing | None = None,
    reward: str | Settings | RewardConfig = "task",
) -> VecEnv:
    """Make the environments an agent trains in.

    Args:
        config: Says how many, and whether observations and rewards are normalised.
        task: What to simulate; or a world that makes its own environments, and takes neither context source
            nor perturbations.
        seed: Environment i is seeded with ``seed + i``.
        n_threads: Threads that simulate.
        context_source: Draws the physics of every episode.
        perturbations: Change actions, simulations and observations.
        vision: What makes observations of frames, or adds to those of states: histories, privileged ones.
        reward: What the agent trains on in place of the task's reward: ``state_entropy``, or a mapping with
            the ``name`` and options. Episodes still end as the task has it, and ``info["episode"]`` tells the
            task's own return.

    Raises:
        WarmstartError: An unknown reward, or one that the observations don't go with.
    """
    if isinstance(task, World):
        simulated = task.make(config.n_envs, seed, n_threads=n_threads)
    else:
        simulated = make_vec(
            task,
            config.n_envs,
            seed,
            n_threads=n_threads,
            context_source=context_source,
            perturbations=perturbations,
        )
    env = read_reward(reward).wrap(as_sb3(simulated if vision is None else vision.wrap(simulated)), seed)
    if not config.normalize:
        return env
    keys, space = standardised(env.observation_space), env.observation_space
    kept = [part for part in parts(space) if not isinstance(part, spaces.Box)]
    if config.normalize_obs and kept:
        log.info(f"{', '.join(map(str, kept))} of {task} isn't standardised: it holds no numbers on a scale.")
    return vec_normalize(
        env,
        norm_obs=config.normalize_obs and keys != [],
        norm_reward=config.normalize_reward,
        clip_obs=config.clip_obs,
        clip_reward=config.clip_reward,
        gamma=config.gamma,
        **({"norm_obs_keys": keys} if keys else {}),
    )


def parts(space: spaces.Space[Any]) -> list[spaces.Space[Any]]:
    """The spaces of which a Dict consists, or a space itself."""
    return list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]


def standardised(space: spaces.Space[Any]) -> list[str] | None:
    """Which observations can be standardised: the keys of Box that aren't images, none, or None for all."""
    if isinstance(space, spaces.Dict):
        keys = [key for key, part in space.spaces.items() if _is_vector(part)]
        return None if len(keys) == len(space.spaces) else keys
    return None if _is_vector(space) else []


def build_agent(
    config: AlgorithmConfig,
    env: VecEnv,
    seed: int,
    device: str | torch.device = "auto",
    seams: Seams | None = None,
) -> Agent:
    """Build an agent for an environment.

    Args:
        config: Algorithm and hyperparameters.
        env: The training environment; it is seeded from ``seed``.
        seed: Of the global generators, the networks and the environment.
        device: ``auto``, ``cpu``, ``cuda``; ``auto`` leaves policies of states on the CPU.
        seams: What a transfer method puts in.

    Raises:
        WarmstartError: If algorithm and action space, or configuration and environment, don't fit.
    """
    check_spaces(config, env)
    device = choose_device(device, env.observation_space)
    policy: Any = "MultiInputPolicy" if isinstance(env.observation_space, spaces.Dict) else "MlpPolicy"
    if isinstance(env.observation_space, spaces.Box) and is_image_space(env.observation_space):
        policy = "CnnPolicy"
    if wants_asymmetric(env):
        if config.algorithm not in ASYMMETRIC_POLICIES:
            raise WarmstartError(
                f"{config.algorithm} has no critic that reads what its actor may not: use "
                f"{', '.join(ASYMMETRIC_POLICIES)}."
            )
        policy = ASYMMETRIC_POLICIES[config.algorithm]
    if seams is not None and seams.policy_kwargs.get("features_extractor_class") is EncoderExtractor:
        policy = ENCODER_POLICIES.get(config.algorithm, policy)
    if isinstance(config, OffPolicyConfig) and config.network == "simba":
        if policy != "MlpPolicy" or "features_extractor_class" in (seams.policy_kwargs if seams else {}):
            raise WarmstartError(
                f"The simba network reads vectors, the environment has {env.observation_space}: leave "
                "network at plain."
            )
        policy = SIMBA_POLICIES[config.algorithm]
    common: State = {
        "policy": policy,
        "env": env,
        **shared_settings(config),
        "learning_rate": schedule(config.learning_rate, config.learning_rate_decay),
        "seams": seams,
        "seed": seed,
        "device": device,
    }
    kwargs = policy_kwargs(config)
    if isinstance(config, PPOConfig):
        kwargs["ortho_init"] = config.ortho_init
        if isinstance(env.action_space, spaces.Box):
            kwargs["log_std_init"] = config.log_std_init
        clip_range = schedule(config.clip_range, config.clip_range_decay)
        common["recompute_advantages"] = config.recompute_advantages
        return PPO(**common | {"clip_range": clip_range, "policy_kwargs": kwargs})
    common |= {"random_steps": config.random_steps, "matmul_precision": config.matmul_precision}
    kwargs["n_critics"] = config.n_critics
    if isinstance(config, EntropyConfig):
        ent_coef = f"auto_{config.ent_coef_init}" if config.ent_coef == "auto" else config.ent_coef
        if config.use_sde:
            kwargs["log_std_init"] = config.log_std_init
        if isinstance(config, TQCConfig):
            kwargs["n_quantiles"] = config.n_quantiles
        classes: dict[str, type[SAC | TQC | CrossQ]] = {"sac": SAC, "tqc": TQC, "crossq": CrossQ}
        return classes[config.algorithm](**common | {"ent_coef": ent_coef, "policy_kwargs": kwargs})
    assert isinstance(config, TD3Config)
    n_actions = int(np.prod(env.action_space.shape or ()))
    noise = NormalActionNoise(np.zeros(n_actions), np.full(n_actions, config.action_noise))
    action_noise = noise if config.action_noise > 0 else None
    return TD3(**common | {"action_noise": action_noise, "policy_kwargs": kwargs})


def shared_settings(config: AlgorithmConfig) -> State:
    """Fields of a configuration that SB3's constructor of the algorithm takes by the same name."""
    taken = signature(SB3_ALGORITHMS[config.algorithm].__init__).parameters
    return {item.name: getattr(config, item.name) for item in fields(config) if item.name in taken}


def policy_kwargs(config: AlgorithmConfig) -> State:
    """SB3's ``policy_kwargs`` that all three algorithms take, and the configuration's own."""
    critic = config.net_arch if config.critic_net_arch is None else config.critic_net_arch
    second = "vf" if isinstance(config, PPOConfig) else "qf"
    optimizer: State = {}
    if config.adam_betas != type(config).adam_betas:
        eps = 1e-5 if isinstance(config, PPOConfig) else 1e-8  # as SB3 has them
        optimizer["optimizer_kwargs"] = {"betas": tuple(config.adam_betas), "eps": eps}
    if isinstance(config, OffPolicyConfig) and config.weight_decay > 0:
        optimizer["optimizer_class"] = torch.optim.AdamW
        optimizer["optimizer_kwargs"] = {
            "betas": tuple(config.adam_betas),
            "weight_decay": config.weight_decay,
        }
    return {
        **optimizer,
        "net_arch": {"pi": list(config.net_arch), second: list(critic)},
        "activation_fn": ACTIVATIONS[config.activation],
        **config.policy_kwargs,
    }


def schedule(value: float, decay: str) -> Any:
    """A constant, or SB3's linear schedule that ends at zero."""
    return LinearSchedule(value, 0.0, 1.0) if decay == "linear" else value


def check_spaces(config: AlgorithmConfig, env: VecEnv) -> None:
    """Raise where algorithm, configuration and spaces don't fit together."""
    space = env.action_space
    if config.algorithm == "crossq" and not _is_vector(env.observation_space):
        raise WarmstartError(
            f"crossq observes vectors (sb3-contrib has no other policy), the environment has "
            f"{env.observation_space}: use sac."
        )
    if isinstance(config, OffPolicyConfig) and not isinstance(space, spaces.Box):
        raise WarmstartError(
            f"{config.algorithm.upper()} takes Box actions, the environment has {space}: use ppo."
        )
    if not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise WarmstartError(f"PPO takes Box, Discrete, MultiDiscrete or MultiBinary actions, not {space}.")
    if isinstance(space, spaces.Box) and not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise WarmstartError(
            f"Continuous actions need finite bounds, found {space}: rescale the action space."
        )
    if config.use_sde and not isinstance(space, spaces.Box):
        raise WarmstartError(f"use_sde takes continuous actions (Box), but the environment has {space}.")
    if config.normalize and unwrap_vec_normalize(env) is None:
        raise WarmstartError(
            "The configuration normalises, but there is no VecNormalize around the environment: make it with "
            "make_training_env, or set normalize_obs=False and normalize_reward=False."
        )


def choose_device(device: str | torch.device, observation_space: spaces.Space[Any]) -> torch.device:
    """Where to train; ``auto`` takes a GPU only for images: small networks are faster on the CPU."""
    if device != "auto":
        chosen = torch.device(device)
        if chosen.type == "cuda" and not torch.cuda.is_available():
            raise WarmstartError(
                f"The device {device} was asked for, but torch {torch.__version__} sees no GPU."
            )
        return chosen
    if any(is_image_space(space) for space in parts(observation_space)) and torch.cuda.is_available():
        return torch.device("cuda")
    log.info(
        "Training on the CPU: a small policy of states gains nothing from a GPU (--device cuda to insist)."
    )
    return torch.device("cpu")


def _is_vector(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and not is_image_space(space)
