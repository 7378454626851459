"""What a run's log tells, against numbers by hand; the command, its report and its scalars."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.sim2real.deployment.exported import FakeRobot, contract_of, signal
from warmstart.__main__ import main
from warmstart.core.errors import WarmstartError
from warmstart.sim2real.deployment.monitor import monitor
from warmstart.sim2real.deployment.runtime.contract import Statistics
from warmstart.sim2real.deployment.runtime.log import Log
from warmstart.sim2real.deployment.runtime.robot import Reading
from warmstart.sim2real.deployment.scalars import names_of, windows
from warmstart.transfer.replaying.run_logs import read_run_log

RATE = 100.0
STATISTICS = {
    "observation": Statistics((0.0, 10.0), (1.0, 2.0), (-3.0, 0.0), (3.0, 20.0)),
    "action": Statistics((0.0,), (0.5,), (-1.0,), (1.0,)),
}
CONTRACT = contract_of(
    signal("observation", 2),
    signal("action", 1),
    RATE,
    task="Robot-v0",
    statistics=STATISTICS,
    trained={"return": 12.5},
)
RNG = np.random.default_rng(0)
USUAL = np.stack([RNG.normal(0, 1, 400).clip(-3, 3), RNG.normal(10, 2, 400).clip(0, 20)], axis=1)


def moved(seen, *by):
    """Observations with something added to each dimension."""
    return seen + np.array(by, float)


def write(path, observations=USUAL, contract=CONTRACT, wanted=None, rewards=None, episode=None, stop=True):
    """A log of a run whose steps come 1 ms late, and which loses nothing."""
    log = Log(path, contract, FakeRobot(contract))
    wanted = USUAL[: len(observations), 0] / 2 if wanted is None else np.asarray(wanted, float)
    for k, seen in enumerate(observations):
        reading = Reading(
            k + 1,
            k / RATE,
            {"observation": seen.astype(np.float32)},
            0.0,
            0 if episode is None else episode[k],
            None if rewards is None else rewards[k],
            "terminated"
            if episode is not None and k + 1 < len(episode) and episode[k + 1] > episode[k]
            else "",
        )
        timing = (k / RATE, 0.001, 0.002, 0.004, 0.01)
        asked = wanted[k : k + 1]
        log.write(reading, asked.clip(-1, 1), asked, timing, int(abs(wanted[k]) > 1))
    if stop:
        log.write(reading, np.zeros(1), event="safe stop: the time is up")
    log.close()
    return path


def test_what_drifted_not_at_all_is_no_alarm(tmp_path):
    found = monitor(write(tmp_path / "run.csv"))
    assert found.alarms == ()
    assert [each.name for each in found.drift] == ["observation.0", "observation.1", "action.0"]
    first = found.drift[0]
    assert first.shift == pytest.approx(USUAL[:, 0].mean(), abs=1e-6)
    batches = USUAL[:, 0].reshape(10, 40).mean(axis=1)
    assert first.error == pytest.approx(batches.std(ddof=1) / math.sqrt(10), rel=1e-5)
    assert (found.steps, found.missed, found.lost, found.stop) == (400, 0, 0.0, "the time is up")
    assert found.times["late"] == pytest.approx({"p50": 1, "p99": 1, "max": 1})
    assert found.times["round_trip"]["p99"] == pytest.approx(10)
    assert found.trained_return == 12.5
    assert found.returns == ()
    assert "The robot told no reward, so there is no return." in found.notes


@pytest.mark.parametrize(
    ("change", "alarm"),
    [
        (
            lambda seen: moved(seen, 0, 2),
            "observation.1: its mean is +1.0 standard deviations from training's",
        ),
        (lambda seen: seen * np.array([0.3, 1]), "observation.0: it varies 0."),
        (
            lambda seen: np.where(np.arange(400)[:, None] % 20 == 0, [0, 25], seen),
            "observation.1: 5% of it lies",
        ),
    ],
)
def test_what_drifted_is_an_alarm(tmp_path, change, alarm):
    found = monitor(write(tmp_path / "run.csv", change(USUAL)))
    assert next(each for each in found.alarms if each.startswith("observation")).startswith(alarm)
    assert sum(each.startswith("observation") for each in found.alarms) == 1


def test_a_mean_that_may_have_moved_by_chance_is_no_alarm(tmp_path):
    slow = np.repeat(np.array([-1.5, 2.5, -1.5, 2.5, -1.5, 2.5, -1.0, 2.5, 2.0, 1.0]), 40)
    seen = np.stack([slow, USUAL[:, 1]], axis=1)
    found = monitor(write(tmp_path / "run.csv", seen)).drift[0]
    assert found.shift > 0.5
    assert "mean" not in found.alarm


def test_a_constant_that_changes_is_an_alarm(tmp_path):
    still = Statistics((1.0, 10.0), (0.0, 2.0), (1.0, 0.0), (1.0, 20.0))
    contract = replace(CONTRACT, statistics={"observation": still})
    seen = np.stack([np.ones(400), USUAL[:, 1]], axis=1)
    assert monitor(write(tmp_path / "same.csv", seen, contract)).alarms == ()
    (alarm,) = monitor(write(tmp_path / "other.csv", moved(seen, 0.1, 0), contract)).alarms
    assert (
        alarm
        == "observation.0: it never changed in training, 100% of it lies outside of all that training saw"
    )


def test_few_observations_are_not_judged(tmp_path):
    found = monitor(write(tmp_path / "run.csv", USUAL[:99] + 100))
    assert found.alarms == ()
    assert "Drift isn't judged below 100 observations; there are 99." in found.notes


def test_without_statistics_no_drift_is_told(tmp_path):
    found = monitor(write(tmp_path / "run.csv", contract=replace(CONTRACT, statistics={})))
    assert found.drift == ()
    assert "The contract holds no statistics of observation: no drift can be told there." in found.notes


def test_saturation_and_returns_by_hand(tmp_path):
    wanted = [2, 2, -1, 0.5, -0.9995, 1, 0, 0]
    rewards = [None, 1, 2, 3, None, 5, 6, 7]
    path = write(tmp_path / "run.csv", USUAL[:8], wanted=wanted, rewards=rewards, episode=[0] * 4 + [1] * 4)
    found = monitor(path)
    (saturation,) = found.saturation
    assert (saturation.low, saturation.high, saturation.limited) == (2 / 8, 3 / 8, 2 / 8)
    assert (found.returns, found.unfinished) == ((6,), (18,))
    rest = "18.0 in 3 steps of an episode that wasn't seen to its end; 12.5 in a whole episode in training"
    assert found.told_returns() == f"returns 6.0; {rest}"


def test_a_log_that_was_cut_says_so(tmp_path):
    found = monitor(write(tmp_path / "run.csv", stop=False))
    assert found.stop == ""
    assert "The log says no end: it was cut, or the run goes on." in found.notes


def test_windows_by_hand(tmp_path):
    seen = np.concatenate([USUAL[:200], moved(USUAL[:200], 1, 0)])
    log = read_run_log(write(tmp_path / "run.csv", seen, wanted=[0] * 200 + [1] * 200))
    one, two = windows(log, 2.0)
    assert (one[0], two[0]) == (200, 400)
    assert (one[1], two[1]) == (1.0, 3.0)
    assert (one[2]["saturation/action.0"], two[2]["saturation/action.0"]) == (0, 1)
    assert two[2]["drift/observation.0"] - one[2]["drift/observation.0"] == pytest.approx(1, abs=1e-5)
    assert two[2]["latency/late_p99_ms"] == pytest.approx(1)


def test_the_command_writes_a_report_and_scalars(tmp_path, capsys):
    good = write(tmp_path / "good.csv", rewards=np.ones(400), episode=[0] * 200 + [1] * 200)
    bad = write(tmp_path / "bad.csv", moved(USUAL, 0, 4))
    out = tmp_path / "out"
    assert main(["monitor", str(good), "--out", str(out)]) == 0
    assert "alarms: 0" in capsys.readouterr().out
    assert main(["monitor", str(good), str(bad), "--out", str(out), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [len(each["alarms"]) for each in told] == [0, 1]
    page = (out / "report.html").read_text()
    assert "observation.1: its mean is +2.0 standard deviations from training" in page
    assert "Robot-v0" in page
    assert "http" not in page.replace("http-equiv", "")
    events = EventAccumulator(str(out / "tensorboard" / "good")).Reload()
    assert [each.step for each in events.Scalars("latency/late_p50_ms")] == [100, 200, 300, 400]
    assert [each.value for each in events.Scalars("episode/return")] == [200]  # the other has no end
    assert "drift/observation.1" in events.Tags()["scalars"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Expected at least one log of a run, found none"),
        (["{log}", "--window=0"], "Expected a window of more than 0 s, found 0.0"),
        (["{other}"], "Expected a run's log in"),
    ],
)
def test_mistakes_are_named(words, message, tmp_path, capsys):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    paths = {"log": write(tmp_path / "run.csv"), "other": tmp_path / "other.csv"}
    assert main(["monitor", *(word.format(**paths) for word in words), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_contract_in_a_log_that_is_none_is_refused(tmp_path):
    path = write(tmp_path / "run.csv")
    path.write_text(path.read_text().replace('"algorithm": "ppo"', '"algorithn": "ppo"', 1))
    with pytest.raises(WarmstartError, match=r"the contract in .*: contract has no 'algorithn'"):
        monitor(path)


def test_logs_of_the_same_name_are_told_apart(tmp_path):
    assert names_of([tmp_path / "a/run.csv", tmp_path / "b/run.csv", tmp_path / "c.csv"]) == [
        "run-1",
        "run-2",
        "c",
    ]
