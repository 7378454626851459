"""Angles in degrees, velocities in other units or of the other sign, slides in millimetres."""

import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.identification.identify import identify
from warmstart.sim2real.identification.recording import record
from warmstart.sim2real.identification.settings import FitSettings
from warmstart.sim2real.recordings.trajectories import Trajectories, Trajectory

TASK = Task.parse("InvertedPendulum-v5")


def degrees(item, *parts):
    turned = {"qpos": [1.0, 180 / np.pi], "qvel": [1.0, 180 / np.pi]}
    arrays = {key: getattr(item, key) * turned[key] if key in parts else getattr(item, key) for key in turned}
    return Trajectory("run", item.time, arrays["qpos"], arrays["qvel"], item.ctrl)


def test_degrees_are_noticed_by_the_joints_range_and_by_velocities(item):
    far = Trajectory(
        "run",
        item.time,
        np.column_stack([item.qpos[:, 0], np.linspace(0, 1, len(item))]),
        item.qvel,
        item.ctrl,
    )
    with pytest.raises(
        WarmstartError, match=r"hinge\.angle goes to 57\.3, where its range ends at 1\.571 rad"
    ):
        Trajectories((degrees(far, "qpos", "qvel"),)).prepare(TASK)
    with pytest.raises(
        WarmstartError, match=r"hinge\.velocity is 5\d\.\d times .* hinge\.velocity looks like degrees"
    ):
        Trajectories((degrees(item, "qvel"),)).prepare(TASK)
    with pytest.raises(
        WarmstartError, match=r"hinge\.velocity is 0\.017\d times .* hinge\.angle looks like degrees"
    ):
        Trajectories((degrees(item, "qpos"),), angles="degrees").prepare(TASK)


@pytest.mark.parametrize(
    ("column", "factor", "said"),
    [
        (1, 30 / np.pi, r"hinge\.velocity is 9\.\d+ times .* looks like revolutions per minute"),
        (1, 0.5 / np.pi, r"hinge\.velocity is 0\.1\d+ times .* looks like revolutions per second"),
        (
            1,
            -1.0,
            r"hinge\.velocity is -\S+ times what hinge\.angle changes .* one of them has the other sign",
        ),
        (0, 1000.0, r"slider\.velocity is \S+ times .* one of them, or the time, has another unit"),
        (0, -1.0, r"slider\.velocity is -\S+ times .* the other sign"),
    ],
)
def test_velocities_of_another_unit_or_sign_are_noticed(item, column, factor, said):
    velocities = item.qvel.copy()
    velocities[:, column] *= factor
    moved = Trajectory("run", item.time, item.qpos, velocities, item.ctrl)
    with pytest.raises(WarmstartError, match=said):
        Trajectories((moved,)).prepare(TASK)


def test_millimetres_are_noticed_by_the_joints_range(item):
    factors = np.array([1000.0, 1.0])
    moved = Trajectory("run", item.time, item.qpos * factors, item.qvel * factors, item.ctrl)
    with pytest.raises(
        WarmstartError, match=r"slider\.position goes to \S+, where its range ends at 1 m: it looks"
    ):
        Trajectories((moved,)).prepare(TASK)


def test_degrees_become_radians_where_they_are_told(item):
    found = Trajectories((degrees(item, "qpos", "qvel"),), angles="degrees").prepare(TASK)
    assert found.angles == "radians"
    np.testing.assert_allclose(found[0].qpos, item.qpos)
    np.testing.assert_allclose(found[0].qvel, item.qvel)
    assert found.prepare(TASK) == found, "once"
    with pytest.raises(WarmstartError, match=r"Unknown unit of angles 'degree'. Did you mean 'degrees'"):
        Trajectories((item,), angles="degree")


def test_small_degrees_are_noticed_by_the_nominal_model():
    """Where the motion stays within the joint's range as a number, physics tells."""
    moved = record(Task.parse("Reacher-v5"), 300, noise_std=0.0, seed=2, amplitude=0.1)
    factors = np.where(np.arange(4) < 2, 180 / np.pi, 1.0)
    items = [Trajectory(i.name, i.time, i.qpos * factors, i.qvel * factors, i.ctrl) for i in moved]
    items = [Trajectory(i.name, i.time, i.qpos * 0.01, i.qvel * 0.01, i.ctrl * 0.01) for i in items]
    with pytest.raises(
        WarmstartError, match=r"look like degrees: .* explains the recordings .* times better"
    ):
        identify("Reacher-v5", Trajectories(tuple(items)), {"damping": "x0.5:x2"}, FitSettings(delay=(0, 0)))
