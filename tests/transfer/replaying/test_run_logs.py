"""Logs of runs: what is read of them, and what is refused."""

import json

import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.transfer.replaying.run_logs import HEAD, is_run_log, read_run_log

HEADER = {
    "format": 1,
    "rate": 10.0,
    "measured": ["hip.angle"],
    "observations": {"observation": ["observation/hip.angle"]},
    "action": ["hip.torque"],
    "policy": ["policy/hip.torque"],
    "contract": {},
}
NAMES = (
    "time,episode,number,hip.angle,observation/hip.angle,hip.torque,policy/hip.torque,"
    "reward,ended,clock,late,compute,age,round_trip,limited,event"
)
ROWS = (
    '0,0,1,0.5,0.5,1,2,nan,0,0,0.001,0.002,0.003,nan,1,"start"',
    "0,0,1,0.5,0.5,1,2,nan,0,0.1,0,0.002,0.103,nan,1,",
    "0.2,0,3,0.6,0.6,-1,-1,nan,0,0.2,0,0.002,0.003,0.01,0,",
    '0.2,0,3,0.6,0.6,0,nan,nan,0,0.3,nan,nan,nan,nan,0,"safe stop: it fell, badly"',
)


def write(path, rows=ROWS, names=NAMES, end="\n", **changes):
    head = json.dumps(HEADER | changes)
    path.write_text(f"{HEAD}{head}\n{names}\n" + "\n".join(rows) + end)
    return path


def test_a_log_by_hand(tmp_path):
    log = read_run_log(write(tmp_path / "run.csv"))
    assert is_run_log(tmp_path / "run.csv")
    assert log.table(log.action)[:, 0].tolist() == [1, 1, -1, 0]
    assert log.news.tolist() == [True, False, True, False]
    assert log.acted.tolist() == [True, True, True, False]
    assert log.stop == "it fell, badly"
    assert log.notes == ()
    np.testing.assert_array_equal(log.columns["reward"], [np.nan] * 4)


def test_half_a_row_at_the_end_is_left_out_and_told(tmp_path):
    log = read_run_log(write(tmp_path / "run.csv", [*ROWS, "0.3,0,4,0."], end=""))
    assert len(log.events) == 4
    assert log.notes == (f"{tmp_path / 'run.csv'}: the last row was cut; it is left out.",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "Expected a run's log of format 1 in .*, found 2"),
        ({"rate": 0}, "line 1: its columns, rate or contract aren't those of a log"),
        ({"measured": [1]}, "line 1: its columns, rate or contract aren't those of a log"),
        ({"action": ["knee.torque"]}, "line 2: expected the columns .* found no column 'knee.torque'"),
        ({"rows": ["0,0"]}, "line 3: expected 15 numbers and an event"),
        ({"rows": [ROWS[0], ROWS[1].replace("0.5", "x")]}, "line 4: expected 15 numbers and an event"),
        ({"rows": ["0,0,1"], "end": ""}, "has no row: the run ended before its first step"),
        ({"names": NAMES.replace("time", "number")}, "line 2: expected the columns"),
    ],
)
def test_what_is_no_log_is_refused(change, message, tmp_path):
    with pytest.raises(WarmstartError, match=message):
        read_run_log(write(tmp_path / "run.csv", **change))


def test_another_file_is_no_log(tmp_path):
    (tmp_path / "other.csv").write_text("time,x\n1,2\n")
    assert not is_run_log(tmp_path / "other.csv")
    assert not is_run_log(tmp_path / "none.csv")
    with pytest.raises(WarmstartError, match=r"Expected a run's log in .*other\.csv"):
        read_run_log(tmp_path / "other.csv")
