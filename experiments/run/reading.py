"""Reads a run directory back: curves, transfer reports, failures, checkpoints, the state of every trial."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from warmstart.agents.checkpoints.places import LAST, TRIALS, TRIALS_FILE
from warmstart.core.bounds import SettingError, Settings, State, show
from warmstart.core.documents import Document, read_yaml
from warmstart.core.errors import WarmstartError
from warmstart.core.files import check_file
from warmstart.experiments.analysis.curves import Curve, Failure, RunData
from warmstart.experiments.records import schema
from warmstart.experiments.records.claims import Owner, holder
from warmstart.experiments.records.config import TrialConfig, trial_label
from warmstart.experiments.records.records import (
    ERROR,
    FILM,
    GAP,
    MAP,
    RECORDS,
    TIMES,
    text_of,
)
from warmstart.experiments.records.schema import (
    LIST,
    STUDY,
    TRIAL,
    Kind,
    read_fields,
    read_file,
    read_records,
    read_similarity,
    read_times,
    read_transfer,
)
from warmstart.experiments.records.status import Status, read_status

STUDY_FILE = "study.yaml"
_HASH = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class TrialState:
    """One row of `warmstart status`."""

    hash: str
    kind: Kind
    arm: str
    seed: int
    status: Status
    directory: Path
    owner: Owner | None = None
    """Who runs it; None where nobody does."""

    @property
    def label(self) -> str:
        """What messages call it."""
        return trial_label(self.kind, self.arm, self.seed)

    def to_json(self) -> State:
        """Give the row as plain data."""
        host = None if self.owner is None else self.owner.host
        row = {**vars(self), "directory": str(self.directory), "host": host, **vars(self.status)}
        return {key: value for key, value in row.items() if key not in ("status", "owner")}


def statuses(directory: str | Path) -> tuple[TrialState, ...]:
    """Say where each trial of a run stands, in the study's order.

    A trial that claims to run while no live process holds it was interrupted.

    Raises:
        WarmstartError: The directory is not a run.
    """
    rows = []
    for entry in _entries(Path(directory)):
        folder = Path(directory) / TRIALS / entry["hash"]
        status = read_status(folder)
        owner = None if status.state == "done" else holder(folder)
        if status.state == "running" and owner is None:
            status = read_status(folder)  # it may have ended since
        if status.state == "running" and owner is None:
            status = replace(status, state="interrupted")
        rows.append(TrialState(**entry, status=status, directory=folder, owner=owner))
    return tuple(rows)


def load_run(directory: str | Path) -> RunData:
    """Read a complete or partial run.

    Args:
        directory: A run directory, `runs/NAME`.

    Returns:
        Its curves so far. A trial without an evaluation yet has no curve.

    Raises:
        WarmstartError: The directory is not a run, or a file in it is damaged.
    """
    directory = Path(directory)
    states = statuses(directory)
    study = shown_study(directory)
    planned = read_file(directory / TRIALS_FILE, LIST, directory) or {}
    run = RunData(
        name=str(study.get("name", directory.name)),
        study=study,
        baseline=str(study.get("baseline", "scratch")),
        notes=(*_notes(states, study), *map(str, planned.get("notes", ()))),
    )
    curves: dict[str, list[Curve]] = {}
    failures: list[Failure] = []
    for state in states:
        folder = state.directory
        if state.status.state == "failed":
            failures.append(Failure(state.arm, state.seed, state.status.error, text_of(folder / ERROR)))
        records = read_records(folder / RECORDS, directory)
        if not _evaluations(records):
            continue
        config = TrialConfig.read(folder)
        run.versions.update(config.versions)
        if state.kind == "random":
            spread = _spread(_evaluations(records)[0])
            run = replace(run, random_return=float(_means(records, "returns")[0]), random_spread=spread)
            continue
        if (folder / FILM).is_file():
            run.media.setdefault(state.arm, folder)
        curves.setdefault(state.kind, []).append(_curve(state, config, records, directory))
        if state.kind == "target":
            _read_parts(run, state, records, directory)
    stopped = [curve for curve in curves.get("target", ()) if curve.stopped]
    if stopped:
        told = "; ".join(
            f"{c.arm}, seed {c.seed}, after {c.stopped_at:,} steps: {c.stopped}" for c in stopped
        )
        note = "Trials that ended early, whose last evaluation is held over the steps left: "
        run = replace(run, notes=(*run.notes, f"{note}{told}."))
    run = replace(run, similarity=read_similarity(directory))
    targets, sources = (tuple(curves.get(kind, ())) for kind in ("target", "source"))
    return replace(run, curves=targets, source_curves=sources, failures=tuple(failures))


def shown_study(directory: Path) -> State:
    """The study of a run as it was written, by whatever version.

    Raises:
        WarmstartError: It is missing, isn't YAML, or what a report needs of it isn't as it should be.
    """
    path = directory / STUDY_FILE
    check_file(path, within=directory)
    document = read_yaml(path)

    def read() -> State:
        study = read_fields(STUDY, document.data)
        for index, arm in enumerate(study.get("arms", ())):
            read_fields({"name": str, "method": str}, arm, ("arms", index))
        return study

    return document.checked(read)


def _read_parts(run: RunData, state: TrialState, records: list[State], directory: Path) -> None:
    """Read what a target trial recorded beside its curve."""
    gap = read_file(state.directory / GAP, schema.GAP, directory)
    mapped = read_file(state.directory / MAP, schema.MAP, directory)
    report = read_transfer(state.directory, directory)
    if gap is not None:
        run.gaps.setdefault(state.arm, {})[state.seed] = gap
    if mapped is not None:
        run.maps[state.arm] = mapped
    if report is not None:
        run.transfers.setdefault(state.arm, report)
    drawn = tuple(record for record in records if record["event"] == "drawn")
    if drawn and state.arm not in run.drawn:
        run.drawn[state.arm] = drawn


def find_checkpoints(directory: Path) -> tuple[Path, ...]:
    """Checkpoints of a run's finished trials, in the study's order.

    Raises:
        WarmstartError: The directory is not a run.
    """
    folders = (state.directory / LAST for state in statuses(directory))
    return tuple(folder for folder in folders if folder.is_dir())


def _entries(directory: Path) -> list[State]:
    path = directory / TRIALS_FILE
    data = read_file(path, LIST, directory)
    if data is None:
        raise WarmstartError(
            f"{directory} is not a run: it has no {TRIALS_FILE}. "
            "Expected a directory that `warmstart compare` made, such as runs/NAME."
        )

    def read() -> list[State]:
        rows = [read_fields(TRIAL, row, ("trials", i)) for i, row in enumerate(data["trials"])]
        rows = [{key: row[key] for key in TRIAL} for row in rows]
        for i, row in enumerate(rows):
            if not _HASH.fullmatch(row["hash"]):
                wrong = f"expected 16 hex digits, found {show(row['hash'])}."
                raise SettingError(("trials", i, "hash"), wrong)
        return rows

    return Document(data, str(path)).checked(read)


def _curve(state: TrialState, config: TrialConfig, records: list[State], directory: Path) -> Curve:
    written = read_times(state.directory / TIMES, directory)
    times = {entry["step"]: entry["training_seconds"] for entry in written}
    ends = {record["event"]: record for record in records if record["event"] in ("start", "end")}
    steps = np.array([record["step"] for record in _evaluations(records)], dtype=np.int64)
    returns, lengths = _means(records, "returns"), _means(records, "lengths")
    seconds = np.array([times.get(int(step), np.nan) for step in steps], dtype=np.float64)
    stopped = str(ends.get("end", {}).get("stopped", ""))
    if stopped:  # its agent would be the same at the points of the grid that are left
        left = [step for step in config.grid if step > steps[-1]]
        steps = np.append(steps, np.array(left, dtype=np.int64))
        held = [
            np.append(values, np.repeat(values[-1:], len(left))) for values in (returns, lengths, seconds)
        ]
        returns, lengths, seconds = held
    constant = bool(ends.get("end", {}).get("constant"))
    if constant:
        steps = np.array(config.grid, dtype=np.int64)
        returns, lengths = (np.full(len(steps), values[0]) for values in (returns, lengths))
        seconds = np.zeros(len(steps))
    return Curve(
        arm=state.arm,
        seed=state.seed,
        steps=steps,
        returns=returns,
        seconds=seconds,
        source_steps=int(ends.get("start", {}).get("source_steps", 0)),
        source_seconds=_source_seconds(state, config, directory),
        lengths=lengths,
        constant=constant,
        start_spread=_spread(_evaluations(records)[0]),
        stopped=stopped,
        stopped_at=int(ends["end"]["timesteps"]) if stopped else 0,
        complete="end" in ends,
        path=state.directory,
    )


def _means(records: list[State], key: str) -> NDArray[np.float64]:
    """Mean over episodes of each evaluation, NaN where a return wasn't finite. Shape: (points,)."""
    return np.array([np.mean(np.array(record[key], dtype=np.float64)) for record in _evaluations(records)])


def _spread(record: State) -> float:
    """Standard deviation over an evaluation's episodes; NaN where a return wasn't finite."""
    with np.errstate(over="ignore"):
        return float(np.std(np.array(record["returns"], dtype=np.float64)))


def _evaluations(records: list[State]) -> list[State]:
    return [record for record in records if record["event"] == "evaluation"]


def _source_seconds(state: TrialState, config: TrialConfig, directory: Path) -> float:
    """Training time of the source trial beside this one; 0 for a given checkpoint or none."""
    if not config.source:
        return 0.0
    times = read_times(state.directory.parent / config.source / TIMES, directory)
    return float(times[-1]["training_seconds"]) if times else 0.0


def _notes(states: tuple[TrialState, ...], study: Settings) -> tuple[str, ...]:
    notes = []
    given = not any(state.kind == "source" for state in states)
    warm = [arm for arm in study.get("arms", ()) if arm.get("method") != "scratch"]
    if len(study.get("seeds", ())) > 1 and given and warm:
        notes.append(
            "All seeds start from one given checkpoint: differences between source agents are missing, "
            "so the variance of the warm arms is understated."
        )
    open_ = [state for state in states if state.status.state not in ("done", "failed")]
    if open_:
        notes.append(f"{len(open_)} of {len(states)} trials are not done yet: the numbers are preliminary.")
    return tuple(notes)
