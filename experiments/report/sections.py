"""What the report shows, section by section, as plain values that the template only has to place.

Imports run data, summary, formatting.
"""

import base64
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmstart.experiments.analysis.curves import Curve, RunData
from warmstart.experiments.analysis.metric_kinds import METRICS
from warmstart.experiments.analysis.statistics import Interval
from warmstart.experiments.analysis.summary import ArmSummary, Summary
from warmstart.experiments.analysis.verdict import Outcome, p_text
from warmstart.experiments.records.records import FILM, FRAMES
from warmstart.experiments.report.formatting import UNKNOWN, Unit, bounds, duration, number, shape

_ICONS: dict[Outcome, str] = {
    "helps": "▲",
    "hurts": "▼",
    "no difference shown": "■",
    "not compared": "○",
}
_PROVISIONAL = re.compile(r" \(provisional[^)]*\)$")
"""The end of a headline's title that the badge beside it says, too."""
_CLOCK_UNITS: dict[str, Unit] = {
    "steps": "steps",
    "steps_with_source": "steps",
    "seconds": "s",
    "seconds_with_source": "s",
}
_ORDER: dict[Outcome, int] = {"helps": 0, "hurts": 1, "no difference shown": 2, "not compared": 3}


@dataclass(frozen=True)
class Strip:
    """An interval on a scale from 0 to 100 (percent of the width)."""

    centre: float
    low: float | None
    high: float | None


def verdicts(summary: Summary) -> list[dict[str, Any]]:
    """One entry per arm that is compared: what helps first, the largest difference first."""
    arms = [arm for arm in summary.compared if arm.verdict and arm.headline]
    judged = [arm.verdict.difference for arm in arms if arm.verdict]
    span = [x for d in judged for x in (d.low, d.high, d.estimate) if math.isfinite(x)]
    low, high = min([0.0, *span]), max([0.0, *span])
    entries = []
    for arm in arms:
        verdict, told = arm.verdict, arm.headline
        assert verdict is not None
        assert told is not None
        entries.append(
            {
                "arm": arm.name,
                "index": arm_index(summary, arm.name),
                "outcome": verdict.outcome,
                "icon": _ICONS[verdict.outcome],
                "css": verdict.outcome.replace(" ", "-"),
                "provisional": verdict.provisional,
                "title": _PROVISIONAL.sub("", told.title),
                "effect": told.effect,
                "cost": told.cost,
                "reason": verdict.reason,
                "difference": number(verdict.difference.estimate, "normalised", sign=True),
                "bounds": bounds(verdict.difference, "normalised", sign=True),
                "level": f"{100 * verdict.difference.level:.4g}%",
                "tests": [
                    ("paired t", p_text(verdict.p_t), p_text(verdict.p_t_holm)),
                    ("exact sign-flip", p_text(verdict.p_sign_flip), p_text(verdict.p_sign_flip_holm)),
                ],
                "pairs": verdict.pairs,
                "strip": _strip(verdict.difference, low, high),
                "zero": _position(0.0, low, high),
                "order": (_ORDER[verdict.outcome], -abs(_or_zero(verdict.difference.estimate))),
            }
        )
    return sorted(entries, key=lambda entry: entry["order"])


def overview(summary: Summary) -> list[tuple[str, str]]:
    """What was compared: label and value."""
    study = summary.study
    seeds = sorted({curve.seed for curve in summary.curves})
    rows = []
    if study:
        algorithm = study.get("algorithm", "")
        name = algorithm.get("name", "") if isinstance(algorithm, Mapping) else algorithm
        rows.append(("Algorithm", str(name).upper()))
    rows += [
        ("Arms", ", ".join(arm.name for arm in summary.arms)),
        ("Cold start", summary.baseline),
        ("Seeds", f"{len(seeds)} ({', '.join(map(str, seeds))})" if len(seeds) < 21 else f"{len(seeds)}"),
    ]
    protocol = study.get("evaluation")
    if isinstance(protocol, Mapping) and "episodes" in protocol:
        rows.append(
            (
                "Evaluation",
                f"{protocol['episodes']} episodes every {protocol.get('every', 0):,} steps, the same start "
                "states for every arm",
            )
        )
    return rows


def route(summary: Summary) -> list[tuple[str, str]]:
    """Source and target with their steps; empty for curves that others made."""
    study, stops = summary.study, []
    for key in ("source", "target"):
        if study.get(key):
            steps = study.get(f"{key}_steps")
            stops.append((str(study[key]), f"{steps:,} steps" if steps else ""))
    return stops


def metric_table(summary: Summary) -> list[dict[str, Any]]:
    """Groups of rows; each row holds one cell per arm."""
    arms = summary.arms
    groups = []
    for title, paired in ((f"Compared with {summary.baseline}, paired by seed", True), ("On its own", False)):
        rows = []
        for key, kind in METRICS.items():
            if kind.paired != paired or not any(key in arm.metrics for arm in arms):
                continue
            if "with_source" in key and not any(arm.source_steps for arm in arms):
                continue
            cells = [_cell(arm, key) for arm in arms]
            rows.append({"label": kind.label, "explanation": kind.explanation, "cells": cells, "key": key})
        if paired and rows:
            rows += [_improvement_row(summary, which) for which in ("area", "final")]
        groups.append({"title": title, "rows": rows})
    return [group for group in groups if group["rows"]]


def _cell(arm: ArmSummary, key: str) -> dict[str, Any]:
    kind, metric = METRICS[key], arm.metrics.get(key)
    if metric is None:
        return {"value": "", "bounds": "", "bold": False}
    interval = metric.interval
    return {
        "value": number(interval.estimate, kind.unit, sign=kind.paired),
        "bounds": bounds(interval, kind.unit, sign=kind.paired),
        "bold": kind.paired and (interval.low > 0 or interval.high < 0),
    }


def _improvement_row(summary: Summary, which: str) -> dict[str, Any]:
    cells = []
    for arm in summary.arms:
        interval = arm.improvement.get(which)
        cells.append(
            {
                "value": number(interval.estimate, "probability") if interval else "",
                "bounds": bounds(interval, "probability") if interval else "",
                "bold": False,
            }
        )
    what = "normalised area" if which == "area" else "final return"
    return {
        "label": f"Probability of improvement, {what}",
        "explanation": f"How often a random seed of this arm beats a random one of {summary.baseline} in "
        f"{what}; 50% is no difference. The interval is a bootstrap one: a picture, not a test.",
        "cells": cells,
        "key": f"improvement_{which}",
    }


def threshold_rows(summary: Summary) -> list[dict[str, Any]]:
    """Time to threshold of each arm, with the position of every seed on the budget."""
    rows = []
    for arm in summary.arms:
        if "steps" not in arm.time_to_threshold:
            continue
        times = arm.time_to_threshold
        steps = times["steps"]
        rows.append(
            {
                "arm": arm.name,
                "index": arm_index(summary, arm.name),
                "solved": f"{sum(steps.reached)} of {len(steps.reached)}",
                "seeds": _dots(arm),
                "cells": [
                    {
                        "median": _median(times[clock].median, unit),
                        "mean": number(times[clock].restricted_mean, unit),
                    }
                    for clock, unit in _CLOCK_UNITS.items()
                ],
            }
        )
    return rows


def _dots(arm: ArmSummary) -> list[dict[str, Any]]:
    """One dot per seed: where on the budget it got there, stacked where several coincide."""
    steps = arm.time_to_threshold["steps"]
    places = [
        _position(time if reached else steps.horizon, 0.0, steps.horizon)
        for time, reached in zip(steps.times, steps.reached, strict=True)
    ]
    dots = []
    for i, (seed, time, reached) in enumerate(zip(arm.seeds, steps.times, steps.reached, strict=True)):
        ranks, many = places[:i].count(places[i]), places.count(places[i])
        text = f"{number(time, 'steps')} steps"
        dots.append(
            {
                "x": places[i],
                "y": round(50 + (ranks - (many - 1) / 2) * min(26.0, 80 / many), 1),
                "reached": reached,
                "title": f"seed {seed}: {text if reached else f'not reached in {text}'}",
            }
        )
    return dots


def _median(value: float, unit: Unit) -> str:
    return "not reached" if value == math.inf else number(value, unit)


def improvement_rows(summary: Summary) -> list[dict[str, Any]]:
    """Probability of improvement of each compared arm, as strips from 0 to 100%."""
    return [
        {
            "arm": arm.name,
            "index": arm_index(summary, arm.name),
            "bars": [
                {
                    "label": label,
                    "value": number(arm.improvement[key].estimate, "probability"),
                    "bounds": bounds(arm.improvement[key], "probability"),
                    "strip": _strip(arm.improvement[key], 0.0, 1.0),
                }
                for key, label in (("area", "area"), ("final", "final return"))
            ],
        }
        for arm in summary.compared
        if arm.improvement
    ]


def transfers(run: RunData, summary: Summary) -> list[dict[str, Any]]:
    """The transfer report of each arm, in the order of the study, with shapes as text."""
    sections = []
    for arm in (arm.name for arm in summary.arms if arm.name in run.transfers):
        report = run.transfers[arm]
        entries = [
            {
                "name": str(entry.get("name", "")),
                "source": shape(entry.get("source_shape")),
                "target": shape(entry.get("target_shape")),
                "action": str(entry.get("action", "")),
                "frozen": bool(entry.get("frozen")),
                "reason": str(entry.get("reason", "")),
            }
            for entry in report.get("entries", ())
        ]
        counts = report.get("counts") or _count(entries)
        steps = int(report.get("steps", 0))
        sections.append(
            {
                "arm": arm,
                "index": arm_index(summary, arm),
                "source": str(report.get("source", UNKNOWN)),
                "target": str(report.get("target", UNKNOWN)),
                "counts": [(name, count) for name, count in counts.items() if count],
                "fitted": f"The critic was fitted over {steps:,} steps, which count." if steps else "",
                "notes": [str(note) for note in report.get("notes", ())],
                "entries": entries,
            }
        )
    return sections


def _count(entries: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry["action"]] = counts.get(entry["action"], 0) + 1
    return counts


def media(run: RunData, summary: Summary) -> list[dict[str, Any]]:
    """What each arm's agent saw, and a film of an episode, as data URIs; the source's first."""
    names = ["source", *(arm.name for arm in summary.arms)]
    found = [(name, run.media[name]) for name in names if name in run.media]
    return [
        {
            "arm": name,
            "index": arm_index(summary, name),
            "task": str(summary.study.get("source" if name == "source" else "target", "")),
            "frames": _data_uri(folder / FRAMES, "image/png"),
            "film": _data_uri(folder / FILM, "video/mp4"),
        }
        for name, folder in found
    ]


def _data_uri(path: Path, kind: str) -> str:
    try:
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError:  # it was removed since the run was read
        return ""


def trials(summary: Summary) -> list[dict[str, Any]]:
    """One row per trial: how far it got and where it ended."""
    rows = [_trial(summary, curve) for curve in (*summary.source_curves, *summary.curves)]
    rows += [
        {
            "arm": failure.arm,
            "index": arm_index(summary, failure.arm),
            "seed": failure.seed,
            "state": "failed",
            "steps": UNKNOWN,
            "final": UNKNOWN,
            "seconds": UNKNOWN,
        }
        for failure in summary.failures
        if not any(c.arm == failure.arm and c.seed == failure.seed for c in summary.curves)
    ]
    return rows


def _trial(summary: Summary, curve: Curve) -> dict[str, Any]:
    failed = any(f.arm == curve.arm and f.seed == curve.seed for f in summary.failures)
    return {
        "arm": curve.arm,
        "index": arm_index(summary, curve.arm),
        "seed": curve.seed,
        "state": "failed" if failed else "done" if curve.complete else "unfinished",
        "steps": number(curve.steps[-1], "steps") if len(curve.steps) else UNKNOWN,
        "final": number(curve.returns[-1]) if len(curve.returns) else UNKNOWN,
        "seconds": duration(curve.seconds[-1])
        if len(curve.seconds) and math.isfinite(curve.seconds[-1])
        else UNKNOWN,
    }


def arm_index(summary: Summary, name: str) -> int:
    """Number of an arm's colour: 0 for the cold arm, 1 … 7 for the others in the order of the study."""
    others = [arm.name for arm in summary.arms if arm.name != summary.baseline]
    return 1 + others.index(name) % 7 if name in others else 0


def _strip(interval: Interval, low: float, high: float) -> Strip | None:
    if not math.isfinite(interval.estimate):
        return None
    known = math.isfinite(interval.low) and math.isfinite(interval.high)
    return Strip(
        _position(interval.estimate, low, high),
        _position(interval.low, low, high) if known else None,
        _position(interval.high, low, high) if known else None,
    )


def _position(value: float, low: float, high: float) -> float:
    """Position in percent of the width, with a margin of 4% at either end."""
    share = (value - low) / (high - low) if high > low else 0.5
    return round(4 + 92 * min(max(share, 0.0), 1.0), 2)


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
