"""The runner's loop: its rate, what happens to robots, and that it always ends in a logged safe stop."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from tests.sim2real.deployment.exported import (
    FakeRobot,
    contract_of,
    counting_contract,
    signal,
    write_counting,
    write_linear,
)
from warmstart.sim2real.deployment.runtime.contract import Contract, DeploymentError, Dimension, Signal
from warmstart.sim2real.deployment.runtime.log import Log
from warmstart.sim2real.deployment.runtime.loop import Runner
from warmstart.sim2real.deployment.runtime.policy import Policy
from warmstart.sim2real.deployment.runtime.robot import Reading
from warmstart.sim2real.deployment.runtime.safety import Limits, Watchdog
from warmstart.transfer.replaying.run_logs import read_run_log

CONTRACT = contract_of(signal("observation", 2), signal("action", 2), 200.0)
ZEROS = np.zeros(2, np.float32)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return Policy(write_linear(tmp_path_factory.mktemp("policy"), CONTRACT, np.eye(2), [0.5, 0]))


def run(policy, robot, path, seconds=0.1, limits=None, watchdog=None):
    """Run, and give the outcome with the log."""
    runner = Runner(policy, robot, limits, watchdog or Watchdog(stale_after=0.05, pause_after=0.5))
    log = Log(path, policy.contract, robot)
    try:
        outcome = runner.run(log, seconds)
    finally:
        log.close()
    return outcome, read_run_log(path)


def ends_stopped(log, robot, reason):
    """See that a log ends in a safe stop for that reason, and the robot at zeros."""
    assert reason in log.stop
    assert log.events[-1].startswith("stopped")
    assert robot.commands[-1].tolist() == [0, 0]
    assert robot.stopped


def test_it_acts_at_its_rate_until_the_time_is_up(policy, tmp_path):
    robot = FakeRobot(CONTRACT, lambda number: np.array([0.25, number / 1000], np.float32))
    outcome, log = run(policy, robot, tmp_path / "run.csv", 0.2)
    assert outcome.finished
    assert outcome.steps + outcome.missed == 40
    ends_stopped(log, robot, "the time is up")
    acted = log.acted & (log.columns["ended"] == 0)
    assert log.events[0] == "start"
    assert acted.sum() == outcome.steps
    np.testing.assert_allclose(log.table(log.action)[acted, 0], 0.75)
    seen = log.table(log.observations["observation"])[acted]
    np.testing.assert_allclose(log.table(log.policy)[acted], seen + np.array([0.5, 0]), rtol=1e-6)
    assert (log.columns["late"][acted] >= 0).all()
    assert "the time is up" in str(outcome)
    assert outcome.to_json()["steps"] == outcome.steps


def test_observations_that_stop_end_in_a_safe_stop(policy, tmp_path):
    robot = FakeRobot(CONTRACT, lambda number: ZEROS if number < 10 else None)
    outcome, log = run(policy, robot, tmp_path / "run.csv", 1.0)
    assert not outcome.finished
    ends_stopped(log, robot, "none comes any more")
    assert log.columns["age"][log.acted].max() < 0.05  # nothing older was acted on


def test_without_any_observation_nothing_but_the_safe_stop_is_commanded(policy, tmp_path):
    robot = FakeRobot(CONTRACT, lambda number: None)
    _, log = run(policy, robot, tmp_path / "run.csv", watchdog=Watchdog(first_within=0.05))
    ends_stopped(log, robot, "no observation came within 0.05 s")
    assert {tuple(command) for command in robot.commands} == {(0, 0)}
    assert np.isnan(log.table(log.observations["observation"])).all()


def test_some_nan_is_not_acted_on_and_survived(policy, tmp_path):
    robot = FakeRobot(CONTRACT, lambda number: np.array([np.nan if number % 5 == 0 else 0.25, 0], np.float32))
    outcome, log = run(policy, robot, tmp_path / "run.csv", 0.2)
    assert outcome.finished
    assert outcome.unsound > 3
    seen = log.table(log.observations["observation"])
    assert np.isfinite(seen[log.acted]).all()
    assert np.isnan(seen[:, 0]).sum() == outcome.unsound  # logged all the same
    assert "not acted on: no number for observation.0" in log.events
    assert np.isfinite(robot.commands).all()


def test_nan_that_stays_ends_in_a_safe_stop(policy, tmp_path):
    robot = FakeRobot(CONTRACT, lambda number: ZEROS if number < 10 else np.full(2, np.nan, np.float32))
    _, log = run(policy, robot, tmp_path / "run.csv", 1.0)
    ends_stopped(log, robot, "they hold no number for observation.0")
    robot = FakeRobot(CONTRACT, lambda number: np.full(2, np.nan, np.float32))
    _, log = run(policy, robot, tmp_path / "other.csv", watchdog=Watchdog(first_within=0.05))
    ends_stopped(log, robot, "those that came hold no number for observation.0")


def test_a_policy_that_gives_nan_ends_in_a_safe_stop(tmp_path):
    policy = Policy(write_linear(tmp_path / "policy", CONTRACT, np.eye(2) * 3e38, [0, 0]))
    robot = FakeRobot(CONTRACT, lambda number: ZEROS if number < 10 else np.array([0, 1e30], np.float32))
    _, log = run(policy, robot, tmp_path / "run.csv", 1.0)
    ends_stopped(log, robot, "the policy gave inf for action.1")
    assert np.isfinite(robot.commands).all()


def test_an_action_out_of_range_is_limited_and_logged(policy, tmp_path):
    robot = FakeRobot(CONTRACT, lambda number: np.array([7, -7], np.float32))
    outcome, log = run(policy, robot, tmp_path / "run.csv", limits=Limits(("action.0=x0.5",)))
    assert outcome.finished
    assert outcome.limited == outcome.steps
    acted = log.acted
    assert log.table(log.action)[acted].tolist() == [[0.5, -1]] * outcome.steps
    assert log.table(log.policy)[acted].tolist() == [[7.5, -7]] * outcome.steps
    assert set(log.columns["limited"][acted]) == {2}
    ends_stopped(log, robot, "the time is up")


def test_a_robot_whose_code_fails_is_stopped_and_the_failure_told(policy, tmp_path):
    class Failing(FakeRobot):
        def act(self, action):
            super().act(action)
            if len(self.commands) == 5:
                raise RuntimeError("the bus is gone")

    robot = Failing(CONTRACT)
    with pytest.raises(
        DeploymentError, match=r"safe stop since something failed\. RuntimeError: the bus is gone"
    ):
        run(policy, robot, tmp_path / "run.csv")
    ends_stopped(read_run_log(tmp_path / "run.csv"), robot, "RuntimeError: the bus is gone")


def test_a_robot_that_fails_in_the_safe_stop_too_is_stopped_as_far_as_it_goes(policy, tmp_path):
    class Dead(FakeRobot):
        def act(self, action):
            raise OSError("no such device")

    robot = Dead(CONTRACT)
    with pytest.raises(DeploymentError, match="no such device"):
        run(policy, robot, tmp_path / "run.csv")
    log = read_run_log(tmp_path / "run.csv")
    assert log.events[-1] == "stopped; OSError while stopping: no such device"
    assert robot.stopped


def test_a_runner_that_stood_still_ends_in_a_safe_stop(policy, tmp_path):
    class Slow(FakeRobot):
        def act(self, action):
            super().act(action)
            if len(self.commands) == 5:
                time.sleep(0.15)

    robot = Slow(CONTRACT)
    watchdog = Watchdog(stale_after=1.0, pause_after=0.1)
    outcome, log = run(policy, robot, tmp_path / "run.csv", 1.0, watchdog=watchdog)
    assert outcome.steps == 5
    ends_stopped(log, robot, "the runner stood still for 0.1")


def test_a_new_episode_makes_the_policy_forget_and_no_action_follows_the_last_observation(tmp_path):
    contract = counting_contract(200.0)
    policy = Policy(write_counting(tmp_path / "policy", contract))

    class Episodic(FakeRobot):
        def observe(self):
            found = super().observe()
            episode, step = divmod(found.number, 10)
            return replace(found, episode=episode, ended="terminated" if step == 9 else "", reward=1.0)

    robot = Episodic(contract)
    _, log = run(policy, robot, tmp_path / "run.csv", 0.15)
    acted = log.acted & log.news
    begins = np.flatnonzero(np.diff(log.columns["episode"][acted]) > 0) + 1
    assert len(begins) >= 1
    assert set(log.table(log.policy)[acted][begins, 0]) == {1}
    last = acted & (log.columns["ended"] == 1)
    assert last.any()
    assert np.isnan(log.table(log.policy)[last]).all()
    assert set(log.table(log.action)[last, 0]) == {0}
    assert set(log.columns["reward"][acted]) == {1}


def test_what_doesnt_fit_is_refused_before_anything_is_commanded(policy, tmp_path):
    robot = FakeRobot(replace(CONTRACT, rate=100.0))
    with pytest.raises(DeploymentError, match="the policy acts at 200 Hz, the robot at 100 Hz"):
        run(policy, robot, tmp_path / "run.csv")
    assert robot.commands == []
    assert not (tmp_path / "run.csv").exists()


def test_a_log_is_never_written_over(policy, tmp_path):
    (tmp_path / "run.csv").write_text("mine")
    with pytest.raises(DeploymentError, match=r"run\.csv is there already; a log is never written over"):
        Log(tmp_path / "run.csv", CONTRACT, FakeRobot(CONTRACT))
    assert (tmp_path / "run.csv").read_text() == "mine"


def test_a_safe_stop_keeps_to_the_rate_limit(policy, tmp_path):
    robot = FakeRobot(CONTRACT)
    run(policy, robot, tmp_path / "run.csv", 0.1, Limits(rate_limit=("*=10",)))
    commands = np.array(robot.commands)
    assert np.abs(np.diff(commands, axis=0)).max() <= 10 / 200 + 1e-6
    assert commands[:, 0].max() == pytest.approx(0.5)
    assert commands[-1].tolist() == [0, 0]


def test_seconds_that_never_end_are_the_default_and_sound():
    assert math.isinf(Runner.run.__defaults__[0])


def test_the_mean_of_all_pixels_stands_for_a_frame_and_names_are_told_apart(tmp_path):
    eye, other = (
        Signal("eye", (2, 2, 3), "uint8"),
        replace(signal("other", 1), dimensions=(Dimension("hip"),)),
    )
    contract = Contract("ppo", (eye, other), signal("action", 1), 10.0)
    robot = FakeRobot(contract)
    robot.measured = ("hip",)
    log = Log(tmp_path / "run.csv", contract, robot)
    values = {"eye": np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "other": np.float32([0.5])}
    log.write(Reading(1, 0.1, values, measured=np.array([0.75])), np.zeros(1), event='a "word", and more')
    log.close()
    found = read_run_log(tmp_path / "run.csv")
    assert found.observations == {"eye": ("eye.mean",), "other": ("other/hip",)}
    assert (found.columns["eye.mean"][0], found.columns["other/hip"][0], found.columns["hip"][0]) == (
        5.5,
        0.5,
        0.75,
    )
    assert found.events == ("a 'word', and more",)


def test_a_contract_without_a_rate_takes_the_robots_and_says_so(tmp_path):
    contract = replace(CONTRACT, rate=None)
    policy = Policy(write_linear(tmp_path / "policy", contract, np.eye(2)))
    outcome, _ = run(policy, FakeRobot(CONTRACT), tmp_path / "run.csv", 0.05)
    assert "The contract says no rate: the robot's was taken, 200 Hz." in str(outcome)
