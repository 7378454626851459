"""Everything that a running trial tells others: records, times, status, TensorBoard mirror."""

import contextlib
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import KVWriter, Logger
from typing_extensions import override

from warmstart.agents.algorithms.seams import EvaluationResult
from warmstart.core.bounds import Settings, State
from warmstart.core.files import finite_json
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.records import RECORDS, TIMES, RecordWriter
from warmstart.experiments.records.schema import read_records
from warmstart.experiments.records.status import StatusWriter
from warmstart.experiments.records.tensorboard import (
    FINAL_RETURN,
    LENGTH,
    RETURN,
    TensorboardMirror,
    scalars_of,
)

_POINTS_PER_EVALUATION = 4
"""Training metrics are recorded at most so often between two evaluations."""


class Recorder:
    """Writes a trial's files while it runs."""

    def __init__(
        self, directory: Path, config: TrialConfig, status: StatusWriter, kept: State | None = None
    ) -> None:
        """Open the files of a trial's directory.

        Args:
            directory: The trial's.
            config: The trial.
            status: Where others see how far it is.
            kept: What `state_dict` returned in an earlier attempt: the files are cut to where they were
                then. None for afresh.
        """
        self.status = status
        sizes = kept or {"records": 0, "times": 0}
        self.records = RecordWriter(directory / RECORDS, sizes["records"])
        self.times = RecordWriter(directory / TIMES, sizes["times"])
        self.mirror = None if config.kind == "random" else TensorboardMirror(directory, config)
        every = config.evaluation_every or config.steps
        self._gap = max(1, every // _POINTS_PER_EVALUATION)
        self._last_training = -self._gap
        self._last_drawn = -self._gap
        self._last_return: float | None = None
        if kept is not None:
            self._last_training, self._last_drawn = kept["last_training"], kept["last_drawn"]
            self._last_return = kept["last_return"]
            for record in read_records(directory / RECORDS, directory):
                self._mirror(record)

    def state_dict(self) -> State:
        """How far the files are, on the disk."""
        return {
            "records": self.records.sync(),
            "times": self.times.sync(),
            "last_training": self._last_training,
            "last_drawn": self._last_drawn,
            "last_return": self._last_return,
        }

    def start(self, source_steps: int) -> None:
        """Record that the trial starts, and how long its source agent was trained."""
        self.records.append({"event": "start", "source_steps": int(source_steps)})

    def evaluation(self, result: EvaluationResult, training_seconds: float) -> None:
        """Record an evaluation, and the wall-clock of training so far, evaluations not counted."""
        step, timesteps = int(result.step), int(result.timesteps)
        returns, lengths = finite_json(result.returns), [int(length) for length in result.lengths]
        played = {"returns": returns, "lengths": lengths}
        self._record({"event": "evaluation", "step": step, "timesteps": timesteps, **played})
        seconds = {"training": training_seconds, "evaluation": result.seconds}
        rounded = {f"{name}_seconds": round(value, 6) for name, value in seconds.items()}
        self.times.append({"step": step, **rounded, "time": round(time.time(), 3)})
        known = [value for value in returns if value is not None]
        self._last_return = sum(known) / len(known) if known else None
        self.status.progress(timesteps, self._last_return)

    def training(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record training metrics, unless the last ones are recent."""
        if step - self._last_training < self._gap or not metrics:
            return
        self._last_training = step
        self._record({"event": "training", "step": int(step), "metrics": dict(metrics)})

    def drawn(self, step: int, summary: Settings) -> bool:
        """Record what randomized episodes were begun with, unless the last record of it is recent.

        Returns:
            Whether it was recorded.
        """
        if step - self._last_drawn < self._gap:
            return False
        self._last_drawn = step
        self._record({"event": "drawn", "step": int(step), **summary})
        return True

    def _record(self, record: State) -> None:
        """Append a record, and mirror its numbers."""
        self.records.append(record)
        self._mirror(record)

    def _mirror(self, record: Mapping[str, Any]) -> None:
        """Show a record's numbers in TensorBoard."""
        scalars = {name: value for name, value in scalars_of(record).items() if value is not None}
        if record["event"] == "evaluation":
            known = [value for value in record["returns"] if value is not None]
            lengths = record["lengths"]
            if known:
                scalars = {RETURN: sum(known) / len(known), LENGTH: sum(lengths) / len(lengths)}
        if self.mirror is not None and scalars:
            self.mirror.write(int(record["step"]), scalars)

    def progress(self, timesteps: int) -> None:
        """Tell how far training is; cheap enough for every step."""
        if self.status.is_due():
            self.status.progress(timesteps)

    def end(self, steps: int, timesteps: int, constant: bool = False, stopped: str = "") -> None:
        """Record that the trial came to its end, and wait until the disk has everything.

        Args:
            steps: Training steps that it was to take.
            timesteps: Those that it took.
            constant: Whether nothing trained.
            stopped: Why it ended early; empty where it didn't.
        """
        if self.mirror is not None and self._last_return is not None:
            self.mirror.write(steps, {FINAL_RETURN: self._last_return})
        self.records.append(
            {"event": "end", "steps": int(steps), "timesteps": int(timesteps), "constant": constant}
            | ({"stopped": stopped} if stopped else {})
        )
        self.close()

    def close(self) -> None:
        """Close all files."""
        if self.mirror is not None:
            self.mirror.close()
        self.records.close()
        self.times.close()

    def logger(self) -> Logger:
        """Give a logger for SB3 that records what the algorithm logs."""
        return Logger(folder=None, output_formats=[_MetricWriter(self)])


class _MetricWriter(KVWriter):
    """Hands SB3's log values to the recorder, those about time left out: they differ from run to run."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    @override
    def write(self, key_values: State, key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        del key_excluded
        metrics = {}
        for key, value in sorted(key_values.items()):
            if key.startswith("time/") or isinstance(value, (str, bool)):
                continue
            with contextlib.suppress(TypeError, ValueError):
                metrics[key] = float(value)
        self.recorder.training(step, {key: value for key, value in metrics.items() if math.isfinite(value)})

    @override
    def close(self) -> None:
        return None
