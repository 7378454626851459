"""Logs of real runs as what they are for: recordings to identify from, and steps to learn from."""

import contextlib
import threading

import numpy as np
import pytest

from tests.sim2real.deployment.exported import task_policy
from tests.transfer.replaying.test_logs import write
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.deployment.flaws import Flaws
from warmstart.sim2real.deployment.runtime.main import open_robot, run_policy
from warmstart.sim2real.deployment.runtime.safety import Watchdog
from warmstart.sim2real.deployment.simulated import SimulatedRobot
from warmstart.sim2real.identification.identify import identify
from warmstart.sim2real.identification.settings import IdentifySettings
from warmstart.sim2real.recordings.files import read_recordings
from warmstart.transfer.replaying.logs import read_log
from warmstart.transfer.replaying.run_logs import read_run_log

CHEETAH = "HalfCheetah-v5:frame_skip=1"
PATIENT = Watchdog(stale_after=5, pause_after=5)


@contextlib.contextmanager
def robot_of(task, flaws=None):
    """A simulated robot in a thread of this process."""
    robot = SimulatedRobot(task, flaws)

    def serve():
        with contextlib.suppress(OSError, ValueError):  # its socket is closed in the end
            robot.serve()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield open_robot(robot.address)
    finally:
        robot._socket.close()
        thread.join(5)
        robot._env.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Two seconds of a robot with weaker drives."""
    folder = tmp_path_factory.mktemp("run")
    task_policy(folder / "policy", CHEETAH, gain=3.0)
    with robot_of(f"{CHEETAH}@gear=x0.8", Flaws(loss=0.02)) as robot:
        outcome, path = run_policy(folder / "policy", robot, folder / "run.csv", 2.0, watchdog=PATIENT)
        robot.close()
    assert outcome.finished
    return path


def test_a_changed_parameter_is_identified_from_a_log_as_it_is(log):
    task = Task.parse(CHEETAH)
    recorded = read_recordings(log, task)
    settings = IdentifySettings(parameters={"gear": "x0.5:x1.5"}, delay=(0, 1), window=0.1)
    found = identify(task, recorded, {"gear": "x0.5:x1.5"}, settings, seed=0, n_threads=1)
    assert found.accepted
    assert "gear=x0.8" in found.task_text


def test_a_log_holds_the_steps_that_were_taken(log):
    steps, whole = read_log(log), read_run_log(log)
    assert len(steps) > 100
    assert np.isfinite(steps.rewards).all()
    assert np.abs(steps.actions).max() <= 1
    assert not (steps.terminated | steps.truncated).any()
    angles = whole.table(whole.measured)[:, 1]  # observations hold rootz.position first
    assert np.abs(steps.observations[:, :1] - angles).min(axis=1).max() < 1e-6


def test_what_stood_before_the_first_command_is_no_motion(log):
    whole = read_run_log(log)
    knows = whole.columns["number"][np.isfinite(whole.columns["round_trip"])][0]
    first = read_recordings(log, Task.parse(CHEETAH))[0]
    assert first.time[0] * 100 > knows - 1.5
    assert not np.allclose(first.qpos[0], first.qpos[1])


def test_a_log_without_enough_in_a_row_is_no_recording(tmp_path):
    rows = [(k, 0.1, 0.5, 0, "", None) for k in (1, 2, 3, 5, 6, 7)]
    with pytest.raises(WarmstartError, match="nowhere did 4 observations come in a row"):
        read_recordings(write(tmp_path / "run.csv", rows), Task.parse("InvertedPendulum-v5"))
