"""What the report shows, section by section: values in the order in which the template places them."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from warmstart.core.bounds import State
from warmstart.core.files import read_bytes
from warmstart.experiments.analysis import metrics
from warmstart.experiments.analysis.curves import Curve, RunData
from warmstart.experiments.analysis.learnt import reward_name
from warmstart.experiments.analysis.metric_kinds import METRICS
from warmstart.experiments.analysis.predicted import Prediction
from warmstart.experiments.analysis.statistics import Interval
from warmstart.experiments.analysis.summary import ArmSummary, Summary
from warmstart.experiments.analysis.verdict import Outcome
from warmstart.experiments.records.records import FILM, FRAMES
from warmstart.experiments.report.formatting import (
    UNKNOWN,
    Row,
    Unit,
    bounds,
    data_uri,
    duration,
    number,
    position,
    strip,
)

ICONS: dict[Outcome, str] = {
    "helps": "▲",
    "hurts": "▼",
    "no difference shown": "■",
    "not compared": "○",
}
"""In the order in which verdicts are shown."""
CLOCKS: dict[str, Unit] = {name: "steps" if name.startswith("steps") else "s" for name in metrics.CLOCKS}
"""Unit of each clock of the time to threshold."""
_PROVISIONAL = re.compile(r" \(provisional[^)]*\)$")
"""The end of a headline's title that the badge beside it says, too."""


def verdicts(summary: Summary) -> list[Row]:
    """The arms that are compared, on one scale: what helps first, the largest difference first."""
    judged = [(arm, arm.verdict, arm.headline) for arm in summary.arms if arm.verdict and arm.headline]
    ends = [x for _, v, _ in judged for x in (v.difference.low, v.difference.high, v.difference.estimate)]
    known = [x for x in ends if math.isfinite(x)]
    low, high = min([0.0, *known]), max([0.0, *known])
    entries: list[Row] = [
        {
            "arm": arm.name,
            "verdict": verdict,
            "title": _PROVISIONAL.sub("", told.title),
            "told": told,
            "strip": strip(verdict.difference, low, high),
            "zero": position(0.0, low, high),
        }
        for arm, verdict, told in judged
    ]

    def order(entry: Row) -> tuple[int, float]:
        size = abs(entry["verdict"].difference.estimate)
        return list(ICONS).index(entry["verdict"].outcome), -size if math.isfinite(size) else 0.0

    return sorted(entries, key=order)


def overview(summary: Summary) -> list[tuple[str, str]]:
    """What was compared: label and value."""
    study = summary.study
    seeds = sorted({curve.seed for curve in summary.curves})
    algorithm = study.get("algorithm", "")
    name = algorithm.get("name", "") if isinstance(algorithm, Mapping) else algorithm
    rows = [
        *([("Algorithm", str(name).upper())] if study else []),
        ("Arms", ", ".join(arm.name for arm in summary.arms)),
        ("Cold start", summary.baseline),
        ("Seeds", f"{len(seeds)} ({', '.join(map(str, seeds))})" if len(seeds) < 21 else f"{len(seeds)}"),
    ]
    protocol = study.get("evaluation")
    if isinstance(protocol, Mapping) and "episodes" in protocol:
        every = f"{protocol['episodes']} episodes every {protocol.get('every', 0):,} steps"
        rows.append(("Evaluation", f"{every}, the same start states for every arm"))
    return rows


def route(summary: Summary) -> list[tuple[str, str]]:
    """Source and target with their steps; empty for curves that others made."""
    stops = [(summary.study.get(key), summary.study.get(f"{key}_steps")) for key in ("source", "target")]
    told = [(str(task), f"{steps:,} steps" if steps else "") for task, steps in stops if task]
    reward = reward_name(summary.study.get("source_reward"))
    return [(told[0][0], f"{told[0][1]}, without reward ({reward})"), *told[1:]] if reward else told


def source_reward(summary: Summary) -> str:
    """What the source agents were trained on, a sentence; empty for curves that others made."""
    written = summary.study.get("source_reward")
    if not reward_name(written):
        return "Trained on the task's own reward." if summary.study else ""
    options = written if isinstance(written, Mapping) else {}
    said = ", ".join(f"{key} {value}" for key, value in options.items() if key != "name")
    name = reward_name(written) + (f" ({said})" if said else "")
    return f"Trained without the task's reward, on {name}; the returns shown are the task's."


def measures(prediction: Prediction) -> list[Row]:
    """What a prediction was made of, as text."""
    rows = []
    for each in prediction.measures:
        value, low, high = (
            math.nan if each[key] is None else float(each[key]) for key in ("value", "low", "high")
        )
        ends = bounds(Interval(value, low, high), "normalised")
        rows.append({**each, "value": number(value, "normalised"), "ends": ends})
    return rows


def metric_table(summary: Summary) -> list[Row]:
    """Groups of rows; each row holds one interval per arm, None where there is none."""
    arms = summary.arms
    shown = [key for key in METRICS if any(key in arm.metrics for arm in arms)]
    if not any(arm.source_steps for arm in arms):
        shown = [key for key in shown if "with_source" not in key]
    groups: list[Row] = []
    for title, paired in ((f"Compared with {summary.baseline}, paired by seed", True), ("On its own", False)):
        rows: list[Row] = []
        for key in shown:
            if METRICS[key].paired == paired:
                found = [arm.metrics.get(key) for arm in arms]
                rows.append({"kind": METRICS[key], "cells": [each and each.interval for each in found]})
        if paired and rows:
            rows += [_improvement_row(summary, which) for which in ("area", "final")]
        groups.append({"title": title, "rows": rows})
    return [group for group in groups if group["rows"]]


def _improvement_row(summary: Summary, which: str) -> Row:
    what = "normalised area" if which == "area" else "final return"
    kind = {
        "label": f"Probability of improvement, {what}",
        "explanation": f"How often a random seed of this arm beats a random one of {summary.baseline} in "
        f"{what}; 50% is no difference. The interval is a bootstrap one: a picture, not a test.",
        "unit": "probability",
        "paired": False,
    }
    return {"kind": kind, "cells": [arm.improvement.get(which) for arm in summary.arms]}


def threshold_rows(summary: Summary) -> list[Row]:
    """Time to threshold of each arm, with the position of every seed on the budget."""
    return [{"arm": arm, "seeds": _dots(arm)} for arm in summary.arms if "steps" in arm.time_to_threshold]


def _dots(arm: ArmSummary) -> list[Row]:
    """One dot per seed: where on the budget it got there, stacked where several coincide."""
    steps = arm.time_to_threshold["steps"]
    places = [
        position(time if reached else steps.horizon, 0.0, steps.horizon)
        for time, reached in zip(steps.times, steps.reached, strict=True)
    ]
    dots: list[Row] = []
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


def action_counts(report: State) -> list[tuple[str, int]]:
    """How many tensors of a transfer report were treated in each way."""
    actions = (str(entry.get("action", "")) for entry in report.get("entries", ()))
    counts = report.get("counts") or Counter(actions)
    return [(name, count) for name, count in counts.items() if count]


def media(run: RunData, summary: Summary) -> list[Row]:
    """What each arm's agent saw, and a film of an episode, as data URIs; the source's first."""
    found = []
    for name in ("source", *(arm.name for arm in summary.arms)):
        if name in run.media:
            task = str(summary.study.get("source" if name == "source" else "target", ""))
            kinds = {"frames": (FRAMES, "image/png"), "film": (FILM, "video/mp4")}
            uris = {key: _file_uri(run.media[name] / file, kind) for key, (file, kind) in kinds.items()}
            found.append({"arm": name, "task": task, **uris})
    return found


MOST_MEDIA = 1 << 26
"""Most bytes of a picture or film in a report."""


def _file_uri(path: Path, kind: str) -> str:
    try:
        return data_uri(read_bytes(path, MOST_MEDIA, within=path.parent.parent.parent), kind)
    except FileNotFoundError:  # it was removed since the run was read
        return ""


def trials(summary: Summary) -> list[Row]:
    """One row per trial: how far it got and where it ended."""
    failed = {(failure.arm, failure.seed) for failure in summary.failures}
    curves = (*summary.source_curves, *summary.curves)
    rows = [_trial(curve, (curve.arm, curve.seed) in failed) for curve in curves]
    silent = failed - {(curve.arm, curve.seed) for curve in summary.curves}
    unknown = dict.fromkeys(("steps", "final", "seconds"), UNKNOWN)
    return rows + [
        {"arm": each.arm, "seed": each.seed, "state": "failed", **unknown}
        for each in summary.failures
        if (each.arm, each.seed) in silent
    ]


def _trial(curve: Curve, failed: bool) -> Row:
    known = len(curve.seconds) and math.isfinite(curve.seconds[-1])
    return {
        "arm": curve.arm,
        "seed": curve.seed,
        "state": "failed" if failed else "done" if curve.complete else "unfinished",
        "steps": number(curve.steps[-1], "steps") if len(curve.steps) else UNKNOWN,
        "final": number(curve.returns[-1]) if len(curve.returns) else UNKNOWN,
        "seconds": duration(curve.seconds[-1]) if known else UNKNOWN,
    }
