"""What is missing of logs, and what was taken for one run, is told."""

import time

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from warmstart.core.errors import WarmstartError
from warmstart.experiments.foreign.events import read_events
from warmstart.experiments.foreign.monitors import read_monitors
from warmstart.experiments.foreign.recording import in_sequence

TAG = "eval/mean_reward"


def write(folder, steps, begin, tag=TAG):
    """An event file whose events are a second apart; its path."""
    before = set(folder.glob("*tfevents*"))
    writer = SummaryWriter(str(folder), filename_suffix=f".{begin}")
    for i, step in enumerate(steps):
        writer.add_scalar(tag, float(step), step, walltime=begin + i)
    writer.close()
    (path,) = set(folder.glob("*tfevents*")) - before
    return path


@pytest.mark.parametrize("damage", ["flipped", "cut", "long"])
def test_damaged_event_files_are_told(damage, tmp_path):
    path = write(tmp_path, range(0, 1000, 100), time.time())
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if damage == "flipped":
        content[middle] ^= 0xFF
    elif damage == "cut":
        del content[middle : middle + 10]
    else:
        content += b"\xff" * 20
    path.write_bytes(bytes(content))
    found = read_events(path)
    assert len(found.steps) == 10 if damage == "long" else 0 < len(found.steps) < 10
    assert any("it is damaged or torn off after byte" in note for note in found.notes)


def test_whole_event_files_have_nothing_to_tell(tmp_path):
    assert read_events(write(tmp_path, [0, 10], time.time())).notes == ()


def test_event_files_of_runs_side_by_side_are_refused(tmp_path):
    now = time.time()
    write(tmp_path, [0, 100, 200, 300], now)
    write(tmp_path, [150, 250, 350, 450], now + 2)
    with pytest.raises(WarmstartError, match=r"holds several runs: .* ran beside"):
        read_events(tmp_path)


def test_event_files_with_the_same_single_step_are_several_runs(tmp_path):
    now = time.time()
    for i in range(3):
        write(tmp_path, [1000], now + 100 * i)
    with pytest.raises(WarmstartError, match=r"holds several runs: .* starts anew at step 1,000"):
        read_events(tmp_path)


def test_event_files_without_the_scalar_are_told(tmp_path):
    write(tmp_path, [0, 100], time.time())
    other = write(tmp_path, [0], time.time() + 10, "other")
    assert f"{other} is left out: it holds no {TAG}." in read_events(tmp_path).notes


def test_one_evaluation_in_each_call_of_learn_is_counted_on():
    steps, kept, notes = in_sequence(np.full(4, 1000), "x")
    assert steps.tolist() == [1000, 2000, 3000, 4000]
    assert kept.tolist() == [0, 1, 2, 3]
    assert "its steps start anew 3 times" in notes[0]


def monitor(folder, name, start, rows):
    lines = [f'#{{"t_start": {start}}}', "r,l,t", *(f"{r},10,{t}" for r, t in rows)]
    (folder / name).write_text("\n".join(lines))
    return folder / name


def test_monitor_files_side_by_side_are_told(tmp_path):
    rows = [(1.0, 1.0), (2.0, 20.0)]
    paths = [monitor(tmp_path, f"{i}.monitor.csv", 10.0 * i, rows) for i in range(2)]
    notes = read_monitors(paths).notes
    assert any("2 files overlap in time and are taken for environments of one run" in n for n in notes)


def test_sessions_are_counted_once(tmp_path):
    path = monitor(tmp_path, "0.monitor.csv", 0.0, [(1.0, 1.0), (2.0, 2.0)])
    path.write_text(path.read_text() + '\n#{"t_start": 100.0}\nr,l,t\n3.0,10,1.0\n')
    (told,) = [note for note in read_monitors([path]).notes if "sessions" in note]
    assert "sessions of one run (2)" in told
    assert "98 s" in told
