"""Reads a run directory back: curves, transfer reports, failures and the state of every trial."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from warmstart.core.documents import read_yaml
from warmstart.core.errors import WarmstartError
from warmstart.core.files import read_json
from warmstart.core.plain import Settings, State
from warmstart.experiments.analysis.curves import Curve, Failure, RunData
from warmstart.experiments.records.claims import holder
from warmstart.experiments.records.config import TRIALS, Kind, TrialConfig
from warmstart.experiments.records.records import ERROR, FILM, GAP, MAP, RECORDS, TIMES, TRANSFER, read_jsonl
from warmstart.experiments.records.status import Status, read_status

STUDY_FILE = "study.yaml"
TRIALS_FILE = "trials.json"


@dataclass(frozen=True)
class TrialState:
    """One row of `warmstart status`."""

    hash: str
    kind: Kind
    arm: str
    seed: int
    status: Status
    directory: Path

    def to_json(self) -> State:
        """Give the row as plain data."""
        return {
            "hash": self.hash,
            "kind": self.kind,
            "arm": self.arm,
            "seed": self.seed,
            "directory": str(self.directory),
            **self.status.__dict__,
        }


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
        if status.state == "running" and holder(folder) is None:
            status = replace(status, state="interrupted")
        rows.append(TrialState(entry["hash"], entry["kind"], entry["arm"], entry["seed"], status, folder))
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
    study = read_yaml(directory / STUDY_FILE).data
    curves: list[Curve] = []
    sources: list[Curve] = []
    transfers: dict[str, State] = {}
    media: dict[str, Path] = {}
    gaps: dict[str, dict[int, State]] = {}
    drawn: dict[str, tuple[State, ...]] = {}
    maps: dict[str, State] = {}
    failures: list[Failure] = []
    versions: dict[str, str] = {}
    random_return: float | None = None
    for state in states:
        if state.status.state == "failed":
            trace = _text(state.directory / ERROR)
            failures.append(Failure(state.arm, state.seed, state.status.error, trace))
        records = read_jsonl(state.directory / RECORDS)
        if not any(record["event"] == "evaluation" for record in records):
            continue
        config = TrialConfig.read(state.directory)
        versions.update(config.versions)
        if state.kind == "random":
            random_return = float(_means(records, "returns")[0])
            continue
        if (state.directory / FILM).is_file():
            media.setdefault(state.arm, state.directory)
        curve = _curve(state, config, records)
        if state.kind == "source":
            sources.append(curve)
            continue
        curves.append(curve)
        gap = read_json(state.directory / GAP)
        if gap is not None:
            gaps.setdefault(state.arm, {})[state.seed] = gap
        mapped = read_json(state.directory / MAP)
        if mapped is not None:
            maps[state.arm] = mapped
        drawn.setdefault(state.arm, tuple(record for record in records if record["event"] == "drawn"))
        report = read_json(state.directory / TRANSFER)
        if report is not None:
            transfers.setdefault(state.arm, report)
    return RunData(
        name=str(study.get("name", directory.name)),
        study=study,
        curves=tuple(curves),
        source_curves=tuple(sources),
        transfers=transfers,
        media=media,
        gaps=gaps,
        maps=maps,
        drawn={arm: told for arm, told in drawn.items() if told},
        failures=tuple(failures),
        random_return=random_return,
        versions=versions,
        baseline=str(study.get("baseline", "scratch")),
        notes=(*_notes(states, study), *_plan_notes(directory)),
    )


def _entries(directory: Path) -> list[State]:
    data = read_json(directory / TRIALS_FILE)
    if data is None or not isinstance(data.get("trials"), list):
        raise WarmstartError(
            f"{directory} is not a run: it has no readable {TRIALS_FILE}. "
            "Expected a directory that `warmstart compare` made, such as runs/NAME."
        )
    return list(data["trials"])


def _curve(state: TrialState, config: TrialConfig, records: list[State]) -> Curve:
    evaluations = [record for record in records if record["event"] == "evaluation"]
    times = {entry["step"]: entry["training_seconds"] for entry in read_jsonl(state.directory / TIMES)}
    end = next((record for record in records if record["event"] == "end"), None)
    start = next((record for record in records if record["event"] == "start"), {})
    steps = np.array([record["step"] for record in evaluations], dtype=np.int64)
    returns, lengths = _means(records, "returns"), _means(records, "lengths")
    seconds = np.array([times.get(int(step), np.nan) for step in steps], dtype=np.float64)
    constant = bool(end and end["constant"])
    if constant:
        steps = np.array(config.grid, dtype=np.int64)
        returns, lengths = np.full(len(steps), returns[0]), np.full(len(steps), lengths[0])
        seconds = np.zeros(len(steps))
    return Curve(
        arm=state.arm,
        seed=state.seed,
        steps=steps,
        returns=returns,
        seconds=seconds,
        source_steps=int(start.get("source_steps", 0)),
        source_seconds=_source_seconds(state, config),
        lengths=lengths,
        constant=constant,
        complete=end is not None,
        path=state.directory,
    )


def _means(records: list[State], key: str) -> NDArray[np.float64]:
    """Mean over episodes of each evaluation; NaN where an episode's return wasn't finite."""
    values = [record[key] for record in records if record["event"] == "evaluation"]
    return np.array([np.mean(np.array(episodes, dtype=np.float64)) for episodes in values])


def _source_seconds(state: TrialState, config: TrialConfig) -> float:
    """Training time of the source trial beside this one; 0 for a given checkpoint or none."""
    if not config.source:
        return 0.0
    times = read_jsonl(state.directory.parent / config.source / TIMES)
    return float(times[-1]["training_seconds"]) if times else 0.0


def _notes(states: tuple[TrialState, ...], study: Settings) -> tuple[str, ...]:
    notes = []
    if len(study.get("seeds", ())) > 1 and not any(state.kind == "source" for state in states):
        warm = [arm for arm in study.get("arms", ()) if arm.get("method") != "scratch"]
        if warm:
            notes.append(
                "All seeds start from one given checkpoint: differences between source agents are missing, "
                "so the variance of the warm arms is understated."
            )
    open_ = [state for state in states if state.status.state not in ("done", "failed")]
    if open_:
        notes.append(f"{len(open_)} of {len(states)} trials are not done yet: the numbers are preliminary.")
    return tuple(notes)


def _plan_notes(directory: Path) -> tuple[str, ...]:
    """What the plan said: why optional arms are left out, what forbids commercial use."""
    data = read_json(directory / TRIALS_FILE) or {}
    return tuple(map(str, data.get("notes", ())))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
