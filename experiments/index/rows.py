"""One run as rows of the index's tables. Whatever is damaged is an error: a run is taken whole or not."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.core.bounds import Settings, State
from warmstart.core.documents import Document
from warmstart.core.errors import WarmstartError
from warmstart.core.files import canonical_json, finite_json
from warmstart.experiments.index.tables import TABLES
from warmstart.experiments.records import schema
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.records import CONFIG, GAP, MAP, RECORDS, TIMES
from warmstart.experiments.records.schema import (
    read_fields,
    read_file,
    read_records,
    read_similarity,
    read_times,
    read_transfer,
)
from warmstart.experiments.records.status import STATUS
from warmstart.experiments.records.tensorboard import scalars_of
from warmstart.experiments.run.reading import TrialState, shown_study, statuses

Row = Mapping[str, Any]
Rows = dict[str, list[Row]]
"""Rows by table."""


def read_rows(directory: Path, name: str) -> Rows:
    """Read a run, complete or not, as rows.

    Args:
        directory: The run's folder.
        name: What the tables call it.

    Returns:
        Rows of every table but `skipped`, in the study's order and by growing steps.

    Raises:
        WarmstartError: A file in it is missing or damaged; names it and says why.
    """
    states, study = statuses(directory), shown_study(directory)
    rows: Rows = {table: [] for table in TABLES}
    read: dict[str, State] = {}
    for number, state in enumerate(states):
        if state.hash not in read:
            read[state.hash] = _read_trial(state, directory, name, rows)
        placed = {"number": number, "arm": state.arm, "seed": state.seed}
        rows["trials"].append({**read[state.hash], **placed})
    predicted = read_similarity(directory)
    if predicted is not None:
        rows["predictions"].append(_row("predictions", {**predicted, "run": name}, ("measures", "notes")))
    rows["runs"].append(_run_row(name, study, rows["trials"]))
    return rows


def _run_row(name: str, study: Settings, trials: Sequence[Row]) -> Row:
    arms = study.get("arms", ())
    told = [trial["state"] for trial in trials]
    begun = [trial["begun"] for trial in trials if trial["begun"] is not None]
    ended = [trial["updated"] for trial in trials if trial["updated"] is not None]
    cold = study.get("source") is None
    return {
        "run": name,
        "study": study.get("name"),
        "kind": "comparison" if len(arms) != 1 else "training" if cold else "transfer",
        **{key: study.get(key) for key in ("source", "target", "source_steps", "target_steps", "baseline")},
        "started": min(begun, default=None),
        "updated": max(ended, default=None),
        "trials": len(trials),
        "done": told.count("done"),
        "failed": told.count("failed"),
        "settings": _json(study),
    }


def _read_trial(state: TrialState, directory: Path, run: str, rows: Rows) -> State:
    """Add what a trial recorded to the tables; returns its own row."""
    folder, status = state.directory, state.status
    config = _read_config(state)
    records = read_records(folder / RECORDS, directory)
    times = {entry["step"]: entry for entry in read_times(folder / TIMES, directory)}
    ends = {record["event"]: record for record in records if record["event"] in ("start", "end")}
    key = {"run": run, "trial": state.hash}
    played = [{**key, **_evaluation(r, times)} for r in records if r["event"] == "evaluation"]
    _check_whole(state, records, times, played)
    rows["evaluations"] += played
    rows["metrics"] += [
        {**key, "step": record["step"], "name": metric, "value": value}
        for record in records
        for metric, value in scalars_of(record).items()
    ]
    report = read_transfer(folder, directory)
    if report is not None:
        rows["transfers"].append(_row("transfers", {**report, **key}, ("counts", "notes", "entries")))
    gap = read_file(folder / GAP, schema.GAP, directory)
    if gap is not None:
        rows["gaps"].append(_row("gaps", {**gap, **key}))
    mapped = read_file(folder / MAP, schema.MAP, directory)
    if mapped is not None:
        rows["maps"].append(_row("maps", {**mapped, **key}, ("sweeps", "means", "trained")))
    began = status.started or None
    first = [row["time"] for row in played[:1] if row["time"] is not None]
    last: Row = played[-1] if played else {}
    trained, means = last.get("training_seconds"), [row["mean_return"] for row in played]
    spent = [row["evaluation_seconds"] for row in played]
    return {
        **key,
        "kind": state.kind,
        "state": status.state,
        "error": status.error or None,
        "task": config.task,
        "algorithm": config.algorithm.get("algorithm"),
        "method": config.method.get("method"),
        "source": config.source or None,
        "source_steps": ends.get("start", {}).get("source_steps"),
        "steps": config.steps,
        "steps_done": ends["end"]["timesteps"] if "end" in ends else status.step if status.attempt else None,
        "stopped": ends.get("end", {}).get("stopped"),
        "attempts": status.attempt,
        "evaluations": len(played),
        "first_return": means[0] if means else None,
        "final_return": means[-1] if means else None,
        "final_return_std": last.get("std_return"),
        "best_return": max((mean for mean in means if mean is not None), default=None),
        "training_seconds": trained,
        "evaluation_seconds": sum(spent) if spent and None not in spent else None,
        "wall_seconds": max(status.updated - began, 0.0) if began else None,
        "steps_per_second": last["step"] / trained if trained and last["step"] else None,
        "started": began,
        "updated": status.updated or None,
        "device": config.device,
        "torch_threads": config.torch_threads,
        "versions": _json(config.versions),
        "config": _json(config.to_json()),
        "begun": min([*first, *([began] if began else [])], default=None),
    }


def _read_config(state: TrialState) -> TrialConfig:
    """A trial's configuration, which is the one that its folder is named after."""
    config = TrialConfig.read(state.directory)
    path = state.directory / CONFIG
    for group in ("algorithm", "method"):
        settings = getattr(config, group)
        Document(settings, f"{path}: {group}").checked(
            lambda group=group, settings=settings: read_fields({f"{group}?": str}, settings)  # type: ignore[misc]
        )
    try:
        found = config.hash
    except ValueError:  # a number that isn't finite
        found = "none"
    if found != state.hash:
        raise WarmstartError(f"{path} was changed: its hash is {found}.")
    return config


def _check_whole(state: TrialState, records: Sequence[State], times: Settings, played: Sequence[Row]) -> None:
    """See that a trial's state and what it recorded go together, so that nothing is half there.

    Raises:
        WarmstartError: A file was cut, lost or replaced.
    """
    folder = state.directory
    if records and state.status.state == "waiting":
        raise WarmstartError(f"{folder / STATUS} is missing or damaged: the trial has records, but no state.")
    if state.status.state != "done":
        return
    if not any(record["event"] == "end" for record in records):
        raise WarmstartError(f"{folder / RECORDS} is cut short: the trial is done, but its end isn't there.")
    for row in played:
        if row["step"] not in times:
            raise WarmstartError(
                f"{folder / TIMES} is cut short: no time of the evaluation at {row['step']}."
            )


def _evaluation(record: State, times: Mapping[int, State]) -> State:
    """An evaluation's columns; its mean and spread are those of the report."""
    returns = np.array(record["returns"], dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        told = {"mean": returns.mean(), "std": returns.std(), "min": returns.min(), "max": returns.max()}
    time = times.get(record["step"], {})
    return {
        "step": record["step"],
        "timesteps": record.get("timesteps"),
        "episodes": len(returns),
        **{f"{name}_return": finite_json(value) for name, value in told.items()},
        "mean_length": float(np.mean(record["lengths"])),
        **{name: time.get(name) for name in ("training_seconds", "evaluation_seconds", "time")},
        "returns": canonical_json(record["returns"]),
        "lengths": canonical_json(record["lengths"]),
    }


def _row(table: str, values: Settings, as_json: Sequence[str] = ()) -> Row:
    """A table's row of what a file holds; keys that aren't columns stay out, as readers leave them unread."""
    row = {column.name: values.get(column.name) for column in TABLES[table]}
    return row | {name: _json(row[name]) for name in as_json if row[name] is not None}


def _json(value: Any) -> str:
    return canonical_json(finite_json(value))
