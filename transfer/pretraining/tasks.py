"""The tasks that an encoder is pretrained in: frames to learn from, and others that it is probed on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.encoders.encoder import Encoder
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.hooks import ContextSource
from warmstart.envs.tasks.task import Task
from warmstart.transfer.frames.acting import frame_size, scattered_frames, source_frames
from warmstart.transfer.frames.data import FrameData, join_frames
from warmstart.transfer.pretraining.pretraining import PretrainingConfig
from warmstart.transfer.probing.probe import probe_encoder, windows_of

Stage = Callable[[str], Callable[[int, int], None]]
"""Begins a stage of a name; what it returns is called with what is done and what there is in all."""
_PROBING = 0x9B1
"""Stream of random numbers of the frames that are probed."""


@dataclass(frozen=True)
class SourceTasks:
    """Collects frames of several tasks, all in the same way."""

    tasks: Sequence[Task]
    """Show frames; see `pixel_task`."""
    settings: PretrainingConfig
    """How many frames, and how actions are drawn."""
    actor: Checkpoint | None = None
    """Who acts besides random actions."""
    context_source: ContextSource | None = None
    """Draws what the frames look like in each episode."""
    n_threads: int = 1
    """Threads that simulate, draw and encode."""

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames, pixels.

        Raises:
            WarmstartError: They differ between tasks.
        """
        sizes = {frame_size(task): str(task) for task in self.tasks}
        if len(sizes) > 1:
            listed = " and ".join(f"{h} × {w} ({task})" for (h, w), task in sizes.items())
            raise WarmstartError(
                f"Tasks that are learned together need frames of one size, found {listed}: give them the "
                "same option size."
            )
        return next(iter(sizes))

    def training_frames(self, stage: Stage) -> FrameData:
        """Frames in a row of all tasks, side by side."""
        n_envs, seed = self.settings.n_envs, self.settings.seed
        steps = -(-self.settings.steps // n_envs)
        parts = []
        for index, task in enumerate(self.tasks):
            rng = np.random.default_rng((seed, index))
            progress = stage(f"Drawing {task.id}")
            data, _ = source_frames(task, steps, n_envs, rng, progress=progress, **self._options)
            parts.append(data)
        return join_frames(parts)

    def probe(
        self, encoders: Mapping[str, Encoder], frames: int, stage: Stage
    ) -> dict[str, dict[str, float]]:
        """How well each task's state is predicted by encoders with a history of one length.

        Args:
            encoders: Fitted ones by name.
            frames: Frames of each task, others than those learned from; 0 for no probe.
            stage: For progress.

        Returns:
            By task and name of an encoder the mean R² from a history; tasks without a state are left out.
        """
        history = next(iter(encoders.values())).config.frames
        with_state = [task for task in self.tasks if frames and task.option("obs") == "pixels+state"]
        found: dict[str, dict[str, float]] = {}
        for index, task in enumerate(with_state):
            rng = np.random.default_rng((self.settings.seed, index, _PROBING))
            progress = stage(f"Probing {task.id}")
            windows = windows_of(frames, history)
            data, numbers = scattered_frames(task, windows, history, rng, progress=progress, **self._options)
            found[str(task)] = {
                name: probe_encoder(encoder, data, numbers, pixels=False, n_threads=self.n_threads)
                .column("encoder", history)
                .mean
                for name, encoder in encoders.items()
            }
        return {task: r2 for task, r2 in found.items() if not np.isnan(list(r2.values())).any()}

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "checkpoint": self.actor,
            "random_share": self.settings.random_share,
            "hold": self.settings.hold,
            "context_source": self.context_source,
            "n_threads": self.n_threads,
        }
