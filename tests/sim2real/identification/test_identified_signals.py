"""What an identification finds out about signals: delays, lags and noise."""

import numpy as np
import pytest

from warmstart.core.plain import read
from warmstart.envs.tasks.hooks import Perturbation
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.identification.identify import identify
from warmstart.sim2real.identification.recording import record
from warmstart.sim2real.identification.settings import FitSettings
from warmstart.sim2real.imperfections.imperfections import Imperfections
from warmstart.sim2real.imperfections.paths import perturbations
from warmstart.sim2real.recordings.positions import spread_of
from warmstart.sim2real.recordings.trajectories import robot_of


class Late(Perturbation):
    """Commands act some control steps late."""

    def __init__(self, steps):
        self.steps, self.waiting = steps, []

    def on_reset(self, env, ids):
        self.waiting = []

    def before_step(self, env, actions):
        self.waiting.append(actions)
        return self.waiting[max(0, len(self.waiting) - 1 - self.steps)]


def test_delays_are_found():
    data = record("Reacher-v5@gear=x1.3", 150, seed=0, perturbations=[Late(2)])
    said = []
    found = identify("Reacher-v5", data, {"gear": "x0.5:x2"}, FitSettings(delay=(0, 3)), progress=said.append)
    assert found.delay == 2
    assert min(found.delay_losses, key=found.delay_losses.get) == 2
    assert found.estimates[0].number == pytest.approx(1.3, rel=0.05)
    assert said[3].startswith("delay of 2 steps: loss")


def test_a_lag_of_the_drives_is_told_from_damping():
    lagging = perturbations(read(Imperfections, {"action_lag": 0.03}), 0)
    data = record("Reacher-v5@gear=x1.3", 300, seed=0, perturbations=lagging)
    parameters = {"gear": "x0.5:x2", "damping": "x0.5:x2"}
    found = identify("Reacher-v5", data, parameters, FitSettings(delay=(0, 1), lag=0.1, window=0.4))
    gear, damping, lag = found.estimates
    assert found.delay == 0
    assert found.imperfections["action_lag"] == pytest.approx(0.03, rel=0.1)
    assert (lag.name, lag.unit, lag.operation) == ("action_lag", "s", "set")
    assert lag.low < lag.number < lag.high
    assert damping.number == pytest.approx(1.0, rel=0.1)
    assert gear.number == pytest.approx(1.3, rel=0.05)
    assert "lag" not in found.task_text + str(found.recipe)
    assert read(Imperfections, found.imperfections).action_lag
    blamed = identify("Reacher-v5", data, parameters, FitSettings(delay=None, window=0.4))
    assert blamed.lag is None
    assert blamed.losses.held_fitted > 1.2 * found.losses.held_fitted


def test_drives_without_a_lag_have_none():
    data = record("Reacher-v5@gear=x1.3", 200, seed=0)
    found = identify("Reacher-v5", data, {"gear": "x0.5:x2"}, FitSettings(delay=None, lag=0.05))
    assert found.lag == pytest.approx(0, abs=0.007), "a few percent of the last output"
    assert found.estimates[0].number == pytest.approx(1.3, rel=0.05)


@pytest.mark.parametrize(("planted", "delays"), [([0, 1], (0, 1)), ([1, 1], (1, 1))])
def test_a_delay_that_changes_is_told_from_one_that_stays(planted, delays):
    late = perturbations(read(Imperfections, {"action_delay": planted}), 0)
    data = record(
        "InvertedPendulum-v5@gear=x0.9", 400, seed=0, noise_std=0.003, amplitude=0.3, perturbations=late
    )
    found = identify("InvertedPendulum-v5", data, {"gear": "x0.5:x2"}, FitSettings(delay=(0, 2)))
    assert found.delays == delays
    assert found.delay in delays
    assert found.imperfections["action_delay"] == (list(delays) if delays[0] < delays[1] else delays[1])
    assert read(Imperfections, found.imperfections).action_delay.high == 1


def test_the_noise_of_sensors_is_measured_by_their_names_in_observations():
    sensors = read(Imperfections, {"noise": [{"std": 0.003}, {"std": 0.05, "sensors": ["*.velocity"]}]})
    data = record("InvertedPendulum-v5@gear=x0.9", 400, amplitude=0.3, sensors=sensors)
    found = identify("InvertedPendulum-v5", data, {"gear": "x0.5:x2"}, FitSettings(delay=None))
    names = ["slider.position", "hinge.angle", "slider.velocity", "hinge.velocity"]
    assert list(found.noise) == names
    assert list(found.noise.values()) == pytest.approx([0.003, 0.003, 0.05, 0.05], rel=0.2)
    written = read(Imperfections, found.imperfections)
    assert {setting.sensors[0]: setting.std for setting in written.noise} == found.noise


def test_sensors_that_observations_do_not_have_by_name_are_left_out():
    found = identify(
        "Reacher-v5", record("Reacher-v5@gear=x0.8", 150), {"gear": "x0.5:x2"}, FitSettings(delay=None)
    )
    assert set(found.noise) == {
        "target_x.position",
        "target_y.position",
        "joint0.velocity",
        "joint1.velocity",
    }


def test_the_noise_of_a_rotation_is_half_in_its_quaternion():
    model = robot_of(Task.parse("Ant-v5")).model()
    stds = np.arange(1.0, 1 + model.nv)
    found = spread_of(model, stds)
    np.testing.assert_allclose(found[:3], [1, 2, 3])
    np.testing.assert_allclose(found[3:7], np.sqrt((16 + 25 + 36) / 3) / 2)
    np.testing.assert_allclose(found[7:], np.arange(7, 15))
