"""The runner against a simulated robot that fails like hardware, in processes of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.sim2real.deployment.exported import contract_of, task_policy, write_linear
from tests.sim2real.deployment.exported import signal as signal_of
from warmstart.__main__ import main
from warmstart.core.errors import WarmstartError
from warmstart.envs.vector import make_vec
from warmstart.sim2real.deployment.copying import copy_runtime
from warmstart.sim2real.deployment.flaws import Flaws
from warmstart.sim2real.deployment.runtime.contract import DeploymentError, Dimension, Signal
from warmstart.sim2real.deployment.runtime.main import open_robot
from warmstart.sim2real.deployment.runtime.udp import MOST_BYTES, UdpRobot, Wire
from warmstart.sim2real.deployment.signals import observation_signals
from warmstart.sim2real.deployment.simulated import SimulatedRobot, simulated_robot
from warmstart.transfer.replaying.run_logs import read_run_log

TASK = "HalfCheetah-v5:frame_skip=1"  # 100 Hz, and it never falls
WIRE = Wire(
    50.0, (signal_of("observation", 2), Signal("eye", (2, 1), "uint8")), signal_of("action", 1), ("x",)
)
PATIENT = ("--pause-after=5", "--stale-after=5")
"""For runs that shall go on on a machine that is busy."""


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """An exported folder with its own runner."""
    folder = task_policy(tmp_path_factory.mktemp("policy"), TASK, gain=0.3)
    copy_runtime(folder)
    return folder


@pytest.fixture(scope="module")
def robot():
    """The address of a robot whose link is late and loses a tenth of the packets."""
    with simulated_robot(TASK, Flaws(delay_ms=2, jitter_ms=4, loss=0.1)) as address:
        yield address


def start(policy, address, log, *options):
    """Start an exported folder's own runner."""
    command = [sys.executable, "run.py", "--robot", address, "--log", str(log), *options]
    return subprocess.Popen(command, cwd=policy, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_rows(log, rows=10):
    """Wait until the loop has taken some steps."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        _, started, after = (log.read_bytes() if log.exists() else b"").partition(b'"start"')
        if started and after.count(b"\n") > rows:
            return
        time.sleep(0.01)
    raise AssertionError(f"{log} holds no {rows} steps")


def stopped(log, reason):
    """The log, which has to end in a safe stop for that reason."""
    found = read_run_log(log)
    assert re.search(reason, found.stop), found.stop
    assert found.events[-1] == "stopped"
    assert not found.table(found.action)[-1].any()
    return found


def test_a_tenth_of_the_packets_lost_is_survived(policy, robot, tmp_path):
    done = start(policy, robot, tmp_path / "run.csv", "--seconds=1", *PATIENT)
    out, err = done.communicate(timeout=30)
    assert done.returncode == 0, err
    log = stopped(tmp_path / "run.csv", "the time is up")
    assert 20 <= log.acted.sum() <= 100
    numbers = log.columns["number"][log.news & log.acted]
    assert (np.diff(numbers) > 1).any()  # some were lost
    trips = log.columns["round_trip"][np.isfinite(log.columns["round_trip"])]
    assert np.median(trips) > 0.004  # twice the delay
    assert np.isfinite(log.columns["reward"][log.acted][5:]).all()
    assert "Safe stop: the time is up" in out


def test_sigterm_ends_in_a_safe_stop(policy, robot, tmp_path):
    running = start(policy, robot, tmp_path / "run.csv", *PATIENT)
    wait_for_rows(tmp_path / "run.csv")
    running.terminate()
    running.communicate(timeout=30)
    assert running.returncode == 143
    stopped(tmp_path / "run.csv", "SIGTERM was received")


def test_a_process_stopped_and_resumed_ends_in_a_safe_stop(policy, robot, tmp_path):
    running = start(policy, robot, tmp_path / "run.csv", "--pause-after=0.3", "--stale-after=0.3")
    wait_for_rows(tmp_path / "run.csv")
    running.send_signal(signal.SIGSTOP)
    time.sleep(0.6)
    rows = (tmp_path / "run.csv").read_bytes().count(b"\n")
    running.send_signal(signal.SIGCONT)
    running.communicate(timeout=30)
    assert running.returncode == 1
    log = stopped(tmp_path / "run.csv", r"the runner stood still for 0\.|observation is 0\.")
    assert log.acted.sum() <= rows - 2 + 1  # no step on what was old


def test_a_runner_that_is_killed_leaves_a_log_and_a_robot_at_rest(policy, robot, tmp_path):
    running = start(policy, robot, tmp_path / "run.csv", *PATIENT)
    wait_for_rows(tmp_path / "run.csv")
    running.kill()
    running.communicate(timeout=30)
    log = read_run_log(tmp_path / "run.csv")
    assert log.stop == ""
    assert log.acted.sum() >= 10
    time.sleep(1.0)
    again = UdpRobot("127.0.0.1", int(robot.rpartition(":")[2]))
    time.sleep(0.1)
    reading = again.observe()
    again.close()
    assert np.abs(reading.measured[-6:]).max() < 1  # without commands its legs hang nearly still


def test_a_robot_that_is_killed_ends_in_a_safe_stop(policy, tmp_path):
    robot = subprocess.Popen(
        [sys.executable, "-m", "warmstart", "robot", TASK], stdout=subprocess.PIPE, text=True
    )
    options = ["--pause-after=5", "--stale-after=0.3"]
    running = start(policy, robot.stdout.readline().strip(), tmp_path / "run.csv", *options)
    wait_for_rows(tmp_path / "run.csv")
    robot.kill()
    robot.communicate()
    running.communicate(timeout=30)
    assert running.returncode == 1
    stopped(tmp_path / "run.csv", "none comes any more")


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ("--silent-after=0.3", "none comes any more"),
        ("--nan-after=0.3", "they hold no number for rootz.position"),
    ],
)
def test_the_command_survives_dead_sensors(policy, tmp_path, flaw, reason, capsys):
    log = tmp_path / "run.csv"
    options = ["--seconds=9", "--pause-after=5", "--stale-after=0.3", "--json"]
    assert main(["run", str(policy), f"--log={log}", flaw, *options]) == 1
    stopped(log, reason)
    said = json.loads(capsys.readouterr().out)
    assert reason in said["reason"]
    assert said["log"] == str(log)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "Hopper-v5"], "the policy acts at 100 Hz, the robot at 125 Hz"),
        (["--robot", "udp://127.0.0.1:1", "--task", TASK], "leave out them or --robot"),
        (["--robot", "udp://nowhere"], "Expected a robot as udp://HOST:PORT, found udp://nowhere"),
        (["--robot", "nowhere"], "Expected a robot as udp://HOST:PORT or module:Class, found nowhere"),
        (["--robot", "no_such_module:Robot"], "The robot no_such_module:Robot can't be made: No module"),
        (
            ["--robot", "json:JSONDecoder"],
            "json:JSONDecoder is no robot: it has no rate, observations, action",
        ),
        (["--limit", "leg=x0.5", "--log", "run.csv"], "--limit leg=x0.5: no action is called so"),
        (["--stale-after=0"], "--stale-after: expected seconds above 0"),
        (["--seconds=0"], "Expected to run for more than 0 s"),
        (["--loss=1.5"], "loss"),
    ],
)
def test_mistakes_are_named_and_nothing_is_commanded(policy, words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(policy), *words]) == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_the_exported_runner_needs_neither_this_package_nor_torch_nor_mujoco(policy):
    code = (
        "import sys, runtime.main; from runtime.policy import Policy; Policy('.');"
        "print(sorted({name.partition('.')[0] for name in sys.modules}"
        " & {'warmstart', 'torch', 'mujoco', 'gymnasium', 'scipy'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=policy, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    helped = subprocess.run(
        [sys.executable, "run.py", "--help"], cwd=policy, capture_output=True, text=True, check=True
    )
    assert "--rate-limit NAME=RATE" in helped.stdout


def test_the_documents_own_robot_is_run(tmp_path):
    text = (Path(__file__).parents[3] / "docs/deploying.md").read_text()
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", text, flags=re.S) if "class Arm" in c)
    seen = Signal(
        "observation",
        (2,),
        "float32",
        (Dimension("hinge.angle", "rad"), Dimension("hinge.velocity", "rad/s")),
    )
    action = Signal("action", (1,), "float32", (Dimension("hinge.torque", "N m", -1.0, 1.0),))
    folder = write_linear(tmp_path / "policy", contract_of(seen, action, 100.0), np.zeros((2, 1)), [0.5])
    copy_runtime(folder)
    (folder / "arm.py").write_text(code)
    running = start(folder, "arm:Arm", tmp_path / "run.csv", "--seconds=0.2", *PATIENT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 0, err
    log = stopped(tmp_path / "run.csv", "the time is up")
    assert set(log.table(log.action)[log.acted, 0]) == {0.5}
    (folder / "arm.py").write_text(code.replace("        ...", "        raise OSError('no such bus')"))
    running = start(folder, "arm:Arm", tmp_path / "other.csv")
    _, err = running.communicate(timeout=30)
    assert running.returncode == 1
    assert "The run ended in a safe stop since something failed. OSError: no such bus" in err


def test_a_simulated_robot_is_a_mujoco_task_with_actuators():
    with pytest.raises(
        WarmstartError, match="Expected a MuJoCo task as a simulated robot, found CartPole-v1"
    ):
        SimulatedRobot("CartPole-v1")
    with pytest.raises(WarmstartError, match=r"takes actuators' values, .* choices"):
        SimulatedRobot("InvertedPendulum-v5:action_bins=3")
    with pytest.raises(WarmstartError, match="The port 70000 can't be listened at"):
        SimulatedRobot("InvertedPendulum-v5", port=70_000)
    with pytest.raises(WarmstartError, match=r"The simulated robot didn't start\. .*NoSuch-v0"):
        simulated_robot("NoSuch-v0").__enter__()


def test_packets_hold_what_was_put_in():
    values = {"observation": np.array([1.5, -2], np.float32), "eye": np.array([[3], [4]], np.uint8)}
    packet = WIRE.pack(7, 0.25, values, np.array([9.0]), episode=2, known=5, reward=-0.5, ended="truncated")
    found = WIRE.unpack(packet, 10.0, {5: 9.5})
    assert (found.number, found.time, found.episode, found.reward) == (7, 0.25, 2, -0.5)
    assert (found.ended, found.arrived, found.answered) == ("truncated", 10.0, 9.5)
    assert found.values["observation"].tolist() == [1.5, -2]
    assert found.values["eye"].tolist() == [[3], [4]]
    assert found.measured.tolist() == [9]
    assert WIRE.unpack(WIRE.pack(8, 0.5, values, np.zeros(1)), 0.0, {}).reward is None
    number, action = WIRE.unpack_command(WIRE.pack_command(3, np.array([0.5])))
    assert (number, action.tolist()) == (3, [0.5])


def test_a_robots_description_is_read_as_it_was_written():
    assert Wire.read(WIRE.description(), "there") == WIRE
    assert len(WIRE.description()) < MOST_BYTES


@pytest.mark.parametrize("length", [0, 3, 20, 36])
def test_damaged_packets_are_no_observations(length):
    values = {"observation": np.zeros(2, np.float32), "eye": np.zeros((2, 1), np.uint8)}
    packet = WIRE.pack(1, 0.0, values, np.zeros(1))
    assert WIRE.unpack(packet[:length], 0.0, {}) is None
    assert WIRE.unpack(b"XXXX" + packet[4:], 0.0, {}) is None
    assert WIRE.unpack(packet[:16] + b"\xff" + packet[17:], 0.0, {}) is None
    assert WIRE.unpack_command(WIRE.pack_command(1, np.zeros(1))[: min(length, 11)]) is None


@pytest.mark.parametrize(
    "text", [b"", b"[]", b'{"rate": 1}', b"{", b'{"rate":1,"observations":[{"name":1}]}']
)
def test_a_description_that_is_none_is_refused(text):
    with pytest.raises(DeploymentError, match="there describes itself in a way that isn't understood"):
        Wire.read(b"WSd1" + text, "there")


def test_nobody_at_the_address_is_told(monkeypatch):
    monkeypatch.setattr("warmstart.sim2real.deployment.runtime.udp._ASK_SECONDS", 0.2)
    with pytest.raises(DeploymentError, match=r"No robot answered at udp://127\.0\.0\.1:9 within"):
        open_robot("udp://127.0.0.1:9")


def test_an_attached_robot_ends_with_who_started_it():
    robot = subprocess.Popen(
        [sys.executable, "-m", "warmstart", "robot", "InvertedPendulum-v5", "--attached"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert robot.stdout.readline().startswith(b"udp://127.0.0.1:")
    robot.stdin.close()
    assert robot.wait(10) == 0
    robot.stdout.close()


def test_frames_and_a_state_beside_them_are_signals():
    env = make_vec("InvertedPendulum-v5:obs=pixels+state", 1, 0)
    try:
        frames, state = observation_signals(env)
    finally:
        env.close()
    assert (frames.name, frames.shape, frames.dtype, frames.dimensions) == (
        "pixels",
        (84, 84, 3),
        "uint8",
        (),
    )
    assert [each.name for each in state.dimensions][:2] == ["slider.position", "hinge.angle"]
