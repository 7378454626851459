"""Measures of similarity by hand, a balancing agent in tasks where it must or can't work, and the advice."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.transfer.conftest import build, disturb
from tests.transfer.methods.test_every_method import OURS
from tests.transfer.methods.test_guarded import source_of
from warmstart.__main__ import main
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.sb3_files.written import write_sb3_zip
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.source import read_source
from warmstart.transfer.similarity.measures import Measure, dynamics, zero_shot
from warmstart.transfer.similarity.playing import Played, play, teacher_for
from warmstart.transfer.similarity.similarity import judged, similarity

TASK = "InvertedPendulum-v5"
SHORT = f"{TASK}:time_limit=100"


def played(*returns):
    n = len(returns)
    return Played(
        np.array(returns, float),
        np.zeros((1, n, 1)),
        np.zeros((1, n, 1)),
        np.zeros((1, n)),
        np.ones((1, n), bool),
        np.ones(n, bool),
    )


def test_zero_shot_is_a_share_of_the_sources_own_advantage() -> None:
    rng = np.random.default_rng(0)
    found = zero_shot(played(30.0, 50.0), played(10.0), played(110.0), played(50.0, 10.0), rng)
    assert found.value == pytest.approx((40 - 10) / (110 - 30))
    assert found.low == pytest.approx(20 / 100)
    assert found.high == pytest.approx(40 / 60)
    nothing = zero_shot(played(3.0), played(1.0), played(1.0), played(1.0), rng)
    assert math.isnan(nothing.value)


def test_discounted_returns_end_with_the_episode() -> None:
    rewards = np.ones((4, 2))
    running = np.array([[1, 1], [1, 1], [0, 1], [0, 1]], bool)
    each = Played(np.zeros(2), np.zeros((4, 2, 1)), np.zeros((4, 2, 1)), rewards, running, np.ones(2, bool))
    np.testing.assert_allclose(each.discounted(0.5)[:, 0], [1.5, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(each.discounted(0.5)[:, 1], [1.875, 1.75, 1.5, 1.0])
    assert each.steps == 6


def test_playing_keeps_first_episodes_and_repeats() -> None:
    one, two = (play(Task.parse(SHORT), None, 3, seed=1) for _ in range(2))
    np.testing.assert_array_equal(one.actions, two.actions)
    assert one.terminated.all()
    assert not play(Task.parse(f"{TASK}:time_limit=2"), None, 3, seed=1).terminated.any()
    with pytest.raises(WarmstartError, match="observes frames; only states are compared"):
        play(Task.parse("Reacher-v5:obs=pixels"), None, 1, seed=0)
    assert one.returns.tolist() == (one.running.sum(0) - 1).tolist()  # a point for each step but the fall


@pytest.mark.parametrize(("target", "low", "high"), [(TASK, 0.0, 0.0), (f"{TASK}@pole.mass=x4", 0.05, 5.0)])
def test_the_same_physics_move_alike(target, low, high, envs) -> None:
    source = read_source(source_of("ppo", envs, 4.0), source_task=TASK)
    task = Task.parse(target)
    teacher = teacher_for(source, task, TransferContext(np.random.default_rng(0)))
    found = dynamics(Task.parse(TASK), task, teacher, 40, seed=0)
    assert low <= found.value <= high
    other = dynamics(Task.parse("Hopper-v5"), task, teacher, 10, seed=0)
    assert math.isnan(other.value)
    assert "another body" in other.meaning
    limp = dynamics(Task.parse("Ant-v5"), Task.parse("Ant-v5:without=[hip_4,ankle_4]"), teacher, 10, seed=0)
    assert math.isnan(limp.value)
    assert "can't be built like that" in limp.meaning


def test_who_balances_there_is_told_to_go_on(envs) -> None:
    source = read_source(source_of("ppo", envs, 4.0))
    found = similarity(source, f"{SHORT}@pole.mass=x1.2", episodes=4, source_task=SHORT)
    share = found.measure("zero-shot return")
    assert share.low > 0.8
    assert (found.outlook, found.method) == ("helps", "fine_tune")
    ends = (found.predicted, found.predicted_low, found.predicted_high)
    assert ends == pytest.approx([max(z / 2, z - 0.5) for z in (share.value, share.low, share.high)])
    assert 0.4 <= found.measure("visited observations").value <= 1.0
    assert found.steps > 400
    again = similarity(source, f"{SHORT}@pole.mass=x1.2", episodes=4, source_task=SHORT)
    assert json.dumps(again.to_json()) == json.dumps(found.to_json())


def test_who_pushes_the_wrong_way_is_told_to_be_careful(envs) -> None:
    source = read_source(source_of("ppo", envs, 4.0))
    found = similarity(source, f"{SHORT}@actuator.*.gear=x-1", episodes=4, source_task=SHORT)
    assert found.method == "guarded"
    assert found.outlook in ("hurts", "open")
    assert found.predicted <= 0


def measures(value, low, high, moves=math.nan):
    return (
        Measure("zero-shot return", value, low, high, ""),
        Measure("one-step dynamics", moves, moves, moves, ""),
    )


@pytest.mark.parametrize(
    ("share", "moves", "algorithm", "outlook", "method"),
    [
        ((0.9, 0.7, 1.1), 0.1, "sac", "helps", "fine_tune"),
        ((0.9, 0.7, 1.1), 0.1, "ppo", "helps", "kickstart"),
        ((-0.4, -0.6, -0.2), 0.1, "sac", "hurts", "guarded"),
        ((0.05, -0.1, 0.2), 0.1, "sac", "open", "rlpd"),
        ((0.05, -0.1, 0.2), 0.9, "sac", "open", "guarded"),
        ((0.05, -0.1, 0.2), 0.1, "ppo", "open", "kickstart"),
        ((-0.4, -0.6, -0.2), 0.1, "ppo", "hurts", "scratch"),
        ((math.nan, math.nan, math.nan), 0.1, "sac", "hurts", "scratch"),
    ],
)
def test_the_advice(share, moves, algorithm, outlook, method, envs) -> None:
    source = read_source(build("sac", envs(TASK), classes=OURS))
    found = judged(measures(*share, moves), source, algorithm)
    assert found[:2] == (outlook, method)
    assert found[2].endswith(".")


@pytest.mark.parametrize(("algorithm", "method"), [("sac", "fine_tune"), ("ppo", "scratch")])
def test_of_a_source_without_reward_returns_tell_nothing(algorithm, method, envs) -> None:
    source = replace(read_source(build("sac", envs(TASK), classes=OURS)), reward={"name": "state_entropy"})
    for share in ((math.nan, math.nan, math.nan), (0.9, 0.7, 1.1)):
        assert judged(measures(*share, 0.1), source, algorithm)[:2] == ("open", method)


def test_the_command(envs, tmp_path, capsys) -> None:
    model = disturb(build("sac", envs(TASK), seed=1, classes=OURS))
    save_checkpoint(model, tmp_path / "source", task=SHORT)
    assert main(["similarity", str(tmp_path / "source"), f"{SHORT}@pole.mass=x2", "--episodes", "4"]) == 0
    told = capsys.readouterr()
    assert "zero-shot return" in told.out
    assert "Outlook:" in told.out
    assert "steps were taken in the target" in told.err
    write_sb3_zip(read_source(tmp_path / "source"), tmp_path / "foreign.zip")
    words = ["similarity", str(tmp_path / "foreign.zip"), SHORT, "--episodes", "4", "--source-task", SHORT]
    assert main(words) == 0
    assert "An SB3 zip holds no VecNormalize statistics" in capsys.readouterr().err
    words = ["similarity", str(tmp_path / "source"), "Hopper-v5"]
    assert main(words) == 2
    assert "Nothing to carry" in capsys.readouterr().err
    assert (
        main(["similarity", str(tmp_path / "source"), TASK, "--observation-map", "hinge.angel=hinge.angle"])
        == 2
    )
    assert "Did you mean 'hinge.angle'" in capsys.readouterr().err


def test_a_source_without_a_task_is_refused(envs) -> None:
    source = replace(read_source(build("ppo", envs(TASK))), task=None)
    with pytest.raises(WarmstartError, match="give source_task"):
        similarity(source, TASK)
