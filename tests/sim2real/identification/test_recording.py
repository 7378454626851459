"""Recording from a simulation: what moves it, what is measured."""

import mujoco
import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.identification.recording import SIGNALS, record
from warmstart.sim2real.imperfections.imperfections import Imperfections
from warmstart.sim2real.recordings.trajectories import Trajectories, robot_of


def test_what_is_recorded_without_noise_is_what_the_simulation_does():
    (item,) = record("HalfCheetah-v5", 30, noise_std=0.0, seed=4)
    (again,) = record("HalfCheetah-v5", 30, noise_std=0.0, seed=4)
    for key in ("time", "qpos", "qvel", "ctrl"):
        np.testing.assert_array_equal(getattr(item, key), getattr(again, key))
    robot = robot_of(Task.parse("HalfCheetah-v5"))
    model = robot.model()
    data = mujoco.MjData(model)
    data.qpos, data.qvel = item.qpos[0], item.qvel[0]
    for step in range(29):
        data.ctrl = item.ctrl[step].astype(np.float32)
        mujoco.mj_step(model, data, robot.frame_skip)
        np.testing.assert_allclose(data.qpos, item.qpos[step + 1], atol=1e-9)
    np.testing.assert_allclose(item.time, np.arange(30) * 0.05)


def test_noise_is_a_share_of_the_range_of_motion():
    (clean,), (noisy,) = (record("HalfCheetah-v5", 900, noise_std=std, seed=1) for std in (0.0, 0.02))
    error = noisy.qpos - clean.qpos
    np.testing.assert_allclose(error.std(axis=0) / np.ptp(clean.qpos, axis=0), 0.02, rtol=0.1)
    np.testing.assert_array_equal(noisy.ctrl, clean.ctrl)


def test_measurements_have_the_flaws_of_given_sensors():
    sensors = read(
        Imperfections,
        {
            "noise": [
                {"std": 0.02},
                {"std": 0.3, "sensors": ["*.velocity"]},
                {"std": 0, "sensors": ["rootx.*"]},
            ],
            "bias": {"std": 0.5, "sensors": ["rooty.angle"]},
            "quantisation": {"resolution": 0.25, "sensors": ["bfoot.angle"]},
        },
    )
    (clean,), (seen,) = (
        record("HalfCheetah-v5", 900, noise_std=0.0, seed=1, sensors=each) for each in (None, sensors)
    )
    error = np.concatenate([seen.qpos - clean.qpos, seen.qvel - clean.qvel], axis=1)
    np.testing.assert_array_equal(error[:, [0, 9]], 0)
    still = [1, 2, 3, 4, 6, 7, 8]
    np.testing.assert_allclose(error[:, still].std(axis=0), 0.02, rtol=0.1)
    np.testing.assert_allclose(error[:, 10:].std(axis=0), 0.3, rtol=0.1)
    assert abs(error[:, 2].mean()) > 0.01, "a bias for the whole episode"
    np.testing.assert_allclose(error[:, still[2:]].mean(axis=0), 0, atol=0.003)
    np.testing.assert_array_equal(seen.qpos[:, 5] % 0.25, 0)


@pytest.mark.parametrize("signal", sorted(SIGNALS))
def test_signals_use_as_much_of_the_range_as_is_asked_for(signal):
    ctrl = np.concatenate([item.ctrl for item in record("Reacher-v5", 400, signal, amplitude=0.3)])
    assert 0.25 < np.abs(ctrl).max() <= 0.3 + 1e-6


@pytest.mark.parametrize("signal", sorted(SIGNALS))
def test_signals_use_the_whole_range(signal):
    values = SIGNALS[signal](2000, 3, 0.02, np.random.default_rng(0))
    assert values.shape == (2000, 3)
    assert np.abs(values).max(axis=0).min() > 0.9
    assert np.abs(values).max() <= 1
    correlations = np.abs(np.corrcoef(values.T) - np.eye(3))
    assert correlations.max() < 0.4, "controls go their own ways"
    ctrl = np.concatenate([item.ctrl for item in record("Reacher-v5", 100, signal)])
    low, high = robot_of(Task.parse("Reacher-v5")).model().actuator_ctrlrange.T
    assert ((ctrl >= low) & (ctrl <= high)).all()


def test_rates_and_policies():
    (slow,) = record("HalfCheetah-v5", 40, rate=10)
    np.testing.assert_allclose(np.diff(slow.time), 0.1)
    with pytest.raises(WarmstartError, match=r"every 0\.05 s .*found one every 0\.1 s"):
        Trajectories((slow,)).check(Task.parse("HalfCheetah-v5"))
    with pytest.raises(WarmstartError, match=r"rate of 20 Hz .*found 15 Hz; 20 Hz would do"):
        record("HalfCheetah-v5", 40, rate=15)
    for settings, said in (
        ({"rate": 0.0}, "rate: expected a number above 0 and finite, found 0"),
        ({"seed": -1}, "seed: expected a number at least 0, found -1"),
        ({"noise_std": np.nan}, "noise_std: expected a number at least 0 and finite, found nan"),
        ({"amplitude": 0.0}, "amplitude: expected a number above 0 and at most 1, found 0"),
        ({"amplitude": 1.5}, "amplitude: expected a number above 0 and at most 1, found 1.5"),
        ({"noise_std": -0.1}, "noise_std: expected a number at least 0 and finite, found -0.1"),
    ):
        with pytest.raises(WarmstartError, match=said):
            record("HalfCheetah-v5", 40, **settings)
    (still,) = record("HalfCheetah-v5", 20, lambda observation: 0.1 * observation[:6])
    assert still.ctrl.any()
    with pytest.raises(WarmstartError, match="Did you mean 'chirp'"):
        record("HalfCheetah-v5", 20, "chrip")
    assert len(record("Hopper-v5", 100)) > 1, "a recording for each episode"
