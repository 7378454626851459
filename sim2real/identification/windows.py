"""Pieces of recorded motion of about the same length, and differences of positions."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from warmstart.core.bounds import Positive
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read
from warmstart.sim2real.identification.trajectories import FEWEST, Trajectories, quaternions

Floats = NDArray[np.float64]


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
    """

    qpos: Floats
    qvel: Floats
    ctrl: Floats
    valid: NDArray[np.bool_]
    lead: int
    span: Floats

    def __len__(self) -> int:
        return len(self.qpos)

    @property
    def samples(self) -> int:
        """Measured states in all windows together."""
        return int(self.valid.sum())

    def take(self, chosen: NDArray[np.intp]) -> "Windows":
        """Some of the windows."""
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


def subtract(model: mujoco.MjModel, qpos: Floats, other: Floats) -> Floats:
    """Differences of positions as velocities over a second (`mj_differentiatePos`). Shape: (n, nv)."""
    if model.nq == model.nv:
        return np.asarray(qpos - other)
    found = np.empty((len(qpos), model.nv))
    for q, v, turns in _parts(model):
        if turns:
            found[:, v : v + 3] = (_rotation(other, q).inv() * _rotation(qpos, q)).as_rotvec()
        else:
            found[:, v] = qpos[:, q] - other[:, q]
    return found


def add(model: mujoco.MjModel, qpos: Floats, velocity: Floats) -> Floats:
    """Positions a second later (`mj_integratePos`). Shape: (n, nq)."""
    if model.nq == model.nv:
        return np.asarray(qpos + velocity)
    found = np.empty_like(qpos)
    for q, v, turns in _parts(model):
        if turns:
            turned = _rotation(qpos, q) * Rotation.from_rotvec(velocity[:, v : v + 3])
            found[:, q : q + 4] = turned.as_quat(scalar_first=True)
        else:
            found[:, q] = qpos[:, q] + velocity[:, v]
    return found


def _rotation(qpos: Floats, start: int) -> Rotation:
    """Rotations whose quaternions start somewhere in positions. Shape: (n, nq)."""
    return Rotation.from_quat(qpos[:, start : start + 4], scalar_first=True)


def spread_of(model: mujoco.MjModel, stds: Floats) -> Floats:
    """Standard deviations of positions from those of their differences. Shape: (nv,) to (nq,).

    To first order, a quaternion changes by half of the rotation.
    """
    found = np.empty(model.nq)
    for q, v, turns in _parts(model):
        if turns:
            found[q : q + 4] = np.sqrt((stds[v : v + 3] ** 2).mean()) / 2
        else:
            found[q] = stds[v]
    return found


def _parts(model: mujoco.MjModel) -> Iterable[tuple[int, int, bool]]:
    """Where each coordinate or rotation starts in qpos and in qvel."""
    turning, q, v = quaternions(model), 0, 0
    while q < model.nq:
        turns = q in turning
        yield q, v, turns
        q, v = (q + 4, v + 3) if turns else (q + 1, v + 1)
