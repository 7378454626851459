"""How alike two tasks are to a source's policy: each measure with a 95% interval."""

import math
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.envs.actions import bin_values, split_bins
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.transfer.similarity.playing import Played
from warmstart.transfer.teaching.teacher import Teacher

RESAMPLES = 2_000
FOLDS = 4


@dataclass(frozen=True)
class Measure:
    """One number, and what it means."""

    name: str
    value: float
    """NaN where it can't be told."""
    low: float
    high: float
    meaning: str
    """One sentence: what which values mean, or why there is none."""


def zero_shot(
    target: Played, chance: Played, source: Played, source_chance: Played, rng: np.random.Generator
) -> Measure:
    """Where the source's policy stands in the target, between chance there and its own level at home.

    ``(target − target's chance) / (source − source's chance)``; bootstrap over episodes.
    """

    def mean(returns: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = returns[rng.integers(len(returns), size=(RESAMPLES, len(returns)))].mean(
            1
        )
        return drawn

    groups = [each.returns for each in (target, chance, source, source_chance)]
    there, nobody, home, home_nobody = (float(group.mean()) for group in groups)
    if home <= home_nobody:
        told = "the source is no better than chance in its own task: it has nothing to give"
        return Measure("zero-shot return", math.nan, math.nan, math.nan, told)
    drawn = [mean(group) for group in groups]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (drawn[0] - drawn[1]) / np.maximum(drawn[2] - drawn[3], 1e-9)
    low, high = np.percentile(shares, [2.5, 97.5])
    told = f"0 is chance ({nobody:,.1f}), 1 what it earns at home ({home:,.1f}); it earns {there:,.1f}"
    return Measure("zero-shot return", (there - nobody) / (home - home_nobody), float(low), float(high), told)


def dynamics(source: Task, target: Task, teacher: Teacher, steps: int, seed: int) -> Measure:
    """How differently the two tasks move from the same state with the same action.

    Mean difference of the changes of velocity in one step, over their mean size in the target. States are
    those of the source's policy in the target; both simulators are loaded with them.
    """
    name = "one-step dynamics"
    source, (target, bins) = split_bins(source)[0], split_bins(target)
    with ExitStack() as opened:
        try:
            made = (make_vec(t, 1, seed=seed, n_threads=1, stepper="gymnasium") for t in (source, target))
            theirs, ours = (opened.enter_context(closing(env)) for env in made)
        except WarmstartError:  # an option that only our own robots have
            told = "Gymnasium's environment can't be built like that, and only its state can be set"
            return Measure(name, math.nan, math.nan, math.nan, told)
        observations, _ = ours.reset(seed=seed)
        theirs.reset(seed=seed)
        home, here = (_single(env) for env in (theirs, ours))
        shapes = [
            None if e is None else (e.model.nq, e.model.nv, e.model.nu, e.action_space.shape)
            for e in (home, here)
        ]
        if home is None or here is None or shapes[0] != shapes[1]:
            told = "another body, or no MuJoCo state: the two can't be loaded with the same states"
            return Measure(name, math.nan, math.nan, math.nan, told)
        gaps, sizes = [], []
        for _ in range(steps):
            qpos, qvel = here.data.qpos.copy(), here.data.qvel.copy()
            actions = teacher.act(observations)
            if bins is not None:
                values = bin_values(ours.single_action_space, bins)
                actions = values[np.arange(len(values)), np.reshape(actions, (1, -1))]
            home.set_state(qpos, qvel)
            observations, _, terminated, truncated, _ = ours.step(actions)
            home.step(actions[0])
            if not (terminated | truncated).any():  # else the target has begun anew
                moved = here.data.qvel - qvel
                gaps.append(np.linalg.norm(home.data.qvel - qvel - moved))
                sizes.append(np.linalg.norm(moved))
    ratio = np.array(gaps) / max(float(np.mean(sizes)), 1e-12)
    half = 1.96 * float(ratio.std() / math.sqrt(max(1, len(ratio))))
    value = float(ratio.mean())
    return Measure(
        name, value, value - half, value + half, "0: they move alike; 1: as differently as they move"
    )


def _single(env: Any) -> Any:
    """The MuJoCo environment inside a vector of one; None where there is none."""
    members = getattr(getattr(env, "members", None), "envs", None)
    inner = members[0].unwrapped if members else None
    return inner if hasattr(inner, "set_state") and hasattr(inner, "data") else None


def two_samples(source: Played, target: Played, teacher: Teacher, seed: int) -> Measure:
    """How well a classifier tells the source's visited observations from the target's, on unseen episodes.

    A small network on the matched observations (Lopez-Paz & Oquab 2016, 1610.06545); accuracy, 0.5 is chance.
    """
    name = "visited observations"
    count = min(source.observations.shape[1], target.observations.shape[1])
    if count < FOLDS:
        return Measure(name, math.nan, math.nan, math.nan, f"fewer than {FOLDS} episodes to compare")
    columns = [s for _, s in teacher.observations.matched]
    groups = [
        [episode if teacher.same else episode[:, columns] for episode in _by_episode(played, actor)]
        for played, actor in ((source, None), (target, teacher))
    ]
    accuracies = [_accuracy(groups, fold, seed) for fold in range(FOLDS)]
    value = float(np.mean(accuracies))
    half = float(stats.t.ppf(0.975, FOLDS - 1) * np.std(accuracies, ddof=1) / math.sqrt(FOLDS))
    told = "share told apart: 0.5 means that it sees the same as at home, 1 something else altogether"
    return Measure(name, value, max(0.0, value - half), min(1.0, value + half), told)


def _by_episode(played: Played, teacher: Teacher | None) -> list[NDArray[Any]]:
    """Observations of each episode in the source's terms."""
    found = []
    for env in range(played.observations.shape[1]):
        seen: Any = played.observations[played.running[:, env], env]
        mapped: Any = seen if teacher is None else teacher.seen(seen)
        found.append(np.asarray(mapped, np.float32).reshape(len(seen), -1))
    return found


def _accuracy(groups: list[list[NDArray[Any]]], fold: int, seed: int) -> float:
    """Balanced accuracy on the episodes of a fold of a network trained on the others."""
    generator = torch.Generator().manual_seed(seed)
    parts: list[list[torch.Tensor]] = []
    for group in groups:
        held = [torch.as_tensor(each) for i, each in enumerate(group) if i % FOLDS == fold]
        rest = [torch.as_tensor(each) for i, each in enumerate(group) if i % FOLDS != fold]
        parts.append([torch.cat(rest), torch.cat(held)])
    every = torch.cat([part[0] for part in parts])
    mean, std = every.mean(0), every.std(0).clamp(min=1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            torch.nn.Linear(every.shape[1], 32), torch.nn.ReLU(), torch.nn.Linear(32, 1)
        )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, weight_decay=1e-4)
    for _ in range(300):
        drawn = [part[0][torch.randint(len(part[0]), (128,), generator=generator)] for part in parts]
        inputs = (torch.cat(drawn) - mean) / std
        labels = torch.cat([torch.zeros(128, 1), torch.ones(128, 1)])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(inputs), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        right = [
            float(((network((part[1] - mean) / std) > 0) == bool(label)).float().mean())
            for label, part in enumerate(parts)
        ]
    return float(np.mean(right))


def critic(source: Checkpoint, played: Played, teacher: Teacher | None, gamma: float) -> Measure:
    """How much of what the policy earns from a state its critic foresees, without being fitted anew.

    Correlation of the critic's values and the discounted returns, over the steps whose return is
    nearly whole; interval by Fisher's transformation over episodes' worth of steps.
    """
    name = "critic"
    values = _values(source, played, teacher)
    if values is None:
        return Measure(name, math.nan, math.nan, math.nan, "it has no critic that could be asked")
    horizon = max(1, round(1 / (1 - gamma))) if gamma < 1 else 1
    whole = played.running.copy()
    for env in range(whole.shape[1]):
        length = int(played.running[:, env].sum())
        if not played.terminated[env]:  # ran out of time: what is left is cut off
            whole[max(1, length - horizon) :, env] = False
    returns = played.discounted(gamma)[whole]
    found = values[whole]
    if len(found) < 8 or found.std() == 0 or returns.std() == 0:
        return Measure(name, math.nan, math.nan, math.nan, "too few steps, or nothing varies")
    correlation = float(np.corrcoef(found, returns)[0, 1])
    independent = max(4.0, whole.shape[1] * len(whole) / horizon)
    ends = np.tanh(
        np.arctanh(np.clip(correlation, -0.999, 0.999)) + np.array([-1.96, 1.96]) / math.sqrt(independent - 3)
    )
    told = "correlation of its values with what is earned: 1 foresees all, 0 nothing"
    return Measure(name, correlation, float(ends[0]), float(ends[1]), told)


def _values(source: Checkpoint, played: Played, teacher: Teacher | None) -> NDArray[np.float64] | None:
    """The critic's values of the states (PPO) or of the actions taken there. Shape: (steps, n_envs)."""
    if not source.critic:
        return None
    policy = source.policy()
    module: Any = policy.module
    shape = played.rewards.shape
    flat = played.observations.reshape(shape[0] * shape[1], *played.observations.shape[2:])
    seen: Any = flat if teacher is None else teacher.seen(flat)
    inputs = module.obs_to_tensor(seen if policy.normalizer is None else policy.normalizer.apply(seen))[0]
    with torch.no_grad():
        if hasattr(module, "mlp_extractor"):
            found = module.predict_values(inputs).reshape(-1)
        elif hasattr(module, "critic"):
            acted = policy.predict(seen)
            scaled = torch.as_tensor(module.scale_action(acted), dtype=torch.float32)
            outputs = module.critic(inputs, scaled)
            joined = torch.cat(list(outputs), 1) if isinstance(outputs, tuple | list) else outputs.flatten(1)
            found = joined.mean(1)
        else:
            return None
    values: NDArray[np.float64] = found.double().numpy().reshape(shape)
    return values
