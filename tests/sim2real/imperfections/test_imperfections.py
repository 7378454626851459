"""What imperfections do to actions and observations, along real environments and by hand-computed numbers."""

import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from tests.sim2real.imperfections.imperfect import EVERY_KIND, SWIMMER, make, roll
from warmstart.core.errors import WarmstartError
from warmstart.core.keyed import coarse_normal, hashes, keys_of
from warmstart.core.plain import read
from warmstart.envs.vector import make_vec
from warmstart.sim2real.imperfections.imperfections import Imperfections
from warmstart.sim2real.imperfections.paths import perturbations
from warmstart.sim2real.imperfections.settings import Delay, Noise


@pytest.mark.parametrize(
    "written", [{}, {"noise": 0, "action_lag": 0, "saturation": 1, "stuck": [{"probability": 0}]}]
)
def test_nothing_that_is_on_changes_no_bit(written):
    flaws = read(Imperfections, written)
    assert flaws.is_off
    assert perturbations(flaws, 0) == ()
    paths = []
    for made in ((), perturbations(flaws, 0)):
        env = make_vec("Hopper-v5", 3, seed=0, n_threads=1, perturbations=made)
        env.reset(seed=0)
        paths.append(roll(env, 60))
        env.close()
    np.testing.assert_array_equal(*paths)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_imperfection_matters(kind):
    flaws = read(Imperfections, {kind: EVERY_KIND[kind]})
    assert not flaws.is_off
    acts = not flaws.actions_are_true
    assert acts == flaws.observations_are_true
    paths, states = [], []
    for written in ({}, flaws):
        env = make(written, "Hopper-v5", 3)
        env.reset(seed=0)
        paths.append(roll(env, 12))
        states.append(env.sim.qpos.copy())
        env.close()
    assert (paths[0] != paths[1]).any()
    assert (states[0] != states[1]).any() == acts, "sensors leave the simulation alone"


def test_episodes_dont_depend_on_the_number_of_environments():
    paths = []
    for n in (5, 2):
        env = make(EVERY_KIND, "Hopper-v5", n)
        env.reset(seed=0)
        paths.append(roll(env, 120))
        assert env.episode_ids[:2].max() > 1
        env.close()
    np.testing.assert_array_equal(paths[0][:, :2], paths[1])
    other = make(EVERY_KIND, "Hopper-v5", 2, seed=8)
    other.reset(seed=0)
    assert (roll(other, 10)[..., :11] != paths[1][:10, :, :11]).any()
    other.close()


def test_numbers_are_looked_up_by_seed_sensor_environment_episode_and_step():
    plain, env = make({}, "Hopper-v5", 4), make({"noise": 0.5}, "Hopper-v5", 4)
    for each in (plain, env):
        each.reset(seed=0)
    keys = keys_of([f"noise|{name}" for name in env.observation_layout.names])
    for step in range(90):
        action = np.full(env.action_space.shape, 0.1 * (step % 10), np.float32)
        true, seen = (each.step(action)[0] for each in (plain, env))
        noise = coarse_normal(hashes(7, keys, np.arange(4), env.episode_ids, env.elapsed))
        np.testing.assert_array_equal(seen, true + 0.5 * noise)
    assert len(np.unique(env.elapsed)) > 1, "episodes begin at different times"
    for each in (plain, env):
        each.close()


@pytest.mark.parametrize("steps", [0, 1, 5, 23])
def test_a_saved_environment_goes_on_bit_for_bit(steps):
    first, second, used = (make(EVERY_KIND, "Hopper-v5", 3) for _ in range(3))
    first.reset(seed=0)
    roll(first, steps)
    used.reset(seed=9)
    roll(used, 4)
    state = first.state_dict()
    expected = roll(first, 80, steps)
    for env in (second, used):
        env.load_state_dict(state)
        np.testing.assert_array_equal(roll(env, 80, steps), expected)
    assert first.episode_ids.min() > 0
    for env in (first, second, used):
        env.close()


def test_a_state_that_nothing_has_happened_in_is_one_too():
    first, second = make(EVERY_KIND), make(EVERY_KIND)
    second.reset(seed=0)
    roll(second, 3)
    second.load_state_dict(first.state_dict())
    for env in (first, second):
        env.reset(seed=0)
    np.testing.assert_array_equal(roll(first, 20), roll(second, 20))
    for env in (first, second):
        env.close()


def test_nothing_of_the_last_episode_leaks_into_the_next():
    """Whatever was done in an episode before, the next one is the same, also after a reset in the middle."""
    task = "HalfCheetah-v5:time_limit=9"
    paths = []
    for width in (0.1, 1.0):
        env = make(EVERY_KIND, task, 3)
        env.reset(seed=0)
        roll(env, 9, width=width)
        assert (env.episode_ids == 1).all()
        seen = [env.reset(seed=[1, 2, 3], options={"reset_mask": np.array([True, False, True])})[0][[0, 2]]]
        seen += [row[[0, 2], :17] for row in roll(env, 6)]
        paths.append(np.array(seen))
        env.close()
    np.testing.assert_array_equal(*paths)


def test_the_first_observation_of_every_episode_is_its_own():
    late = {"observation_delay": 5, "observation_loss": 0.9}
    plain, env = make({}, "Hopper-v5", 4), make(late, "Hopper-v5", 4)
    for each in (plain, env):
        each.reset(seed=0)
    began = 0
    for _ in range(80):
        action = np.full(env.action_space.shape, 0.4, np.float32)
        (true, *_, ended, _, _), (seen, *_) = (each.step(action) for each in (plain, env))
        np.testing.assert_array_equal(seen[ended], true[ended])
        began += ended.sum()
    assert began > 4
    for each in (plain, env):
        each.close()


def test_a_diverged_episode_is_followed_by_a_sound_one():
    env = make(EVERY_KIND, "HalfCheetah-v5", 2)
    env.reset(seed=0)
    roll(env, 3)
    env.sim.qvel[0] = 1e12
    with pytest.warns(UserWarning, match="diverged"):
        *_, terminations, _, infos = env.step(np.zeros((2, 6), np.float32))
    assert terminations.tolist() == [True, False]
    assert infos["final_info"]["diverged"][0]
    assert np.isfinite(roll(env, 20)).all()
    assert env.episode_ids.tolist() == [1, 0]
    env.close()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            {"noise": {"std": 1, "sensors": ["*.velocty"]}},
            r"Unknown dimension of noise '\*\.velocty'.*velocity",
        ),
        (
            {"action_lag": {"time_constant": 1, "actuators": "motor1.torqe"}},
            "of action_lag 'motor1.torqe'. Did you mean 'motor1_rot.torque'",
        ),
    ],
)
def test_a_pattern_that_means_nothing_lists_the_nearest_names(written, said):
    env = make(written)
    with pytest.raises(WarmstartError, match=said):
        env.reset()
    env.close()


def test_shares_of_a_range_need_one(tmp_path):
    source = Path(gymnasium.__file__).parent / "envs/mujoco/assets/inverted_pendulum.xml"
    model = tmp_path / "unlimited.xml"
    model.write_text(re.sub(r'ctrl(range|limited)="[^"]*"', "", source.read_text()))
    env = make({"dead_band": 0.1}, f'InvertedPendulum-v5:xml_file="{model}"')
    with pytest.raises(WarmstartError, match=r"control range for dead_band, found slider\.force without one"):
        env.reset()
    env.close()


def test_a_second_environment_needs_perturbations_of_its_own():
    made = perturbations(Imperfections(noise=(Noise(0.1),)), 0)
    first, second = (make_vec(SWIMMER, 1, n_threads=1, perturbations=made) for _ in range(2))
    first.reset()
    with pytest.raises(WarmstartError, match="found a second one: make perturbations for each environment"):
        second.reset()
    for env in (first, second):
        env.close()


def test_a_state_of_other_imperfections_is_refused():
    first, second = make({"noise": 0.1}), make({"noise": 0.2})
    with pytest.raises(WarmstartError, match=r"'std': 0\.2.*found that of .*'std': 0\.1"):
        second.load_state_dict(first.state_dict())
    for env in (first, second):
        env.close()


def test_delays_are_whole_and_ordered():
    assert Delay(0, 0).is_off
    assert not Delay(0, 1).is_off
    with pytest.raises(WarmstartError, match="high: expected a number of at least 2, found 1"):
        Delay(2, 1)
    with pytest.raises(WarmstartError, match=r"noise: expected a tuple of settings, found Noise"):
        Imperfections(noise=Noise(0.1))
