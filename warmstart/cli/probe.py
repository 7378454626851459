"""``warmstart probe``: is an encoder good for a task? Before any training."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.table import Table
from rich.text import Text

from warmstart.cli.console import Extensible, Printing, TaskText, console, note, print_json
from warmstart.core.errors import WarmstartError
from warmstart.core.progress import Progress

if TYPE_CHECKING:
    from warmstart.agents.encoders.encoder import Encoder
    from warmstart.transfer.encoders.weights import KeyTable
    from warmstart.transfer.frames.data import FrameData
    from warmstart.transfer.probing.probe import EncoderProbe, ProbeColumn

_FITTING, _PROBING = 0x5EE, 0x9B0
"""Streams of random numbers."""
_PICTURES = 6
_REFERENCE = 96
_NOTHING = 0.05


@dataclass(frozen=True)
class Probe(Extensible, Printing):
    """How much of a task's state a linear map tells from an encoder's features, and where the encoder looks.

    One frame and a history are compared with raw pixels (averaged to 21 × 21) and with the same network with
    random weights. R² is of episodes that weren't fitted on: 1 is all, 0 nothing. Velocities can't be told
    from one frame.
    """

    encoder: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="ENCODER")]]
    """For example squeezenet1_1:weights=imagenet, drq, or an encoder's file."""
    task: TaskText
    """For example Reacher-v5 or HalfCheetah-v5:size=64,camera=track@light=x0.5."""
    frames: int = 3_000
    """Frames that the encoder sees, those of histories included; its readout is fitted on others."""
    history: bool = False
    """Probe raw pixels and random weights from a history, too, in place of one frame."""
    out: Path | None = None
    """Picture to write: .png, .pdf or .svg."""
    seed: int = 0
    """Seed of the start states and random actions."""

    def run(self) -> int:
        """Probe."""
        from warmstart.experiments.report.canvas import check_picture

        began = time.perf_counter()
        if self.seed < 0 or self.frames < 1:
            raise WarmstartError(
                f"Expected frames of at least 1 and a seed of 0 or more, found {self.frames} and {self.seed}."
            )
        if self.out is not None:
            check_picture(self.out)
        self.load_plugins()
        with self.progress() as progress:
            found, encoder, data, keys = self._probe(progress)
        columns = shown_columns(found, encoder.config.frames, self.history)
        if self.out is not None:
            self._draw(found, columns, encoder, data)
        seconds = time.perf_counter() - began
        if self.json:
            weights = None if keys is None else keys.to_json()
            about = {"provenance": encoder.provenance, "weights": weights, "seconds": seconds}
            print_json({**found.to_json(), **about, "picture": None if self.out is None else str(self.out)})
            return 0
        if keys is not None:
            note(str(keys) if keys.unexpected else keys.summary)
        print_probe(found, columns)
        note(f"{seconds:.0f} s" + ("" if self.out is None else f"; picture: {self.out}"))
        return 0

    def _probe(self, progress: Progress) -> "tuple[EncoderProbe, Encoder, FrameData, KeyTable | None]":
        import numpy as np

        from warmstart.agents.encoders.config import EncoderConfig
        from warmstart.core.threads import available_cores
        from warmstart.envs.tasks.task import Task
        from warmstart.transfer.encoders.pretrained import pretrained_encoder
        from warmstart.transfer.frames.acting import frame_size, pixel_task, scattered_frames
        from warmstart.transfer.probing.probe import probe_encoder, untrained, windows_of

        config, asked, cores = EncoderConfig.parse(self.encoder), Task.parse(self.task), available_cores()
        task = pixel_task(asked)
        if task.option("obs") == "pixels":
            raise WarmstartError(
                f"{asked} has no numbers beside its images that could be told from features."
            )
        encoder, keys = pretrained_encoder(config, frame_size(task))
        looks_back = encoder.config.frames
        windows = windows_of(self.frames, looks_back)

        def frames(windows: int, length: int, stream: int, stage: str) -> "tuple[FrameData, Any]":
            rng = np.random.default_rng([self.seed, stream])
            shown = progress.stage(stage)
            return scattered_frames(task, windows, length, rng, n_threads=cores, progress=shown)

        fitting, _ = frames(encoder.config.fit_frames, 1, _FITTING, "Drawing frames to fit on")
        twin, fit = untrained(encoder), progress.stage("Fitting readouts")
        for done, each in enumerate((encoder, twin), 1):
            if not each.fitted:
                each.fit(fitting.draw(each.config.fit_frames, self.seed))
            fit(done, 2)
        data, dimensions = frames(windows, looks_back, _PROBING, "Drawing frames")
        told = progress.stage("Probing")
        found = probe_encoder(
            encoder, data, dimensions, task=str(asked), twin=twin, n_threads=cores, progress=told
        )
        return found, encoder, data, keys

    def _draw(
        self, found: "EncoderProbe", columns: "Sequence[ProbeColumn]", encoder: "Encoder", data: "FrameData"
    ) -> None:
        from warmstart.experiments.report.canvas import save_figure
        from warmstart.experiments.report.probe_figure import draw_probe, telling_frames
        from warmstart.transfer.probing.saliency import saliency

        assert self.out is not None
        frames = telling_frames(data, found.dimensions, _PICTURES)
        flat = data.frames.reshape(-1, *data.frames.shape[2:])
        seen = saliency(encoder, frames, flat[:: max(1, len(flat) // _REFERENCE)])
        save_figure(draw_probe(found, columns, frames, seen, encoder.config.readout), self.out)


def shown_columns(probe: "EncoderProbe", frames: int, history: bool) -> "tuple[ProbeColumn, ...]":
    """The encoder's columns, and those it is compared with: from one frame, or from a history."""
    compared = frames if history else 1
    own = [column for column in probe.columns if column.source == "encoder"]
    return (*own, probe.column("pixels", compared), probe.column("random weights", compared))


def print_probe(probe: "EncoderProbe", columns: "Sequence[ProbeColumn]") -> None:
    """Print R² by dimension for people."""
    from warmstart.transfer.probing.probe import EncoderProbe, grouped

    names, values = grouped(EncoderProbe(probe.encoder, probe.task, probe.dimensions, tuple(columns), 0))
    table = Table(box=None, header_style="bold", pad_edge=False, title_justify="left")
    table.title = f"{probe.encoder} in {probe.task}: R² of {probe.rows:,} frames"
    table.add_column("")
    for column in columns:
        table.add_column(column.label.replace(", ", "\n"), justify="right")
    for row, name in enumerate(names):
        table.add_row(name, *(_cell(column[row]) for column in values))
    table.add_section()
    table.add_row("mean", *(Text(f"{column.mean:.3f}") for column in columns), style="bold")
    table.add_row("inputs", *(Text(f"{column.inputs:,}") for column in columns), style="dim")
    console().print(table)


def _cell(value: float) -> Text:
    if value != value:
        return Text("—", style="dim")
    return Text(f"{value:.2f}", style="dim" if value < _NOTHING else "")
