"""The normaliser's part of a warm start: which statistics travel, and what the networks read instead of them.

A policy is only the policy together with the statistics that standardised its observations (SB3's zip holds
none of them, #1256).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from gymnasium.spaces.utils import flatdim
from numpy.typing import NDArray

from warmstart.agents.checkpoints.normalization import NormalizerState, Statistic
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.report import Action, TransferEntry
from warmstart.transfer.matching.matching import Matching
from warmstart.transfer.matching.scaling import Affine

RewardStatistics = Literal["keep", "reset"]
MissingNormalizer = Literal["error", "fold"]


@dataclass(frozen=True)
class StatisticsTransfer:
    """What becomes of the normaliser."""

    inputs: Affine
    """Source's network input = factor · target's network input + offset, per target observation."""

    state: NormalizerState | None = None
    """What the target's ``VecNormalize`` gets; ``None`` where there is none."""

    entries: tuple[TransferEntry, ...] = ()
    """One per statistic."""

    folded: bool = False
    """Whether the source's statistics go into the first layers."""

    notes: tuple[str, ...] = ()
    """What the reader should know."""


@dataclass(frozen=True)
class _Flat:
    """Statistics as one vector; a dimension that isn't standardised has mean 0 and deviation 1."""

    mean: Statistic
    var: Statistic
    deviation: Statistic
    standardised: NDArray[np.bool_]


def transfer_statistics(
    source: NormalizerState | None,
    target: NormalizerState | None,
    matching: Matching,
    observation_spaces: tuple[spaces.Space[Any], spaces.Space[Any]],
    *,
    count: float,
    rewards: RewardStatistics,
    missing: MissingNormalizer,
) -> StatisticsTransfer:
    """Plan what the target's normaliser becomes and what the first layers must absorb.

    Matched dimensions carry mean and variance. New ones start at mean 0, variance 1. ``VecNormalize`` has one
    count for all dimensions, so new ones adapt as slowly as the carried ones: the cap on the count bounds
    that, and their columns are zero meanwhile, so that the drift of their scale doesn't disturb the policy.

    Args:
        source: The source's statistics, or ``None``.
        target: The target environment's, or ``None``.
        matching: Matched observations.
        observation_spaces: The source's and the target's.
        count: Upper bound on the observations (and returns) behind carried statistics.
        rewards: Whether the scale of the rewards travels.
        missing: What happens where the source standardises and the target doesn't.

    Raises:
        WarmstartError: If one side standardises a matched observation and the other doesn't, unless it can be
            folded and that is asked for.
    """
    source_space, target_space = observation_spaces
    theirs, ours = _flatten(source, source_space), _flatten(target, target_space)
    size, ratios = len(matching.indices), matching.ratios
    inputs, mean, var = Affine.identity(size), np.zeros(size), np.ones(size)
    folded, carried = [], 0
    for t, s in matching.matched:
        name = matching.target.dimensions[t].name
        if theirs.standardised[s] and ours.standardised[t]:
            mean[t], var[t] = theirs.mean[s] / ratios[t], theirs.var[s] / ratios[t] ** 2
            inputs.factor[t] = np.sign(ratios[t])
            carried += 1
        elif theirs.standardised[s]:
            folded.append(name)
            inputs.factor[t] = ratios[t] / theirs.deviation[s]
            inputs.offset[t] = -theirs.mean[s] / theirs.deviation[s]
        elif ours.standardised[t]:
            raise WarmstartError(
                f"The source saw {name} as it is, but the target's VecNormalize standardises it: the "
                "policy would read other numbers. If the source was trained with VecNormalize, give its "
                "statistics (trust_normalizer='vecnormalize.pkl'); else use VecNormalize(env, "
                "norm_obs=False) in the target."
            )
        else:
            inputs.factor[t] = ratios[t]
    if folded and missing == "error":
        raise WarmstartError(
            f"The source was trained on standardised observations ({len(folded)} of them, {folded[0]} "
            "first), but the target's environment has no VecNormalize for them: the policy would read "
            "other numbers. Wrap the target in stable_baselines3's VecNormalize, or pass "
            "missing_normalizer='fold' to put the source's mean and deviation into the first layer (they "
            "no longer adapt then)."
        )
    notes = []
    if folded:
        clip = source.clip if source is not None else 0.0
        notes.append(
            "The source's mean and deviation are folded into the first layers. Exact while standardised "
            f"observations stay within ±{clip:g}, where the source clipped them; they no longer adapt."
        )
    if source is not None and source.normalize_reward and (target is None or not target.normalize_reward):
        notes.append("The source's critic was fitted to scaled rewards; the target's rewards aren't scaled.")
    state, entries, shape = target, [], ours.mean.shape
    if target is not None and source is not None and carried:
        state = replace(
            target,
            mean=_unflatten(mean, target.mean, target_space),
            var=_unflatten(var, target.var, target_space),
            count=min(source.count, count),
            clip=source.clip,
            epsilon=source.epsilon,
        )
        action: Action = "copied" if matching.identity else "aligned"
        fresh = int(np.sum(ours.standardised)) - carried
        why = f"{carried} carried by name, {fresh} new (mean 0, variance 1)"
        why = "same dimensions" if matching.identity else why
        entries = [
            TransferEntry(f"normalizer.{part}", theirs.mean.shape, shape, action, False, why)
            for part in ("mean", "var")
        ]
        entries.append(_count_entry("normalizer.count", source.count, count))
    elif target is not None and target.normalize_obs:
        entries = [
            TransferEntry(f"normalizer.{part}", None, shape, "untouched", False, "no statistics to carry")
            for part in ("mean", "var")
        ]
    if state is not None and state.normalize_reward:
        state, more = _reward_statistics(source, state, count, rewards)
        entries += more
    return StatisticsTransfer(inputs, state, tuple(entries), bool(folded), tuple(notes))


def _reward_statistics(
    source: NormalizerState | None, state: NormalizerState, count: float, rewards: RewardStatistics
) -> tuple[NormalizerState, list[TransferEntry]]:
    """The scale of the rewards: kept, reset, or the target's own where the source has none."""
    name = "normalizer.return_var"
    if source is None or not source.normalize_reward:
        return state, [TransferEntry(name, None, (), "untouched", False, "the source has none")]
    if rewards == "reset":
        entry = TransferEntry(name, (), (), "reset", False, "for another scale of rewards")
        return state.without_returns(), [entry]
    state = replace(
        state,
        return_mean=source.return_mean,
        return_var=source.return_var,
        return_count=min(source.return_count, count),
        clip_reward=source.clip_reward,
    )
    entry = TransferEntry(name, (), (), "copied", False, "the scale the critic knows")
    return state, [entry, _count_entry("normalizer.return_count", source.return_count, count)]


def _count_entry(name: str, found: float, count: float) -> TransferEntry:
    if found <= count:
        return TransferEntry(name, (), (), "copied", False, f"{found:,.0f}, within the cap of {count:,.0f}")
    return TransferEntry(name, (), (), "capped", False, f"{found:,.0f} → {count:,.0f}, so that it adapts")


def _parts(space: spaces.Space[Any]) -> Iterator[tuple[str, slice]]:
    """Key and place of each part of a space in its flat form; the key is empty where it has no parts."""
    start = 0
    for key, part in space.spaces.items() if isinstance(space, spaces.Dict) else [("", space)]:
        yield key, slice(start, start + flatdim(part))
        start += flatdim(part)


def _flatten(state: NormalizerState | None, space: spaces.Space[Any]) -> _Flat:
    size = flatdim(space)
    mean, var, standardised = np.zeros(size), np.ones(size), np.zeros(size, bool)
    if state is None or not state.normalize_obs:
        return _Flat(mean, var, np.ones(size), standardised)
    means = state.mean if isinstance(state.mean, dict) else {"": state.mean}
    variances = state.var if isinstance(state.var, dict) else {"": state.var}
    for key, at in _parts(space):
        if key in means:
            mean[at], var[at] = means[key].reshape(-1), variances[key].reshape(-1)
            standardised[at] = True
    return _Flat(mean, var, np.where(standardised, np.sqrt(var + state.epsilon), 1.0), standardised)


def _unflatten(
    flat: Statistic, like: Statistic | dict[str, Statistic], space: spaces.Space[Any]
) -> Statistic | dict[str, Statistic]:
    if not isinstance(like, dict):
        return flat.reshape(like.shape)
    return {key: flat[at].reshape(like[key].shape) for key, at in _parts(space) if key in like}
