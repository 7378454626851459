"""Logs of runs as steps to learn from."""

from dataclasses import replace

import numpy as np
import pytest

from tests.sim2real.deployment.exported import FakeRobot, contract_of, signal
from tests.transfer.conftest import build
from tests.transfer.methods.test_every_method import OURS
from warmstart.core.errors import WarmstartError
from warmstart.sim2real.deployment.runtime.log import Log
from warmstart.sim2real.deployment.runtime.robot import Reading
from warmstart.transfer.replaying.logs import read_log
from warmstart.transfer.warm_start import warm_start

CONTRACT = contract_of(signal("observation", 1), signal("action", 1), 10.0)


def write(path, rows, contract=CONTRACT):
    """A log of rows: number, observation, command (None: not acted on), episode, ended, reward."""
    log = Log(path, contract, FakeRobot(contract))
    for number, seen, command, episode, ended, reward in rows:
        values = {s.name: np.full(s.shape, seen, s.dtype) for s in contract.observations}
        reading = Reading(number, number / 10, values, 0.0, episode, reward, ended)
        acted = (0.0,) * 5 if command is not None else (np.nan,) * 5
        log.write(reading, np.array([command or 0.0]), np.array([command or 0.0]), acted)
    log.close()
    return path


def test_steps_by_hand(tmp_path):
    rows = [
        (1, 0.1, 1.0, 0, "", None),
        (2, 0.2, 2.0, 0, "", 5.0),
        (2, 0.2, 3.0, 0, "", 5.0),  # no news
        (3, 0.3, None, 0, "", 6.0),  # came late, wasn't acted on
        (4, 0.4, 4.0, 0, "", 7.0),
        (6, 0.6, 5.0, 0, "", 8.0),  # 5 was lost
        (7, 0.7, 6.0, 0, "terminated", 9.0),
        (8, 0.8, 7.0, 1, "", None),
    ]
    steps = read_log(write(tmp_path / "run.csv", rows))
    assert steps.observations[:, 0].tolist() == pytest.approx([0.1, 0.2, 0.6])
    assert steps.actions[:, 0].tolist() == [1, 2, 5]
    assert steps.rewards.tolist() == [5, 6, 9]
    assert steps.next_observations[:, 0].tolist() == pytest.approx([0.2, 0.3, 0.7])
    assert steps.terminated.tolist() == [False, False, True]


def test_what_holds_no_steps_is_refused(tmp_path, envs):
    with pytest.raises(WarmstartError, match="no two observations follow each other"):
        read_log(write(tmp_path / "one.csv", [(1, 0.1, 1.0, 0, "", None), (3, 0.1, 1.0, 0, "", None)]))
    two = replace(CONTRACT, observations=(signal("observation", 1), signal("other", 1)))
    with pytest.raises(
        WarmstartError, match=r"expected one signal of observations .* found observation, other"
    ):
        read_log(write(tmp_path / "two.csv", [(1, 0.1, 1.0, 0, "", None)], two))
    with pytest.raises(WarmstartError, match=r"data: expected minari:ID, .* or PATH\.csv, a run's log"):
        warm_start(build("sac", envs("Hopper-v5"), classes=OURS), None, "rlpd", data="run", seed=0)


def test_without_rewards_there_is_nothing_to_learn_by_reward(tmp_path, envs):
    contract = contract_of(signal("observation", 4), signal("action", 1), 25.0)
    rows = [(k, 0.1 * k, 0.5, 0, "", None) for k in range(1, 9)]
    path = write(tmp_path / "run.csv", rows, contract)
    model = build("sac", envs("InvertedPendulum-v5"), classes=OURS)
    with pytest.raises(WarmstartError, match="holds steps without a reward: rlpd needs them"):
        warm_start(model, None, "rlpd", data=str(path), seed=0)


def test_steps_of_a_log_are_learnt_from(tmp_path, envs):
    contract = contract_of(signal("observation", 4), signal("action", 1), 25.0)
    rows = [(k, 0.01 * k, 0.5, 0, "", 1.0) for k in range(1, 30)]
    path = write(tmp_path / "run.csv", rows, contract)
    model = build("sac", envs("InvertedPendulum-v5"), classes=OURS, learning_starts=16)
    report = warm_start(model, None, "rlpd", data=str(path), seed=0)
    assert f"28 steps of {path}." in report.notes
    model.learn(24, reset_num_timesteps=False)
    other = build("sac", envs("Hopper-v5"), classes=OURS)
    with pytest.raises(WarmstartError, match=r"observations have the shape \(4,\), the target's \(11,\)"):
        warm_start(other, None, "rlpd", data=str(path), seed=0)
