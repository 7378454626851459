"""How long a study takes on this machine: measured with its own agents for a few seconds, nothing written."""

import time
from dataclasses import replace
from pathlib import Path

from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.evaluation import evaluate
from warmstart.agents.settings.config import AlgorithmConfig, PPOConfig, config_from_json
from warmstart.core.files import canonical_json
from warmstart.core.threads import available_cores
from warmstart.envs.tasks.task import Task
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.study.plan import Plan
from warmstart.experiments.trial.observing import encoder_setup

_OFF_POLICY_STEPS = 300
"""Vector steps of SAC and TD3 that are timed."""
_SECONDS_PER_TRIAL = 1.0
"""Starting a process, building an agent, writing a checkpoint."""
_SECONDS_PER_PRETRAINING_UPDATE = 0.08
"""Of an encoder, its frames included."""
_SECONDS_PER_IDENTIFICATION = 60.0
"""Of physics; from 5 s on a pendulum to minutes on legged robots that fall."""
_SECONDS_PER_STUDY = 6.0
"""Importing torch once, summary and report."""


def estimate_seconds(plan: Plan, workers: int | None = None) -> float:
    """Estimate a study's wall-clock from a few seconds of its own training.

    Args:
        plan: The study's trials.
        workers: Trials at a time; None for the number of cores.

    Returns:
        Seconds, good to perhaps a third: episodes get longer as agents learn.
    """
    rates: dict[str, tuple[float, float]] = {}
    total, longest = 0.0, 0.0
    for trial in plan.unique:
        config = trial.config
        if config.kind == "random":
            continue
        if config.kind == "identify":
            total += _SECONDS_PER_IDENTIFICATION
            continue
        key = f"{config.task}{canonical_json(config.algorithm)}{canonical_json(config.vision)}"
        key += canonical_json(config.reward)
        if config.kind == "encoder":
            rates[key] = (_SECONDS_PER_PRETRAINING_UPDATE, 0.0)
        if key not in rates:
            rates[key] = _measure(config)
        per_step, per_evaluation = rates[key]
        seconds = _SECONDS_PER_TRIAL + trial.steps * per_step + trial.evaluations * per_evaluation
        total, longest = total + seconds, max(longest, seconds)
    return _SECONDS_PER_STUDY + max(total / (workers or available_cores()), longest)


def _with_any_weights(config: TrialConfig) -> TrialConfig:
    """The trial with random weights in its encoder, which cost the same and need no file."""
    if not config.vision:
        return config
    text = str(config.vision["encoder"])
    encoder = EncoderConfig.parse(text)
    if encoder.file:
        return replace(config, encoder="", vision={})
    plain = replace(encoder, weights="random", fit_frames=encoder.features + 64)
    vision = {**config.vision, "encoder": str(plain)}
    vision.pop("sha256", None)
    return replace(config, encoder="", vision=vision)


def _measure(config: TrialConfig) -> tuple[float, float]:
    """Time one environment step of training and one evaluation. Returns: s per step, s per evaluation."""
    algorithm: AlgorithmConfig = config_from_json(config.algorithm)
    if isinstance(algorithm, PPOConfig):
        steps = algorithm.n_envs * algorithm.n_steps
    else:
        algorithm = replace(algorithm, learning_starts=algorithm.batch_size // 2, buffer_size=10_000)
        steps = _OFF_POLICY_STEPS * algorithm.n_envs
    task = Task.parse(config.task)
    setup = encoder_setup(_with_any_weights(config), Path(), None)
    reward = config.reward or "task"
    env = make_training_env(algorithm, task, seed=0, n_threads=1, vision=setup.vision, reward=reward)
    try:
        seams = setup.seams(algorithm.algorithm, env.observation_space)
        model = build_agent(algorithm, env, seed=0, device=config.device, seams=seams)
        start = time.perf_counter()
        model.learn(steps)
        per_step = (time.perf_counter() - start) / max(model.num_timesteps, 1)
        if config.evaluation_episodes == 0:
            return per_step, 0.0
        result = evaluate(Policy.from_model(model), task, episodes=config.evaluation_episodes)
        return per_step, result.seconds
    finally:
        env.close()
