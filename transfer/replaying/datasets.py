"""Recorded steps as a model in the target takes them: a dataset, a source's replay buffer or its rollouts."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.replay import read_replay
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.transfer.carry.carrying import TransferContext, matchings
from warmstart.transfer.carry.source import source_name
from warmstart.transfer.matching.matching import Matching
from warmstart.transfer.replaying.logs import read_log
from warmstart.transfer.teaching.rollouts import Transitions, roll

REPLAY_DATA = "replay"
"""What ``data`` is where the source's replay buffer is meant."""
EXTRA = "it needs a package that is not installed: pip install 'warmstart[data]'."


@dataclass(frozen=True)
class Steps:
    """Steps in the target's spaces."""

    taken: Transitions
    """Observations aren't standardised, actions in the target's range."""
    known: NDArray[np.bool_]
    """Which of the target's actions the steps hold. Shape: (actions,)."""
    notes: tuple[str, ...] = ()
    """Where they are from, and what was filled in."""


def recorded(
    data: str | None, count: int, source: Checkpoint | None, model: BaseAlgorithm, context: TransferContext
) -> Steps:
    """Steps for a model: of a dataset, or where there is none of the source in its own task.

    Args:
        data: ``minari:ID``, a dataset on this machine; ``PATH.csv``, a run's log; ``replay``, what the source
            learned from; None for its rollouts.
        count: How many of the source's rollouts; the others are taken whole.
        source: The source.
        model: What will learn from them, with its environment.
        context: Names, maps and the generator.

    Raises:
        WarmstartError: There is neither, or observations or actions don't fit.
    """
    if not isinstance(model.action_space, spaces.Box | spaces.Discrete):
        raise WarmstartError(f"Recorded steps can't be used: the target's actions are {model.action_space}.")
    if data is not None and data != REPLAY_DATA:
        found = fitting(data, model.observation_space, model.action_space)
        size = int(np.prod(model.action_space.shape or (1,)))
        return Steps(found, np.ones(size, bool), (f"{len(found):,} steps of {data}.",))
    if source is None:
        raise WarmstartError("A source, or data: minari:ID, has the steps to learn from; none was given.")
    if data == REPLAY_DATA:
        taken, of = replayed(source), "of the source's replay buffer"
    else:
        taken, of = (
            roll(source, count, int(context.generator.integers(2**31))),
            f"of the source in {source.task}",
        )
    observations, actions = matchings(model, source, context)
    note = f"{len(taken):,} steps {of}, which aren't counted as the target's."
    if isinstance(model.action_space, spaces.Discrete):
        if not actions.identity:
            raise WarmstartError("The source's choices aren't the target's: its steps can't be used.")
        known = np.ones(1, bool)
    else:
        known = np.array([index is not None for index in actions.indices])
        taken = replace(taken, actions=in_range(taken.actions, actions, model.action_space))
    if not observations.identity:
        usual = usual_observation(model)
        taken = replace(
            taken,
            observations=in_place(taken.observations, observations, usual),
            next_observations=in_place(taken.next_observations, observations, usual),
        )
    return Steps(taken, known, (note,))


def replayed(source: Checkpoint) -> Transitions:
    """The steps in the replay buffer beside a source.

    Raises:
        WarmstartError: It was saved without, or with frames.
    """
    if source.path is None or source.path.is_file():
        raise WarmstartError(f"{source_name(source)} has no replay buffer: only a checkpoint's folder may.")
    found = read_replay(source.path, source.replay)
    if source.vision is not None:
        raise WarmstartError(f"{source.path}: the steps of an agent that sees frames can't be replayed.")
    ends = {name: found[name] > 0 for name in ("terminated", "truncated")}
    return Transitions(**{**found, **ends})


def fitting(data: str, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> Transitions:
    """Read a Minari dataset or a run's log whose observations and actions are a task's.

    Raises:
        WarmstartError: It can't be read, or they have other shapes.
    """
    found = read_log(data) if data.endswith(".csv") else read_minari(data)
    for what, theirs, space in (
        ("observations", found.observations, observation_space),
        ("actions", found.actions, action_space),
    ):
        if theirs.shape[1:] != space.shape:
            raise WarmstartError(
                f"{data}: its {what} have the shape {theirs.shape[1:]}, the target's {space.shape}."
            )
    return found


def in_place(values: NDArray[Any], matching: Matching, usual: NDArray[Any]) -> NDArray[Any]:
    """Observations of a source in the target's places, what is new at its usual value.

    Args:
        values: Not standardised. Shape: (n, source dimensions).
        matching: Which is which.
        usual: Shape: (target dimensions,).

    Returns:
        Shape: (n, target dimensions).
    """
    found = np.tile(usual, (len(values), 1))
    for t, s in matching.matched:
        found[:, t] = values[:, s] / matching.ratios[t]
    return found


def in_range(values: NDArray[Any], matching: Matching, space: spaces.Space[Any]) -> NDArray[Any]:
    """Actions of a source in the target's places and range, new ones in the middle. Shape: (n, actions)."""
    assert isinstance(space, spaces.Box)
    found = np.tile((space.low + space.high) / 2, (len(values), 1))
    for t, s in matching.matched:
        found[:, t] = values[:, s] / matching.ratios[t]
    return np.clip(found, space.low, space.high).astype(np.float32)


def usual_observation(model: BaseAlgorithm) -> NDArray[Any]:
    """The mean that a model's normaliser knows, else zero. Shape: (dimensions,)."""
    wrapper = model.get_vec_normalize_env()
    moments: Any = None if wrapper is None or not wrapper.norm_obs else wrapper.obs_rms
    size = int(np.prod(model.observation_space.shape or (1,)))
    return np.zeros(size) if moments is None else np.asarray(moments.mean).reshape(-1)


def read_minari(data: str) -> Transitions:
    """Read a Minari dataset that lies on this machine.

    Args:
        data: ``minari:ID``.

    Raises:
        WarmstartError: It isn't there, Minari isn't installed, or its observations aren't arrays.
    """
    if not data.startswith("minari:"):
        raise WarmstartError(
            f"data: expected minari:ID, a dataset on this machine, or PATH.csv, a run's log, found {data!r}."
        )
    rows: dict[str, list[NDArray[Any]]] = {name: [] for name in Transitions.__dataclass_fields__}
    for episode in load_minari(data.removeprefix("minari:")).iterate_episodes():
        if not isinstance(episode.observations, np.ndarray):
            kind = type(episode.observations).__name__
            raise WarmstartError(f"{data}: expected arrays of observations, found {kind}.")
        every = (
            episode.observations[:-1],
            episode.actions,
            episode.rewards,
            episode.observations[1:],
            episode.terminations,
            episode.truncations,
        )
        for name, values in zip(rows, every, strict=True):
            rows[name].append(np.asarray(values))
    if not rows["rewards"]:
        raise WarmstartError(f"{data} holds no episode.")
    return Transitions(**{name: np.concatenate(values) for name, values in rows.items()})


def load_minari(name: str) -> Any:
    """A Minari dataset that lies on this machine.

    Raises:
        WarmstartError: It isn't there, or Minari isn't installed.
    """
    try:
        import minari  # type: ignore[import-not-found, import-untyped, unused-ignore]

        return minari.load_dataset(name)
    except ImportError as error:  # minari, or h5py, which its files need
        raise WarmstartError(f"To read the Minari dataset {name}, {EXTRA} ({error})") from None
    except FileNotFoundError:
        raise unknown_name("Minari dataset on this machine:", name, minari.list_local_datasets()) from None
