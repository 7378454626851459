"""The normaliser's part of a warm start: which statistics travel, and what the networks see instead of them.

A policy is only the policy together with the statistics that standardised its observations (SB3's zip holds
none of them, #1256). May import ``envs`` and ``agents``.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from warmstart.agents.checkpoints.normalization import NormalizerState, Statistic, align
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.layouts import flat_size
from warmstart.transfer.carry.matching import Matching
from warmstart.transfer.carry.report import Action, TransferEntry
from warmstart.transfer.carry.scaling import Affine

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
    source_space: spaces.Space[Any],
    target_space: spaces.Space[Any],
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
        source_space: The source's observation space.
        target_space: The target's observation space.
        count: Upper bound on the observations (and returns) behind carried statistics.
        rewards: Whether the scale of the rewards travels.
        missing: What happens where the source standardises and the target doesn't.

    Returns:
        The plan.

    Raises:
        WarmstartError: If one side standardises a matched observation and the other doesn't, unless it can be
            folded and that is asked for.
    """
    theirs, ours = _flatten(source, source_space), _flatten(target, target_space)
    inputs, ratios = Affine.identity(len(matching.indices)), matching.ratios
    folded = []
    for t, s in matching.matched:
        name = matching.target.dimensions[t].name
        if theirs.standardised[s] and not ours.standardised[t]:
            folded.append(name)
            inputs.factor[t] = ratios[t] / theirs.deviation[s]
            inputs.offset[t] = -theirs.mean[s] / theirs.deviation[s]
        elif ours.standardised[t] and not theirs.standardised[s]:
            raise WarmstartError(
                f"The source saw {name} as it is, but the target's VecNormalize standardises it: the "
                "policy would read other numbers. If the source was trained with VecNormalize, give its "
                "statistics (trust_normalizer='vecnormalize.pkl'); else use VecNormalize(env, "
                "norm_obs=False) in the target."
            )
        elif not ours.standardised[t]:
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
    if target is None:
        return StatisticsTransfer(inputs, None, (), bool(folded), tuple(notes))
    state, entries = _new_state(source, target, theirs, ours, matching, target_space, count, rewards)
    return StatisticsTransfer(inputs, state, tuple(entries), bool(folded), tuple(notes))


def _new_state(
    source: NormalizerState | None,
    target: NormalizerState,
    theirs: _Flat,
    ours: _Flat,
    matching: Matching,
    space: spaces.Space[Any],
    count: float,
    rewards: RewardStatistics,
) -> tuple[NormalizerState, list[TransferEntry]]:
    """Build the target's statistics and their entries."""
    state, entries = target, []
    carried = [t for t, s in matching.matched if theirs.standardised[s] and ours.standardised[t]]
    if source is not None and carried:
        indices = np.full(len(matching.indices), -1)
        indices[carried] = [matching.indices[t] for t in carried]
        mean = align(theirs.mean, indices, np.zeros(len(indices))) / matching.ratios
        var = align(theirs.var, indices, np.ones(len(indices))) / matching.ratios**2
        state = replace(
            target,
            mean=_unflatten(mean, target.mean, space),
            var=_unflatten(var, target.var, space),
            count=min(source.count, count),
            clip=source.clip,
            epsilon=source.epsilon,
        )
        fresh = int(np.sum(ours.standardised)) - len(carried)
        action: Action = "copied" if matching.identity else "aligned"
        why = (
            "same dimensions"
            if matching.identity
            else f"{len(carried)} carried by name, {fresh} new (mean 0, variance 1)"
        )
        shapes = (theirs.mean.shape, ours.mean.shape)
        entries += [
            TransferEntry(f"normalizer.{part}", *shapes, action, False, why) for part in ("mean", "var")
        ]
        entries.append(_count_entry("normalizer.count", source.count, count))
    elif target.normalize_obs:
        entries += [
            TransferEntry(
                f"normalizer.{part}", None, ours.mean.shape, "untouched", False, "no statistics to carry"
            )
            for part in ("mean", "var")
        ]
    if not target.normalize_reward:
        return state, entries
    if source is None or not source.normalize_reward:
        entries.append(
            TransferEntry("normalizer.return_var", None, (), "untouched", False, "the source has none")
        )
    elif rewards == "reset":
        fresh_returns = target.without_returns()
        state = replace(
            state,
            return_mean=fresh_returns.return_mean,
            return_var=fresh_returns.return_var,
            return_count=fresh_returns.return_count,
        )
        entries.append(
            TransferEntry("normalizer.return_var", (), (), "reset", False, "for another scale of rewards")
        )
    else:
        state = replace(
            state,
            return_mean=source.return_mean,
            return_var=source.return_var,
            return_count=min(source.return_count, count),
            clip_reward=source.clip_reward,
        )
        entries.append(
            TransferEntry("normalizer.return_var", (), (), "copied", False, "the scale the critic knows")
        )
        entries.append(_count_entry("normalizer.return_count", source.return_count, count))
    return state, entries


def _count_entry(name: str, found: float, count: float) -> TransferEntry:
    if found <= count:
        return TransferEntry(name, (), (), "copied", False, f"{found:,.0f}, within the cap of {count:,.0f}")
    return TransferEntry(name, (), (), "capped", False, f"{found:,.0f} → {count:,.0f}, so that it adapts")


def _flatten(state: NormalizerState | None, space: spaces.Space[Any]) -> _Flat:
    size = flat_size(space)
    mean, var, standardised = np.zeros(size), np.ones(size), np.zeros(size, bool)
    if state is None or not state.normalize_obs:
        return _Flat(mean, var, np.ones(size), standardised)
    if isinstance(state.mean, dict):
        assert isinstance(space, spaces.Dict)
        assert isinstance(state.var, dict)
        start = 0
        for key, part in space.spaces.items():
            stop = start + flat_size(part)
            if key in state.mean:
                mean[start:stop], var[start:stop] = state.mean[key].reshape(-1), state.var[key].reshape(-1)
                standardised[start:stop] = True
            start = stop
    else:
        assert not isinstance(state.var, dict)
        mean, var, standardised = (
            state.mean.reshape(-1).copy(),
            state.var.reshape(-1).copy(),
            np.ones(size, bool),
        )
    return _Flat(mean, var, np.where(standardised, np.sqrt(var + state.epsilon), 1.0), standardised)


def _unflatten(
    flat: Statistic, like: Statistic | dict[str, Statistic], space: spaces.Space[Any]
) -> Statistic | dict[str, Statistic]:
    if not isinstance(like, dict):
        return flat.reshape(like.shape)
    assert isinstance(space, spaces.Dict)
    parts, start = {}, 0
    for key, part in space.spaces.items():
        stop = start + flat_size(part)
        if key in like:
            parts[key] = flat[start:stop].reshape(like[key].shape)
        start = stop
    return parts
