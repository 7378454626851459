"""Frames of tasks with the actions between them, and batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError


@dataclass(frozen=True, eq=False)
class FrameData:
    """Frames of several environments, each column a succession of episodes.

    The last frame of an ended episode is there as well; the action beside it was never taken.
    """

    frames: NDArray[np.uint8]
    """Shape: (steps, n_envs, height, width, 3)."""
    actions: NDArray[np.float32]
    """Action taken after each frame, one-hot where actions are discrete; NaN where there is none. Shape:
    (steps, n_envs, actions)."""
    starts: NDArray[np.bool_]
    """Whether a frame is the first of its episode. Shape: (steps, n_envs)."""
    state: NDArray[np.float32] | None = None
    """What the task observes beside the frames, for probes; NaN where a task has fewer numbers than another.
    Shape: (steps, n_envs, numbers)."""
    tasks: tuple[str, ...] = ()
    """Texts of the tasks that the frames are of."""

    def __post_init__(self) -> None:
        shape = self.frames.shape
        if len(shape) != 5 or shape[4] != 3 or self.frames.dtype != np.uint8:
            raise WarmstartError(
                "Expected frames of type uint8 and shape (steps, n_envs, height, width, 3), found "
                f"{self.frames.dtype} {shape}."
            )
        for name, axes in (("actions", 3), ("starts", 2), ("state", 3)):
            values = getattr(self, name)
            if values is not None and (values.shape[:2] != shape[:2] or values.ndim != axes):
                raise WarmstartError(
                    f"Expected {name} with {axes} axes, the first {shape[:2]} like the frames', found "
                    f"{values.shape}."
                )

    def __len__(self) -> int:
        return self.starts.size

    @property
    def flat(self) -> NDArray[np.uint8]:
        """All frames in one row. Shape: (steps * n_envs, height, width, 3)."""
        return self.frames.reshape(-1, *self.frames.shape[2:])

    def draw(self, n: int, seed: int) -> torch.Tensor:
        """Some of the frames, drawn at random without repetition: what a readout is fitted on.

        Args:
            n: Frames wanted; all of them where there are fewer.
            seed: Decides which.

        Returns:
            uint8. Shape: (at most n, height, width, 3).
        """
        return torch.from_numpy(self.flat[np.random.default_rng(seed).permutation(len(self))[:n]])

    def spaced(self, n: int) -> torch.Tensor:
        """Up to ``n`` frames, evenly spaced, uint8. Shape: (at most n, height, width, 3)."""
        return torch.from_numpy(self.flat[np.linspace(0, len(self) - 1, min(len(self), n)).astype(int)])

    def starts_at(self, offsets: Sequence[int]) -> NDArray[np.int64]:
        """Where windows can start: the frames ``offsets`` steps later are of the same episode.

        Args:
            offsets: Steps from the window's start, ascending from 0.

        Returns:
            Step and environment of every window's first frame. Shape: (windows, 2).

        Raises:
            WarmstartError: No episode is long enough.
        """
        last = offsets[-1]
        episodes = np.cumsum(self.starts, axis=0)
        same = episodes[: max(0, len(episodes) - last)] == episodes[last:]
        found = np.argwhere(same)
        if not len(found):
            raise WarmstartError(
                f"There are too few frames: expected episodes of at least {last + 1} frames, found "
                f"{len(self)} frames of {int(self.starts.sum())} episodes. Collect more steps, or look fewer "
                "steps ahead."
            )
        return found


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Windows of frames, drawn at random."""

    frames: torch.Tensor
    """The frames at each offset, uint8. Shape: (offsets, batch, height, width, 3)."""
    actions: torch.Tensor
    """The actions taken after them, float32. Shape: (offsets, batch, actions)."""
    windows: torch.Tensor
    """Number of each window; equal ones are the same. Shape: (batch,)."""


class FrameSampler:
    """Draws windows that don't cross the end of an episode, all with equal probability.

    Args:
        data: Where from.
        offsets: Steps from a window's start to each of its frames, ascending from 0: ``(0, k)`` for pairs.
        device: Where batches go.

    Raises:
        WarmstartError: No episode is long enough.
    """

    def __init__(self, data: FrameData, offsets: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.data, self.offsets, self.device = data, tuple(offsets), device
        self._starts = data.starts_at(self.offsets)

    def sample(self, n: int, generator: torch.Generator) -> FrameBatch:
        """Draw ``n`` windows, with replacement."""
        chosen = torch.randint(len(self._starts), (n,), generator=generator)
        steps, envs = self._starts[chosen.numpy()].T
        at = steps + np.array(self.offsets)[:, None]
        frames, actions = (torch.from_numpy(a[at, envs]) for a in (self.data.frames, self.data.actions))
        return FrameBatch(frames.to(self.device), actions.to(self.device), chosen.to(self.device))


def join_frames(parts: Sequence[FrameData]) -> FrameData:
    """Put the frames of several tasks side by side.

    Args:
        parts: Frames of equal number and size. Numbers of actions may differ: missing ones become NaN.

    Raises:
        WarmstartError: There are none, or their shapes differ.
    """
    if not parts:
        raise WarmstartError("There are no frames to learn from: name at least one task.")
    shapes = {part.frames.shape[:1] + part.frames.shape[2:] for part in parts}
    if len(shapes) > 1:
        found = " and ".join(f"{steps} steps of {size}" for steps, *size in sorted(shapes))
        raise WarmstartError(
            f"Tasks that are learned together need equally many frames of one size, found {found}: give them "
            "the same option size."
        )
    if len(parts) == 1:
        return parts[0]
    states = [part.state for part in parts if part.state is not None]
    return FrameData(
        np.concatenate([part.frames for part in parts], axis=1),
        _side_by_side([part.actions for part in parts]),
        np.concatenate([part.starts for part in parts], axis=1),
        _side_by_side(states) if len(states) == len(parts) else None,
        tuple(task for part in parts for task in part.tasks),
    )


def _side_by_side(values: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    width = max(array.shape[2] for array in values)
    padded = [
        np.pad(array, ((0, 0), (0, 0), (0, width - array.shape[2])), constant_values=np.nan)
        for array in values
    ]
    return np.concatenate(padded, axis=1)
