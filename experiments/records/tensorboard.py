"""TensorBoard event files of a trial: a mirror of its records, never read back.

Scalars stand at training steps, the same axis for every trial; hyperparameters come with the metrics that
they led to. A run directory links every trial under a readable name: `tensorboard --logdir RUN/tensorboard`.
"""

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from warmstart.core.bounds import Settings, State
from warmstart.experiments.records.config import PlannedTrial, TrialConfig
from warmstart.experiments.records.records import TENSORBOARD
from warmstart.experiments.records.schema import Number

RETURN = "evaluation/return"
LENGTH = "evaluation/length"
FINAL_RETURN = "evaluation/final_return"


def scalars_of(record: Settings) -> dict[str, Number]:
    """The numbers of a training's record by the names that they have in TensorBoard; none of other events."""
    if record["event"] == "training":
        return dict(record["metrics"])
    if record["event"] != "drawn":
        return {}
    medians = {f"drawn/{name}": v[len(v) // 2] for name, v in record["quantiles"].items() if v}
    return medians | {f"curriculum/{name}": value for name, value in record.get("curriculum", {}).items()}


class TensorboardMirror:
    """Writes one trial's event file."""

    def __init__(self, directory: Path, config: TrialConfig) -> None:
        """Start an event file afresh; one of an earlier, unfinished attempt is removed."""
        from torch.utils.tensorboard.summary import hparams
        from torch.utils.tensorboard.writer import SummaryWriter

        folder = directory / TENSORBOARD
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder), max_queue=100, flush_secs=10)
        values = hyperparameters(config)
        file: Any = self._writer.file_writer
        for summary in hparams(values, dict.fromkeys((RETURN, FINAL_RETURN), 0.0)):  # type: ignore[no-untyped-call]
            file.add_summary(summary)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Mirror some numbers."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def hyperparameters(config: TrialConfig) -> dict[str, bool | int | float | str]:
    """Give a trial's settings as one flat mapping of what TensorBoard can show."""
    flat: State = {
        **{key: getattr(config, key) for key in ("task", "kind", "seed", "steps")},
        **{f"method.{key}": value for key, value in config.method.items()},
        **config.algorithm,
    }
    return {k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in flat.items()}


def link_runs(run: Path, trials: Sequence[PlannedTrial]) -> None:
    """Give every trial's event files a readable name: `RUN/tensorboard/ARM/seed-N`."""
    for trial in trials:
        if trial.config.kind == "random":
            continue
        link = run / TENSORBOARD / trial.arm / f"seed-{trial.config.seed}"
        there = Path("../../trials") / trial.hash / TENSORBOARD
        with contextlib.suppress(OSError):  # a mirror is not worth failing for
            link.parent.mkdir(parents=True, exist_ok=True)
            if link.is_symlink():
                link.unlink()
            link.symlink_to(there, target_is_directory=True)
