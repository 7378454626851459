"""What imperfections do to actions and observations, along real environments and by hand-computed numbers."""

import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.core.keyed import coarse_normal, hashes, keys_of
from warmstart.core.plain import read
from warmstart.envs.vector import make_vec
from warmstart.sim2real.imperfections.imperfections import Imperfections
from warmstart.sim2real.imperfections.paths import perturbations
from warmstart.sim2real.imperfections.settings import Delay, Noise

ARM = "Pusher-v5"
"""Seven actuators from -2 to 2, every 0.05 s; no episode ends early."""
SWIMMER = "Swimmer-v5:time_limit=40"
"""Eight sensors, read every 0.04 s; no episode ends early."""
EVERY_KIND = {
    "bias": 0.1,
    "drift": 0.1,
    "noise": 0.1,
    "quantisation": 0.1,
    "stuck": [{"probability": 0.5}, {"probability": 0.2, "steps": 3, "sensors": ["*.velocity"]}],
    "dropout": {"probability": 0.1, "steps": 2},
    "observation_delay": {"low": 1, "high": 3, "hold": 0.5},
    "observation_loss": 0.2,
    "action_repeat": 2,
    "action_loss": 0.2,
    "action_delay": [0, 3],
    "action_noise": 0.1,
    "dead_band": 0.2,
    "backlash": 0.1,
    "rate_limit": 5.0,
    "action_lag": 0.05,
    "motor_strength": [0.7, 0.9],
    "saturation": 0.5,
}


def make(written, task=SWIMMER, n=1, seed=7):
    flaws = read(Imperfections, written) if not isinstance(written, Imperfections) else written
    return make_vec(task, n, seed=0, n_threads=1, perturbations=perturbations(flaws, seed))


def carried_out(written, actions):
    """What an actuator gets when all are given an episode's actions. Shapes: (steps,)."""
    env = make(written, ARM)
    env.reset(seed=0)
    found = []
    for action in actions:
        env.step(np.full(env.action_space.shape, action))
        found.append(env.sim.ctrl[0, 0])
    env.close()
    return np.array(found)


def signals(written, steps=30, n=1):
    """True and seen observations of an episode, the final ones too. Shapes: (steps + 1, n, k)."""
    envs = [make(what, n=n) for what in ({}, written)]
    seen = [[env.reset(seed=0)[0]] for env in envs]
    for step in range(steps):
        for env, found in zip(envs, seen, strict=True):
            action = np.full(env.action_space.shape, (-1) ** (step // 3))
            obs, _, terminations, truncations, infos = env.step(action)
            ended = terminations | truncations
            if ended.any():
                obs[ended] = np.stack(list(infos["final_obs"][ended]))
            found.append(obs)
    for env in envs:
        env.close()
    return tuple(np.array(found) for found in seen)


def roll(env, steps, start=0, width=1.0):
    """Everything that a step returns, for actions that depend on the step only."""
    out = []
    low, high = env.single_action_space.low, env.single_action_space.high
    for step in range(start, start + steps):
        share = np.random.default_rng(step).uniform(0, 1, len(low)) * width
        action = np.tile((low + share * (high - low)).astype(np.float32), (env.num_envs, 1))
        observations, rewards, terminations, truncations, _ = env.step(action)
        out.append(np.column_stack([observations, rewards, terminations, truncations]))
    return np.array(out)


# what actuators do; the arm's control ranges are 4 wide


def test_lag_nears_the_input_exponentially():
    share = 1 - np.exp(-0.05 / 0.1)
    expected = 2 * (1 - (1 - share) ** np.arange(1, 6))
    np.testing.assert_allclose(carried_out({"action_lag": 0.1}, [2.0] * 5), expected, rtol=1e-12)
    np.testing.assert_allclose(expected[[0, 4]], 2 * (1 - np.exp([-0.5, -2.5])), rtol=1e-12)


def test_small_actions_fall_into_the_dead_band():
    given = [0.1, -0.39, 0.41, -2.0, 0.4]  # a band of 0.2 of 4 reaches from -0.4 to 0.4
    np.testing.assert_array_equal(carried_out({"dead_band": 0.2}, given), [0, 0, 0.41, -2, 0])


def test_backlash_crosses_its_gap_first():
    given = [0.2, 1.0, 0.8, 0.5, 0.4, -1.0]  # a gap of 0.1 of 4 is 0.2 to either side
    expected = [0, 0.8, 0.8, 0.7, 0.6, -0.8]
    np.testing.assert_allclose(carried_out({"backlash": 0.1}, given), expected, atol=1e-12)


def test_the_rate_limit_is_in_ranges_per_second():
    given = [2.0, 2.0, 2.0, 0.5, 0.5, -2.0]  # 5 × 4 × 0.05 = 1 per step
    expected = [1, 2, 2, 1, 0.5, -0.5]
    np.testing.assert_allclose(carried_out({"rate_limit": 5}, given), expected, atol=1e-12)


def test_actions_come_late_repeat_and_saturate():
    given = [1.0, 2.0, 1.5, -1.0, -2.0]
    np.testing.assert_array_equal(carried_out({"action_delay": 2}, given), [1, 1, 1, 2, 1.5])
    np.testing.assert_array_equal(carried_out({"action_repeat": 2}, given), [1, 1, 1.5, 1.5, -2])
    both = carried_out({"action_delay": 1, "action_repeat": 2}, given)
    np.testing.assert_array_equal(both, [1, 1, 1, 1.5, 1.5])
    np.testing.assert_array_equal(carried_out({"saturation": 0.5}, given), [1, 1, 1, -1, -1])
    np.testing.assert_array_equal(carried_out({"motor_strength": 0.5}, [9.0, -2.0]), [1, -1])


def test_lost_actions_leave_the_last_that_arrived():
    given = np.arange(30) / 20
    found = carried_out({"action_loss": 0.5}, given)
    arrived = found == given
    assert arrived[0]
    assert 5 < arrived.sum() < 25
    last = np.maximum.accumulate(np.where(arrived, np.arange(30), 0))
    np.testing.assert_array_equal(found, given[last])


def test_noisy_actions_stay_in_the_range():
    found = carried_out({"action_noise": 0.1}, [0.5] * 40)
    assert found.std() == pytest.approx(0.2, rel=0.35)  # 0.1 × half of 4
    assert len(np.unique(found)) == 40
    strong = carried_out({"action_noise": 5}, [0.0] * 40)
    assert np.abs(strong).max() == 2


def test_motors_have_a_strength_each_in_each_episode():
    env = make({"motor_strength": [0.5, 1.5]}, "HalfCheetah-v5:time_limit=3", n=3)
    env.reset(seed=0)
    factors = []
    for _ in range(5):
        env.step(np.full(env.action_space.shape, 0.5, np.float32))
        factors.append(env.sim.ctrl.copy() / 0.5)
    assert ((factors[0] >= 0.5) & (factors[0] <= 1.5)).all()
    np.testing.assert_array_equal(factors[0], factors[1])
    np.testing.assert_array_equal(factors[3], factors[4])
    assert len(np.unique(factors[::3])) == 36
    env.close()


def test_patterns_choose_actuators():
    env = make({"dead_band": {"width": 0.99, "actuators": ["f*"]}}, "HalfCheetah-v5")
    env.reset(seed=0)
    env.step(np.full((1, 6), 0.5))
    chosen = [name.startswith("f") for name in env.action_layout.names]
    np.testing.assert_array_equal(env.sim.ctrl[0], np.where(chosen, 0, 0.5))
    assert any(chosen)
    assert not all(chosen)
    env.close()


# what sensors do


def test_readings_are_multiples_of_the_resolution():
    true, seen = signals({"quantisation": 0.01})
    np.testing.assert_array_equal(seen, np.rint(true / 0.01) * 0.01)
    assert (seen != true).any()
    assert np.rint(0.126 / 0.05) * 0.05 == pytest.approx(0.15)
    one = {"quantisation": {"resolution": 0.01, "sensors": ["slider1.*"]}}
    _, seen = signals(one)
    named = [name.startswith("slider1") for name in make({}).observation_layout.names]
    np.testing.assert_array_equal((seen != true).any(axis=(0, 1)), named)


def test_a_fixed_delay_repeats_the_first_observation_until_there_is_history():
    true, seen = signals({"observation_delay": 3})
    np.testing.assert_array_equal(seen[:4], np.repeat(true[:1], 4, axis=0))
    np.testing.assert_array_equal(seen[4:], true[1:-3])


@pytest.mark.parametrize("hold", [0.0, 0.6, 1.0])
def test_a_varying_delay_stays_in_its_bounds_and_is_causal(hold):
    true, seen = signals({"observation_delay": {"low": 1, "high": 4, "hold": hold}}, 36, n=20)
    steps = np.arange(len(true))
    delays = np.empty(seen.shape[:2], int)
    for env in range(20):
        same = (seen[:, None, env] == true[None, :, env]).all(axis=-1)
        assert same.any(axis=1).all(), "every observation is a true one, maybe of before"
        delays[:, env] = steps - same.argmax(axis=1)
    late = delays[5:]
    assert set(np.unique(late)) == {1, 2, 3, 4}
    assert (np.diff(delays, axis=0) <= 1).all()
    assert (delays <= steps[:, None]).all()
    changes = (np.diff(late, axis=0) != 0).mean()
    assert (changes == 0) == (hold == 1)
    assert hold != 0.6 or 0.1 < changes < 0.4


def test_noise_bias_and_drift_have_their_spreads():
    n = 400
    true, seen = signals({"noise": 0.2}, 10, n)
    error = seen - true
    assert error.std() == pytest.approx(0.2, rel=0.03)
    assert abs(error.mean()) < 0.01
    correlation = np.corrcoef(error[:, :, 0].reshape(-1), error[:, :, 1].reshape(-1))[0, 1]
    assert abs(correlation) < 0.05
    assert abs(np.corrcoef(error[:-1].reshape(-1), error[1:].reshape(-1))[0, 1]) < 0.05

    true, seen = signals({"bias": 0.2}, 10, n)
    error = seen - true
    np.testing.assert_allclose(error, np.broadcast_to(error[:1], error.shape), atol=1e-12)
    assert error.std() == pytest.approx(0.2, rel=0.06)

    true, seen = signals({"drift": 0.2}, 16, n)
    error = seen - true
    assert not error[0].any()
    for step in (4, 16):
        assert error[step].std() == pytest.approx(0.2 * np.sqrt(step * 0.04), rel=0.08)
    later = error[16] - error[4]
    assert abs(np.corrcoef(later.reshape(-1), error[4].reshape(-1))[0, 1]) < 0.06


def test_sensors_drop_out_for_some_steps():
    true, seen = signals({"dropout": {"probability": 0.1, "steps": 3}}, 38, n=50)
    dropped = seen != true
    assert not seen[dropped].any()
    # a sensor is idle for 1 / 0.1 - 1 steps on average, then dropped for 3
    assert dropped.mean() == pytest.approx(3 / 12, rel=0.15)
    for sensor in dropped.reshape(len(dropped), -1).T:
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], sensor, [0]]))))[::2]
        assert sensor[-3:].any() or (runs % 3 == 0).all()


def test_sensors_get_stuck_for_some_steps():
    true, seen = signals({"stuck": {"probability": 0.2, "steps": 2}}, 38, n=50)
    stuck = seen != true
    assert not stuck[0].any()
    np.testing.assert_array_equal(seen[1:][stuck[1:]], seen[:-1][stuck[1:]])
    assert stuck.mean() == pytest.approx(2 / 6, rel=0.15)


def test_a_sensor_stuck_for_good_keeps_its_value_to_the_end_of_the_episode():
    true, seen = signals({"stuck": 0.5}, 40, n=60)
    stuck = seen != true
    failed = stuck.any(axis=0)
    assert failed.mean() == pytest.approx(0.5, abs=0.1)
    first = stuck.argmax(axis=0)
    for env, sensor in np.argwhere(failed):
        onset = first[env, sensor]
        assert stuck[onset:, env, sensor].all()
        assert (seen[onset:, env, sensor] == true[onset - 1, env, sensor]).all()
    assert first[failed].min() >= 1
    assert first[failed].mean() == pytest.approx(20, abs=4), "any step of the time limit"


def test_lost_observations_repeat_the_last():
    true, seen = signals({"observation_loss": 0.3}, 38, n=50)
    lost = (seen != true).any(axis=-1)
    assert not lost[0].any()
    np.testing.assert_array_equal(seen[1:][lost[1:]], seen[:-1][lost[1:]])
    assert lost[1:].mean() == pytest.approx(0.3, abs=0.04)


def test_the_last_setting_of_a_sensor_holds():
    velocity = {"std": 0.5, "sensors": ["*.velocity"]}
    true, seen = signals(
        {"noise": [{"std": 0.01}, velocity, {"std": 0, "sensors": "slider1.velocity"}]}, 30, 30
    )
    spread = (seen - true).std(axis=(0, 1))
    names = make({}).observation_layout.names
    expected = [0.5 if name.endswith("velocity") else 0.01 for name in names]
    expected[names.index("slider1.velocity")] = 0
    np.testing.assert_allclose(spread, expected, rtol=0.1)


def test_stages_come_in_their_order():
    written = {"noise": 0.3, "quantisation": 0.5, "dropout": 0.5, "observation_delay": 1}
    _, seen = signals(written, 30, n=4)
    np.testing.assert_array_equal(seen, np.rint(seen / 0.5) * 0.5)
    np.testing.assert_array_equal(seen[0], seen[1])
    assert (seen == 0).mean() > 0.4
    written = {"saturation": 0.5, "motor_strength": 2, "action_delay": 1, "dead_band": 0.5}
    np.testing.assert_array_equal(carried_out(written, [0.9, 2.0, 1.0, -1.5]), [0, 0, 1, 0])


# how they live in environments


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


# mistakes


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
        roll(env, 1)
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
