"""Every number of the report in one JSON-able dataclass: `summarise` a run, `write_summary` to a file.

Deterministic: the same run gives the same summary.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from warmstart.core.bounds import Settings, State
from warmstart.core.files import finite_json, write_result
from warmstart.experiments.analysis.curves import Curve, Failure, RunData
from warmstart.experiments.analysis.grids import Gridded, GriddedArm, to_grid
from warmstart.experiments.analysis.learnt import SOURCE, unrewarded, why_unlearnt
from warmstart.experiments.analysis.metric_kinds import LAST_EVALUATIONS
from warmstart.experiments.analysis.metrics import (
    Metric,
    Normalisation,
    TimeToThreshold,
    absolute_metrics,
    area,
    final_return,
    normalisation,
    paired_metrics,
    times_to_threshold,
)
from warmstart.experiments.analysis.predicted import Prediction, beside
from warmstart.experiments.analysis.statistics import (
    Interval,
    bootstrap,
    improvement,
    iqm,
    mean,
)
from warmstart.experiments.analysis.verdict import ALPHA, Headline, Verdict, headline, judge_arms

Floats = NDArray[np.float64]

FORMAT = 1
"""Version of summary.json; raised when a key changes its meaning."""


@dataclass(frozen=True)
class Band:
    """An aggregate curve on the common grid with its pointwise bootstrap band. Each of shape (points,)."""

    centre: tuple[float, ...]
    low: tuple[float, ...]
    """NaN with a single seed."""
    high: tuple[float, ...]


@dataclass(frozen=True)
class ArmSummary:
    """What is known about one arm."""

    name: str
    method: str
    """Transfer method; empty where the study isn't known."""
    seeds: tuple[int, ...] = ()
    """Seeds whose curves are compared."""
    failed_seeds: tuple[int, ...] = ()
    constant: bool = False
    """Whether nothing trained."""
    verdict: Verdict | None = None
    """None for the cold arm."""
    headline: Headline | None = None
    """The verdict in plain words; None for the cold arm."""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    """By key of `metric_kinds.METRICS`."""
    time_to_threshold: Mapping[str, TimeToThreshold] = field(default_factory=dict)
    """By clock: steps, steps_with_source, seconds, seconds_with_source; empty without a threshold."""
    final_iqm: Interval = field(default_factory=partial(Interval, math.nan))
    """Interquartile mean of the seeds' final returns with a bootstrap interval."""
    improvement: Mapping[str, Interval] = field(default_factory=dict)
    """Probability that a random seed of this arm beats a random one of the cold arm, by `area` and `final`,
    with bootstrap intervals; empty for the cold arm."""
    bands: Mapping[str, Band] = field(default_factory=dict)
    """By aggregate: `iqm`, `mean`."""
    seconds: tuple[float, ...] = ()
    """Mean training wall-clock over seeds at each grid point, in s."""
    source_steps: float = 0.0
    """Mean training steps of the source agents."""
    source_seconds: float = 0.0
    """Mean training wall-clock of the source agents, in s."""


@dataclass(frozen=True)
class Summary:
    """All numbers of a report."""

    format: int
    name: str
    study: Settings
    """The resolved study; empty for curves that others made."""
    baseline: str
    """The cold arm."""
    budget: float
    """Last step of the comparison."""
    steps: tuple[float, ...]
    """Common grid of steps."""
    threshold: float
    """Return θ that the time to threshold asks for."""
    threshold_rule: str
    normalisation: Normalisation | None
    alpha: float
    """Family-wise error rate of the verdicts."""
    random_return: float | None
    arms: tuple[ArmSummary, ...]
    curves: tuple[Curve, ...]
    source_curves: tuple[Curve, ...]
    failures: tuple[Failure, ...]
    unlearnt: tuple[str, ...]
    """Who hasn't learnt of the source agents and the cold arm, a sentence each; among the notes, too."""
    unrewarded: tuple[str, ...]
    """Who was trained without the task's reward, a sentence each; among the notes, too."""
    prediction: Prediction | None
    """What was predicted before training, beside what was measured; None where nothing was to be."""
    notes: tuple[str, ...]
    versions: Mapping[str, str]

    def arm(self, name: str) -> ArmSummary:
        """The summary of one arm."""
        return next(arm for arm in self.arms if arm.name == name)

    def colour(self, name: str) -> int:
        """Number of an arm's colour: 0 for the cold arm, 1 … 7 for the others in the order of the study."""
        others = [arm.name for arm in self.arms if arm.name != self.baseline]
        return 1 + others.index(name) % 7 if name in others else 0

    @property
    def compared(self) -> tuple[ArmSummary, ...]:
        """The arms that have a verdict."""
        return tuple(arm for arm in self.arms if arm.verdict is not None)

    def to_json(self) -> State:
        """The summary as plain JSON values; what isn't finite becomes None."""
        data: State = finite_json(dataclasses.asdict(self))
        for row in (*data["curves"], *data["source_curves"], *data["failures"]):
            for key in {"lengths", "path", "traceback"} & row.keys():
                del row[key]
        return data


def summarise(
    run: RunData, rng: np.random.Generator | None = None, *, threshold: float | None = None
) -> Summary:
    """Compute every metric, interval and verdict of a run.

    Copes with what a run can lack: failed and unfinished trials, arms without a common seed, a single seed,
    no return of a random policy, no cold arm (then nothing is compared and the notes say so), foreign
    grids.

    Args:
        run: The run.
        rng: Source of bootstrap resamples; by default a fixed one, so that the result is reproducible.
        threshold: θ for the time to threshold; by default the mean return of the cold arm's last three
            evaluations over its seeds.

    Returns:
        The summary.
    """
    grid = to_grid(run)
    notes = [*run.notes, *grid.notes]
    cold = grid.arms.get(run.baseline)
    theta, rule = _threshold(cold, run.baseline, threshold)
    if cold is None:
        notes.append(f"The cold arm {run.baseline!r} has no finished curve: nothing can be compared with it.")
    scale = normalisation(grid, cold.name if cold else None, run.random_return) if grid.arms else None
    if scale and cold and scale.low_gain:
        notes.append(
            f"{run.baseline} ends hardly above the floor of the scale: sizes of normalised differences mean "
            "little here; the verdicts don't depend on them."
        )
    generator = rng if rng is not None else np.random.default_rng(0)
    paired: dict[str, dict[str, Metric]] = {}
    if cold and scale:
        others = ((name, arm) for name, arm in grid.arms.items() if arm is not cold)
        paired = {name: paired_metrics(grid, arm, cold, scale, theta) for name, arm in others}
    unlearnt = _unlearnt(run)
    sentences = tuple(unlearnt[name] for name in (SOURCE, run.baseline) if name in unlearnt)
    untold = tuple(unrewarded(run.study).values())
    differences = {
        name: paired[name]["area_difference"].values if paired.get(name) else ()
        for name in run.arms
        if name != run.baseline
    }
    verdicts = judge_arms(differences, generator)
    for name, reason in _nothing_to_judge(run, unlearnt).items():
        if name in verdicts:
            verdicts[name] = dataclasses.replace(
                verdicts[name], outcome="not compared", provisional=False, reason=reason
            )
    times = times_to_threshold(grid, theta) if grid.arms else {}
    budget = float(grid.steps[-1]) if len(grid.steps) else float("nan")
    arms = []
    for name, source in zip(run.arms, generator.spawn(len(run.arms)), strict=True):
        arm = _arm(run, grid, name, scale, paired.get(name, {}), times.get(name, {}), source)
        if name in verdicts:
            facts = (arm.metrics, arm.time_to_threshold, run.baseline, budget, arm.source_steps, arm.constant)
            told = headline(verdicts[name], *facts, times.get(run.baseline, {}))
            arm = dataclasses.replace(arm, verdict=verdicts[name], headline=told)
        arms.append(arm)
    taken = ("name", "study", "baseline", "random_return", "curves", "source_curves", "failures", "versions")
    return Summary(
        format=FORMAT,
        budget=budget,
        steps=_floats(grid.steps),
        threshold=theta,
        threshold_rule=rule,
        normalisation=scale,
        alpha=ALPHA,
        arms=tuple(arms),
        prediction=beside(run.similarity, arms, run.baseline),
        notes=tuple(dict.fromkeys([*sentences, *untold, *notes])),
        unlearnt=sentences,
        unrewarded=untold,
        **{name: getattr(run, name) for name in taken},
    )


def _unlearnt(run: RunData) -> dict[str, str]:
    """Why arms and source agents (`SOURCE`) haven't learnt, of those that haven't and whose returns tell."""
    chance = (run.random_return if run.random_return is not None else float("nan"), run.random_spread)
    target, source = (str(run.study.get(key) or "") for key in ("target", "source"))
    found = {name: why_unlearnt(name, run.of(name), target, chance, "random actions'") for name in run.arms}
    starts = [(curve.returns[0], curve.start_spread) for curve in run.source_curves if len(curve.steps)]
    fresh = (
        (float(np.mean([s[0] for s in starts])), float(np.mean([s[1] for s in starts]))) if starts else None
    )
    if fresh is not None:
        whose = "those before training"
        found[SOURCE] = why_unlearnt("The source agent", run.source_curves, source, fresh, whose)
    untold = unrewarded(run.study)
    return {name: why for name, why in found.items() if why and name not in untold}


def _nothing_to_judge(run: RunData, unlearnt: Mapping[str, str]) -> dict[str, str]:
    """Why arms have no verdict, of those whose comparison would be about nothing."""
    found = {}
    for name in run.arms:
        carries = any(curve.source_steps for curve in run.of(name))
        if name == run.baseline:
            continue
        if run.baseline in unlearnt and name in unlearnt:
            found[name] = f"Neither {name} nor {run.baseline} has learnt."
        elif SOURCE in unlearnt and carries:
            found[name] = "The source agent hasn't learnt."
    return found


def write_summary(summary: Summary, path: str | Path) -> Path:
    """Write ``summary.json``, whole or not at all; returns its path.

    Raises:
        WarmstartError: The file can't be written.
    """
    text = json.dumps(summary.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return write_result(Path(path), text.encode())


def _threshold(cold: GriddedArm | None, baseline: str, given: float | None) -> tuple[float, str]:
    if given is not None:
        return float(given), "given by the user"
    if cold is None:
        return float("nan"), f"unknown, because {baseline} has no finished curve"
    last = min(LAST_EVALUATIONS, cold.returns.shape[1])
    rule = f"mean return of {baseline}'s last {last} evaluations over its seeds"
    return float(final_return(cold.returns).mean()), rule


def _arm(
    run: RunData,
    grid: Gridded,
    name: str,
    scale: Normalisation | None,
    paired: Mapping[str, Metric],
    times: Mapping[str, TimeToThreshold],
    rng: np.random.Generator,
) -> ArmSummary:
    """Everything about one arm but its verdict."""
    failed = tuple(sorted(failure.seed for failure in run.failures if failure.arm == name))
    methods = {arm["name"]: str(arm.get("method", "")) for arm in run.study.get("arms", ())}
    arm, cold = grid.arms.get(name), grid.arms.get(run.baseline)
    if arm is None or scale is None:
        return ArmSummary(name, methods.get(name, ""), failed_seeds=failed)
    finals, areas = final_return(arm.returns), area(grid.steps, scale(arm.returns))
    beats = {}
    if cold is not None and cold is not arm:
        beats = {
            "area": improvement(areas, area(grid.steps, scale(cold.returns)), rng),
            "final": improvement(finals, final_return(cold.returns), rng),
        }
    final_iqm = bootstrap(finals[:, None], iqm, rng, resamples=2000)
    return ArmSummary(
        name=name,
        method=methods.get(name, ""),
        seeds=arm.seeds,
        failed_seeds=failed,
        constant=arm.constant,
        metrics={**paired, **absolute_metrics(grid, arm, scale)},
        time_to_threshold=dict(times),
        final_iqm=Interval(*(float(part[0]) for part in final_iqm)),
        improvement=beats,
        bands={
            key: Band(*map(_floats, bootstrap(arm.returns, statistic, rng, resamples=1000)))
            for key, statistic in (("iqm", iqm), ("mean", mean))
        },
        seconds=_floats(arm.seconds.mean(axis=0)),
        source_steps=float(arm.source_steps.mean()),
        source_seconds=float(arm.source_seconds.mean()),
    )


def _floats(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
