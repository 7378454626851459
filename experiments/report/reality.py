"""What the report says of a study with a reality: the gap of every arm, what was drawn, how curricula went.

Plain values and small SVG charts that the template only has to place. Imports run data, summary, formatting.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from warmstart.experiments.analysis.curves import RunData
from warmstart.experiments.analysis.statistics import Interval, paired_t
from warmstart.experiments.analysis.summary import Summary
from warmstart.experiments.report.canvas import figure_bytes
from warmstart.experiments.report.formatting import UNKNOWN, bounds, number
from warmstart.experiments.report.robustness_figure import draw_maps
from warmstart.experiments.report.sections import arm_index
from warmstart.sim2real.gap import SKILLED
from warmstart.sim2real.robustness import RobustnessMap, Sweep

COLUMNS = ("nominal", "in_range", "worst_10_percent", "reality", "kept")
"""Figures of a gap, in the order in which they are shown."""
_WIDTH, _HEIGHT, _PAD = 220, 64, 4
"""Of a small chart, in its own units."""


def gap_table(run: RunData, summary: Summary) -> list[dict[str, Any]]:
    """One row per arm: mean returns with 95% t intervals over seeds, and what is kept above the cold arm."""
    gaps = _gaps(run, summary)
    if not gaps:
        return []
    oracles = _oracles(summary)
    best = max((_mean(gaps[name], "reality") for name in oracles if name in gaps), default=math.nan)
    rows = []
    for name, by_seed in gaps.items():
        cells = []
        kept = _kept(name, run, summary)
        for key in COLUMNS:
            values = kept.values() if key == "kept" else [gap.get(key) for gap in by_seed.values()]
            interval = _interval(list(values))
            unit = "probability" if key == "kept" else "return"
            cells.append({"value": number(interval.estimate, unit), "bounds": bounds(interval, unit)})  # type: ignore[arg-type]
        usual = _kept(summary.baseline, run, summary)
        more = _interval([kept[seed] - usual[seed] for seed in kept if seed in usual])
        own = name == summary.baseline
        rows.append(
            {
                "arm": name,
                "index": arm_index(summary, name),
                "cells": cells,
                "more": "" if own else number(more.estimate, "probability", sign=True),
                "more_bounds": "" if own else bounds(more, "probability", sign=True),
                "bold": not own and (more.low > 0 or more.high < 0),
                "below": UNKNOWN if math.isnan(best) else number(best - _mean(by_seed, "reality")),
                "interactions": f"{int(_mean(by_seed, 'interactions')):,}",
                "bar": _bar(by_seed, gaps),
            }
        )
    return rows


def judged_diverged(run: RunData) -> int:
    """Simulations that diverged while final agents were judged."""
    told = [gap for by_seed in run.gaps.values() for gap in by_seed.values()] + list(run.maps.values())
    return sum(int(each.get("diverged", 0)) for each in told)


def drawn_charts(run: RunData, summary: Summary) -> list[dict[str, Any]]:
    """For each arm that randomizes: one small chart per parameter of what was drawn over training."""
    found = []
    for arm in summary.arms:
        records = run.drawn.get(arm.name, ())
        if not records:
            continue
        names = list(dict.fromkeys(name for record in records for name in record["quantiles"]))
        charts = [chart for name in names if (chart := _spread(name, records)) is not None]
        found.append(
            {
                "arm": arm.name,
                "index": arm_index(summary, arm.name),
                "charts": charts,
                "curriculum": _curriculum(records),
            }
        )
    return found


def map_pictures(run: RunData, summary: Summary) -> list[dict[str, Any]]:
    """A robustness map of each arm that has learnt something in simulation as a picture, all on one scale."""
    found = {
        arm.name: run.maps[arm.name]
        for arm in summary.arms
        if arm.name in run.maps and (arm.name not in run.gaps or _kept(arm.name, run, summary))
    }
    if not found:
        return []
    maps = {
        name: RobustnessMap(
            name,
            tuple(Sweep.parse(text) for text in plain["sweeps"]),
            np.array(plain["means"], dtype=np.float64)[..., None],
        )
        for name, plain in found.items()
    }
    limits = (
        min(float(each.means.min()) for each in maps.values()),
        max(float(each.means.max()) for each in maps.values()),
    )
    pictures = []
    for name, each in maps.items():
        threshold = float(found[name]["threshold"])
        spans = found[name].get("trained") or [None] * len(each.sweeps)
        figure = draw_maps([each], str(summary.study.get("target", "")), threshold, [spans], limits)
        picture = base64.b64encode(figure_bytes(figure, dpi=110)).decode()
        pictures.append(
            {
                "arm": name,
                "index": arm_index(summary, name),
                "picture": f"data:image/png;base64,{picture}",
                "good": f"{100 * each.area_above(threshold):.0f}",
                "worst": number(each.worst[0]),
            }
        )
    return pictures


def _curriculum(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Success rate, width and entropy of a curriculum over training; empty where there is none."""
    told = [(record["step"], record["curriculum"]) for record in records if "curriculum" in record]
    labels = {"success_rate": "success rate", "width": "share of the range in use", "entropy": "entropy"}
    charts = []
    for key, label in labels.items():
        points = [(step, each.get(key)) for step, each in told]
        known = [(step, float(value)) for step, value in points if value is not None]
        if len(known) > 1:
            charts.append(_line(label, known))
    return charts


def _spread(name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    rows = [(record["step"], record["quantiles"][name]) for record in records if name in record["quantiles"]]
    if len(rows) < 2:
        return None
    steps = [step for step, _ in rows]
    quantiles = np.array([values for _, values in rows])
    low, high = float(quantiles.min()), float(quantiles.max())
    x = _scaled(steps, min(steps), max(steps), _WIDTH)
    y = [[_HEIGHT - v for v in _scaled(column, low, high, _HEIGHT)] for column in quantiles.T]
    wide, narrow = (_area(x, y[i], y[-1 - i]) for i in (0, 1))
    return {
        "label": name,
        "areas": [wide, narrow],
        "line": _path(x, y[2]),
        "low": f"{low:.3g}",
        "high": f"{high:.3g}",
    }


def _line(label: str, points: Sequence[tuple[int, float]]) -> dict[str, Any]:
    steps, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    x = _scaled(steps, min(steps), max(steps), _WIDTH)
    y = [_HEIGHT - v for v in _scaled(values, low, high, _HEIGHT)]
    return {"label": label, "areas": [], "line": _path(x, y), "low": f"{low:.3g}", "high": f"{high:.3g}"}


def _scaled(values: Any, low: float, high: float, size: int) -> list[float]:
    span = high - low if high > low else 1.0
    return [round(_PAD + (size - 2 * _PAD) * (float(v) - low) / span, 1) for v in values]


def _path(x: Sequence[float], y: Sequence[float]) -> str:
    return "M" + "L".join(f"{a},{b}" for a, b in zip(x, y, strict=True))


def _area(x: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
    back = zip(reversed(x), reversed(low), strict=True)
    return _path(x, high) + "L" + "L".join(f"{a},{b}" for a, b in back) + "Z"


def _bar(by_seed: Mapping[int, Mapping[str, Any]], gaps: Mapping[str, Mapping[int, Any]]) -> dict[str, float]:
    """Where an arm's nominal and real returns lie between 0 and the best of any arm, in percent."""
    values = [_mean(each, key) for each in gaps.values() for key in ("nominal", "reality")]
    low, high = min(0.0, *values), max(values)
    span = high - low if high > low else 1.0
    places = {key: round(4 + 92 * (_mean(by_seed, key) - low) / span, 1) for key in ("nominal", "reality")}
    return {**places, "left": min(places.values()), "width": abs(places["nominal"] - places["reality"])}


def _mean(by_seed: Mapping[int, Mapping[str, Any]], key: str) -> float:
    values = [float(gap[key]) for gap in by_seed.values() if gap.get(key) is not None]
    return float(np.mean(values)) if values else math.nan


def _gaps(run: RunData, summary: Summary) -> dict[str, Mapping[int, Mapping[str, Any]]]:
    """Gaps by arm and seed, in the order of the arms."""
    return {arm.name: run.gaps[arm.name] for arm in summary.arms if run.gaps.get(arm.name)}


def _kept(name: str | None, run: RunData, summary: Summary) -> dict[int, float]:
    """Share of its return in simulation that each seed of an arm keeps in the reality, both above chance.

    Empty for an arm without any to speak of, next to the cold arm's; see `SKILLED`.
    """
    gaps = _gaps(run, summary)
    by_seed, chance = gaps.get(str(name), {}), run.random_return or 0.0
    needed = SKILLED * (_mean(gaps.get(str(summary.baseline), by_seed), "nominal") - chance)
    if not _mean(by_seed, "nominal") - chance > max(needed, 0.0):
        return {}
    shares = {}
    for seed, gap in by_seed.items():
        nominal, reality = (float(gap[key]) - chance for key in ("nominal", "reality"))
        shares[seed] = reality / nominal if nominal > 0 else math.nan
    return shares


def _interval(values: Sequence[Any]) -> Interval:
    """Mean and 95% t interval of what is known."""
    known = [float(v) for v in values if v is not None and not math.isnan(float(v))]
    if not known:
        return Interval(math.nan, math.nan, math.nan, 0.95)
    return paired_t(known).interval


def _oracles(summary: Summary) -> list[str]:
    """Arms that are trained in the reality alone; none where others come from a source."""
    total = int(summary.study.get("target_steps", 0))
    return [
        name
        for name, arm in _written(summary).items()
        if arm.get("reality_steps") == total > 0
        and arm.get("method") == "scratch"
        and not summary.study.get("source")
    ]


def _written(summary: Summary) -> dict[str, Mapping[str, Any]]:
    return {str(arm.get("name")): arm for arm in summary.study.get("arms", ()) if isinstance(arm, Mapping)}
