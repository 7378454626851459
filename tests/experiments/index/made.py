"""Runs whose numbers are made up, laid out and written by what lays out and writes real ones."""

from pathlib import Path

from warmstart.core.documents import parse_yaml
from warmstart.experiments.records.config import PlannedTrial
from warmstart.experiments.records.records import RECORDS, TIMES, RecordWriter
from warmstart.experiments.records.status import Status, write_status
from warmstart.experiments.run.run import prepare
from warmstart.experiments.study.plan import Plan, make_plan
from warmstart.experiments.study.study import Study

STUDY = """
name: {name}
source: {task}
target: {task}@gravity=x0.5
source_steps: 102_400
target_steps: 204_800
seeds: {seeds}
arms: {arms}
evaluation: {{every: 51_200, episodes: 2}}
"""
START = {"scratch": 0.0, "fine_tune": 400.0, "feature_extraction": 300.0}
SLOPE = {"scratch": 4.0, "fine_tune": 3.0, "feature_extraction": 1.5}
"""Return before training, and gained in 1,024 steps of it, by method."""


def make_run(
    folder: Path, name: str, task: str, seeds: int = 2, arms: str = "[scratch, fine_tune, feature_extraction]"
) -> Plan:
    """Lay out a run of which no trial has begun."""
    text = STUDY.format(name=name, task=task, seeds=seeds, arms=arms)
    made = make_plan(Study.from_document(parse_yaml(text, name)))
    prepare(made, folder)
    return made


def finish(folder: Path, trial: PlannedTrial, until: int | None = None) -> None:
    """Write what a trial records: up to a step of training, or to its end."""
    directory, method = folder / "trials" / trial.hash, trial.config.method.get("method", "scratch")
    records, times = RecordWriter(directory / RECORDS), RecordWriter(directory / TIMES)
    records.append({"event": "start", "source_steps": 102_400 if trial.config.source else 0})
    grid = [step for step in trial.config.grid if until is None or step <= until]
    for step in grid:
        mean = START[method] + SLOPE[method] * step / 1024 + 10 * trial.config.seed
        returns = [mean - 5, mean + 5]
        records.append(
            {
                "event": "evaluation",
                "step": step,
                "timesteps": step,
                "returns": returns,
                "lengths": [900, 1000],
            }
        )
        if 0 < step < trial.config.steps:
            records.append({"event": "training", "step": step, "metrics": {"loss": 1 / step, "n": None}})
        seconds = {"training_seconds": step / 4096, "evaluation_seconds": 0.5}
        times.append({"step": step, "time": 1_800_000_000.0 + step / 4096, **seconds})
    if until is None:
        total = trial.config.steps
        records.append({"event": "end", "steps": total, "timesteps": total, "constant": False})
        write_status(directory, Status("done", total, total, 1, 1, 0.0, 1_800_000_000.0, 4096.0, mean))
    records.close()
    times.close()


def made_run(folder: Path, name: str, task: str, seeds: int = 2) -> None:
    """Make a run whose trials are done."""
    for trial in make_run(folder, name, task, seeds).unique:
        finish(folder, trial)
