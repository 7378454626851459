"""What each imperfection does to actions and observations, against hand-computed numbers."""

import numpy as np
import pytest

from tests.sim2real.imperfections.imperfect import carried_out, make, signals


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
