"""A student of rapid motor adaptation: a teacher's policy that guesses the physics' code from a history."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy

from warmstart.agents.checkpoints.architecture import build_policy
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.normalization import NormalizerState
from warmstart.agents.checkpoints.policy import load_tensors
from warmstart.agents.observing.privileged import POLICY, PrivilegedObservation
from warmstart.core.errors import WarmstartError


def checked_teacher(teacher: Checkpoint) -> PrivilegedObservation:
    """How a teacher sees.

    Raises:
        WarmstartError: The checkpoint isn't a teacher's.
    """
    sight, extractor = teacher.vision, teacher.policy_kwargs.get("features_extractor", "SB3's own")
    shared = teacher.policy_kwargs.get("share_features_extractor", True)
    encoded = extractor == "ContextExtractor" and shared and teacher.algorithm == "ppo"
    continuous = isinstance(teacher.action_space, spaces.Box)
    if encoded and continuous and isinstance(sight, PrivilegedObservation) and sight.who == "both":
        return sight
    raise WarmstartError(
        "Expected a teacher's checkpoint: PPO with continuous actions, seen through "
        "PrivilegedObservation(who='both') and built with teacher_seams(); found "
        f"{teacher.algorithm} with the features extractor {extractor}, seen through {sight}."
    )


def student_of(
    teacher: Checkpoint, space: spaces.Space[Any], frames: int, hidden: Sequence[int]
) -> BasePolicy:
    """The teacher's policy with a fresh phi in the place of mu.

    Args:
        teacher: The checkpoint.
        space: Histories of ``frames`` observations and the actions between them.
        frames: Observations in a history.
        hidden: Widths of phi's hidden layers.

    Returns:
        The policy; phi's weights are drawn from torch's global generator, which stays as it was.
    """
    kwargs = student_kwargs(teacher, frames, hidden)
    student = build_policy("ppo", space, teacher.action_space, kwargs)
    kept = {name: value for name, value in teacher.policy_tensors.items() if not _is_of_extractor(name)}
    own = {name: value for name, value in student.state_dict().items() if _is_of_extractor(name)}
    load_tensors(student, {**own, **kept}, critic=teacher.critic)
    return student


def student_kwargs(teacher: Checkpoint, frames: int, hidden: Sequence[int]) -> dict[str, Any]:
    """The student's architecture as plain values; see `student_of`."""
    settings = teacher.policy_kwargs.get("features_extractor_kwargs", {})
    return {
        **teacher.policy_kwargs,
        "policy_class": "ActorCriticPolicy",
        "features_extractor": "AdaptationExtractor",
        "features_extractor_kwargs": {
            "frames": frames,
            "n_actions": spaces.flatdim(teacher.action_space),
            "latent_dim": settings.get("latent_dim", 8),
            "hidden": list(hidden),
        },
    }


def history_normalizer(
    state: NormalizerState | None, action_space: spaces.Space[Any], frames: int
) -> NormalizerState | None:
    """A teacher's statistics for a student's histories.

    Every observation of a history is standardised as the teacher's is, an action so that its range becomes -1
    to 1.

    Args:
        state: Statistics of the observations ``policy`` (d numbers) and ``privileged``; None for none.
        action_space: A Box of m actions.
        frames: Observations in a history, k.

    Returns:
        Statistics of k d + (k - 1) m numbers.
    """
    own = part_of(state, POLICY)
    if own is None or not own.normalize_obs:
        return own
    assert isinstance(own.mean, np.ndarray)
    assert isinstance(own.var, np.ndarray)
    assert isinstance(action_space, spaces.Box)
    low, high = action_space.low.astype(np.float64), action_space.high.astype(np.float64)
    mean = [own.mean] * frames + [(low + high) / 2] * (frames - 1)
    var = [own.var] * frames + [((high - low) / 2) ** 2] * (frames - 1)
    return replace(own, mean=np.concatenate(mean), var=np.concatenate(var))


def part_of(state: NormalizerState | None, key: str) -> NormalizerState | None:
    """The statistics of one part of a Dict observation, as those of an observation of its own."""
    if state is None or not state.normalize_obs:
        return state
    assert isinstance(state.mean, dict)
    assert isinstance(state.var, dict)
    return replace(state, mean=state.mean[key], var=state.var[key])


def _is_of_extractor(name: str) -> bool:
    return name.split(".")[0] in ("features_extractor", "pi_features_extractor", "vf_features_extractor")
