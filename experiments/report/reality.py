"""What the report says of a study with a reality: the gap of every arm, what was drawn, how curricula went.

Plain values and small SVG charts that the template only has to place.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.experiments.analysis.curves import RunData
from warmstart.experiments.analysis.statistics import Interval, paired_t
from warmstart.experiments.analysis.summary import Summary
from warmstart.experiments.report.canvas import figure_bytes
from warmstart.experiments.report.formatting import Row, data_uri, number, position
from warmstart.experiments.report.robustness_figure import draw_maps, return_limits
from warmstart.sim2real.gap import SKILLED
from warmstart.sim2real.robustness import RobustnessMap, Sweep

Floats = NDArray[np.float64]
COLUMNS = ("nominal", "in_range", "worst_10_percent", "reality")
"""Figures of a gap, in the order in which they are shown."""
ENDS = ("nominal", "reality")
"""Those whose difference is the gap."""
_WIDTH, _HEIGHT, _PAD = 220, 64, 4
"""Of a small chart, in its own units."""


def gap_table(run: RunData, summary: Summary) -> list[Row]:
    """One row per arm: mean returns with 95% t intervals over seeds, and what is kept above the cold arm."""
    gaps = {arm.name: run.gaps[arm.name] for arm in summary.arms if run.gaps.get(arm.name)}
    returns = [_mean(gap, key) for gap in gaps.values() for key in ENDS]
    best = max((_mean(gaps[name], "reality") for name in _oracles(summary) if name in gaps), default=math.nan)
    usual = _kept(summary.baseline, run)
    rows = []
    for name, by_seed in gaps.items():
        kept = _kept(name, run)
        more = _interval([kept[seed] - usual[seed] for seed in kept if seed in usual])
        track = [position(_mean(by_seed, key), min(0.0, *returns), max(returns)) for key in ENDS]
        cells = [(_interval([gap.get(key) for gap in by_seed.values()]), "return") for key in COLUMNS]
        rows.append(
            {
                "arm": name,
                "cells": [*cells, (_interval([*kept.values()]), "probability")],
                "more": None if name == summary.baseline else more,
                "below": best - _mean(by_seed, "reality"),
                "interactions": int(_mean(by_seed, "interactions")),
                "track": track,
            }
        )
    return rows


def judged_diverged(run: RunData) -> int:
    """Simulations that diverged while final agents were judged."""
    told = [gap for by_seed in run.gaps.values() for gap in by_seed.values()] + list(run.maps.values())
    return sum(int(each.get("diverged", 0)) for each in told)


def drawn_charts(run: RunData, summary: Summary) -> list[Row]:
    """For each arm that randomizes: small charts of its curriculum, and of what its parameters were."""
    found: list[Row] = []
    for arm in summary.arms:
        records = run.drawn.get(arm.name, ())
        names = dict.fromkeys(name for record in records for name in record["quantiles"])
        charts = [small_chart(label, records, "curriculum", key) for key, label in _CURRICULUM.items()]
        charts += [small_chart(name, records, "quantiles", name) for name in names]
        if records:
            found.append({"arm": arm.name, "charts": [chart for chart in charts if chart is not None]})
    return found


def map_pictures(run: RunData, summary: Summary) -> list[Row]:
    """A robustness map of each arm that has learnt something in simulation as a picture, all on one scale."""
    shown = [arm.name for arm in summary.arms if arm.name in run.maps]
    found = [(name, run.maps[name]) for name in shown if name not in run.gaps or _kept(name, run)]
    maps = [
        RobustnessMap(name, tuple(map(Sweep.parse, plain["sweeps"])), np.array(plain["means"])[..., None])
        for name, plain in found
    ]
    for each in maps:
        if each.means.shape != tuple(len(sweep.values) for sweep in each.sweeps):
            raise WarmstartError(f"The map of {each.policy} has means of the shape {each.means.shape}.")
    limits = return_limits(maps) if maps else None
    pictures = []
    for each, (name, plain) in zip(maps, found, strict=True):
        threshold = float(plain["threshold"])
        spans = plain.get("trained") or [None] * len(each.sweeps)
        figure = draw_maps([each], str(summary.study.get("target", "")), threshold, [spans], limits)
        picture = data_uri(figure_bytes(figure, "png", dpi=110), "image/png")
        good, worst = f"{100 * each.area_above(threshold):.0f}", number(each.worst[0])
        pictures.append({"arm": name, "picture": picture, "good": good, "worst": worst})
    return pictures


_CURRICULUM = {"success_rate": "success rate", "width": "share of the range in use", "entropy": "entropy"}


def small_chart(label: str, records: Sequence[State], part: str, key: str) -> Row | None:
    """A small chart of ``record[part][key]`` over training: a line of the middle quantile, areas around it.

    Returns:
        SVG paths; None where fewer than two records know the value.
    """
    points = [(record["step"], record.get(part, {}).get(key)) for record in records]
    known = [(step, np.atleast_1d(value)) for step, value in points if value is not None]
    if len(known) < 2:
        return None
    steps, values = (np.array(column, dtype=np.float64) for column in zip(*known, strict=True))
    x, y = _scaled(steps, _WIDTH), (_HEIGHT - _scaled(values, _HEIGHT)).T
    middle = len(y) // 2
    areas = [[*zip(x, y[-1 - i], strict=True), *zip(x[::-1], y[i][::-1], strict=True)] for i in range(middle)]
    return {
        "label": label,
        "areas": [_path(area) + "Z" for area in areas],
        "line": _path(list(zip(x, y[middle], strict=True))),
        "low": f"{values.min():.3g}",
        "high": f"{values.max():.3g}",
    }


def _scaled(values: Floats, size: int) -> Floats:
    """Positions between the margins of a chart of that size."""
    return np.asarray(_PAD + (size - 2 * _PAD) * (values - values.min()) / (np.ptp(values) or 1.0))


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _mean(by_seed: Mapping[int, State], key: str) -> float:
    values = [float(gap[key]) for gap in by_seed.values() if gap.get(key) is not None]
    return float(np.mean(values)) if values else math.nan


def _kept(name: str, run: RunData) -> dict[int, float]:
    """Share of its return in simulation that each seed of an arm keeps in the reality, both above chance.

    Empty for an arm without any to speak of, next to the cold arm's; see `SKILLED`.
    """
    by_seed, chance = run.gaps.get(name, {}), run.random_return or 0.0
    needed = SKILLED * (_mean(run.gaps.get(run.baseline, by_seed), "nominal") - chance)
    if not _mean(by_seed, "nominal") - chance > max(needed, 0.0):
        return {}
    shares = {}
    for seed, gap in by_seed.items():
        nominal, reality = (float(gap[key]) - chance for key in ("nominal", "reality"))
        shares[seed] = reality / nominal if nominal > 0 else math.nan
    return shares


def _interval(values: Sequence[float | None]) -> Interval:
    """Mean and 95% t interval of what is known."""
    return paired_t([v for v in values if v is not None and not math.isnan(v)]).interval


def _oracles(summary: Summary) -> list[str]:
    """Arms that are trained in the reality alone; none where others come from a source."""
    study = summary.study
    total = int(study.get("target_steps", 0))
    if study.get("source") or not total:
        return []
    whole = {"reality_steps": total, "method": "scratch"}.items()
    return [str(arm["name"]) for arm in study.get("arms", ()) if whole <= arm.items()]
