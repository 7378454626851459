"""Pieces of recorded motion of about the same length."""

from dataclasses import dataclass, replace
from itertools import pairwise

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.core.bounds import Positive
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read
from warmstart.sim2real.recordings.positions import Floats, subtract
from warmstart.sim2real.recordings.trajectories import FEWEST, Trajectories


@dataclass(frozen=True)
class Windows:
    """Pieces of recordings, filled up to the same length.

    Attributes:
        qpos: Measured positions. Shape: (w, t, nq).
        qvel: Measured velocities. Shape: (w, t, nv).
        ctrl: Commanded controls, from `lead` steps before the window on. Shape: (w, lead + t, nu).
        valid: Which samples there are. Shape: (w, t).
        lead: Steps before each window whose controls are known: the longest delay.
        span: Range of motion of every dimension, positions before velocities. Shape: (2 nv,).
        measured: Which dimensions were measured; the others are where start states begin. Shape: (2 nv,).
    """

    qpos: Floats
    qvel: Floats
    ctrl: Floats
    valid: NDArray[np.bool_]
    lead: int
    span: Floats
    measured: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.qpos)

    @property
    def samples(self) -> int:
        """Measured states in all windows together."""
        return int(self.valid.sum())

    def take(self, chosen: NDArray[np.intp]) -> "Windows":
        """Some of the windows, by their indices. Shape: (k,)."""
        parts = {name: getattr(self, name)[chosen] for name in ("qpos", "qvel", "ctrl", "valid")}
        return replace(self, **parts)

    def spread(self, samples: int) -> "Windows":
        """About as many windows as have so many samples, evenly spread."""
        count = min(len(self), max(4, round(samples * len(self) / max(1, self.samples))))
        return self.take(np.unique(np.linspace(0, len(self) - 1, count).round().astype(np.intp)))


def window_length(window: float, period: float) -> int:
    """Samples of a window, `FEWEST` or more.

    Args:
        window: Its seconds.
        period: Seconds between samples.

    Raises:
        SettingError: The window has no length.
    """
    read(Positive, window, ("window",))
    return max(FEWEST, round(window / period))


def cut_windows(trajectories: Trajectories, model: mujoco.MjModel, length: int, lead: int = 0) -> Windows:
    """Cut recordings into windows that share no sample.

    Args:
        trajectories: Checked recordings.
        model: The robot's model.
        length: Samples of a window; a shorter recording is one window, none has fewer than `FEWEST`.
        lead: Steps at the start of each recording that only give controls.

    Raises:
        WarmstartError: No recording is long enough.
    """
    pieces = []
    for item in trajectories:
        usable = len(item) - lead
        count = max(1, round(usable / length))
        edges = lead + np.linspace(0, usable, count + 1).round().astype(int)
        pieces += [(item, a, b) for a, b in pairwise(edges) if b - a >= FEWEST]
    if not pieces:
        raise WarmstartError(
            f"The recordings are too short: expected {lead + FEWEST} samples in one of them, found at most "
            f"{max(map(len, trajectories))}."
        )
    longest = max(b - a for _, a, b in pieces)
    fill = np.arange(longest)
    rows = [np.minimum(a + fill, b - 1) for _, a, b in pieces]
    before = [np.minimum(np.arange(a - lead, a + longest), b - 1) for _, a, b in pieces]
    return Windows(
        np.stack([item.qpos[i] for (item, _, _), i in zip(pieces, rows, strict=True)]),
        np.stack([item.qvel[i] for (item, _, _), i in zip(pieces, rows, strict=True)]),
        np.stack([item.ctrl[i] for (item, _, _), i in zip(pieces, before, strict=True)]),
        np.stack([fill < b - a for _, a, b in pieces]),
        lead,
        range_of_motion(trajectories, model),
        ~np.isin(np.arange(2 * model.nv), model.nv + np.array(trajectories.differenced, dtype=int)),
    )


def range_of_motion(trajectories: Trajectories, model: mujoco.MjModel) -> Floats:
    """Largest minus smallest of every velocity and of the position it moves. Shape: (2 nv,).

    A rotation's range is that of its quaternion's parts times two, rad. A dimension that stands still counts
    with a thousandth of the most mobile one's range.
    """
    qpos, qvel = (np.concatenate([getattr(item, k) for item in trajectories]) for k in ("qpos", "qvel"))
    moved = subtract(model, qpos, np.broadcast_to(model.qpos0, qpos.shape))
    spans = [np.ptp(moved, axis=0), np.ptp(qvel, axis=0)]
    return np.concatenate([np.maximum(span, 1e-3 * span.max() + 1e-9) for span in spans])
