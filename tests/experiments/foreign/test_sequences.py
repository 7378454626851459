"""Logs whose steps or times go back: put in sequence or refused, and told either way."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.experiments.foreign.evaluations import read_evaluations
from warmstart.experiments.foreign.events import read_events
from warmstart.experiments.foreign.importing import read_runs
from warmstart.experiments.foreign.monitors import read_monitors
from warmstart.experiments.foreign.naming import name_arms
from warmstart.experiments.foreign.recording import in_sequence


@pytest.mark.parametrize(
    ("steps", "total", "kept", "notes"),
    [
        ([10, 20, 30], [10, 20, 30], [0, 1, 2], ()),
        ([10, 20, 30, 10, 20, 30], [10, 20, 30, 40, 50, 60], range(6), ("start anew once",)),
        ([10, 20, 10, 20, 10], [10, 20, 30, 40, 50], range(5), ("start anew 2 times",)),
        ([5, 10, 20, 10, 20], [5, 10, 20], [0, 3, 4], ("left out (1 eval", "twice")),
        (
            [0, 10, 20, 0, 10],
            [0, 10, 20, 30],
            [0, 1, 3, 4],
            ("start anew once", "1 steps were evaluated twice"),
        ),
        ([10, 20, 30, 40, 30, 40, 50], [10, 20, 30, 40, 50], [0, 1, 4, 5, 6], ("left out (1 eval", "twice")),
        ([10, 20, 20, 30], [10, 20, 30], [0, 2, 3], ("1 steps were evaluated twice",)),
    ],
)
def test_in_sequence(steps: list[int], total: list[int], kept: Sequence[int], notes: tuple[str, ...]) -> None:
    found, indices, told = in_sequence(np.array(steps), "log")
    assert found.tolist() == total
    assert indices.tolist() == list(kept)
    assert len(told) == len(notes)
    assert all(part in note for part, note in zip(notes, told, strict=True))


def test_learn_in_a_loop_is_one_long_run(tmp_path: Path) -> None:
    steps = [1000, 2000] * 3
    np.savez(tmp_path / "evaluations.npz", timesteps=steps, results=np.arange(12.0).reshape(6, 2))
    recording = read_evaluations(tmp_path / "evaluations.npz")
    assert recording.steps.tolist() == [1000, 2000, 3000, 4000, 5000, 6000]
    assert recording.returns.tolist() == [0.5, 2.5, 4.5, 6.5, 8.5, 10.5]
    assert "start anew 2 times" in recording.notes[0]


@pytest.mark.parametrize("steps", [[1e300, 2.0], [-5, 10], [1.5, 2], [np.nan, 2]])
def test_steps_that_are_none(steps: list[float], tmp_path: Path) -> None:
    np.savez(tmp_path / "evaluations.npz", timesteps=steps, results=np.ones((2, 2)))
    with pytest.raises(WarmstartError, match="whole numbers at least 0, found"):
        read_evaluations(tmp_path / "evaluations.npz")


def monitor(
    path: Path, start: float | None, returns: Sequence[float], *, seconds: Sequence[float], end: str = "\n"
) -> Path:
    """A monitor file of episodes of 10 steps; without a start, rows that are appended to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "" if start is None else f"#{json.dumps({'t_start': start})}{end}r,l,t{end}"
    text += "".join(f"{r},10,{t}{end}" for r, t in zip(returns, seconds, strict=True))
    with path.open("a", newline="") as file:
        file.write(text)
    return path


def test_a_resumed_run_s_files_are_put_in_sequence_by_their_starts(tmp_path: Path) -> None:
    first = monitor(tmp_path / "1.monitor.csv", 1000.0, range(20), seconds=range(1, 21))
    second = monitor(tmp_path / "0.monitor.csv", 5000.0, range(20, 40), seconds=range(1, 21))
    recording = read_monitors([second, first])
    assert recording.steps.tolist() == [100, 200, 300, 400]
    assert recording.returns.tolist() == [4.5, 14.5, 24.5, 34.5]
    assert recording.seconds.tolist() == [10, 20, 4010, 4020]
    assert "sessions of one run (2)" in recording.notes[1]
    assert "3,980 s, counts as time" in recording.notes[1]


def test_environments_side_by_side_are_merged_by_time_and_resumed_together(tmp_path: Path) -> None:
    for env in (0, 1):
        for session in (0, 1):
            name = tmp_path / f"{2 * session + env}.monitor.csv"
            seconds = [2 * i + env + 1 for i in range(10)]
            monitor(name, 100.0 + 1000 * session, [20 * session + t for t in seconds], seconds=seconds)
    recording = read_monitors(sorted(tmp_path.iterdir()))
    assert recording.returns.tolist() == [5.5, 15.5, 25.5, 35.5]


def test_an_appended_session_follows_the_one_before_it(tmp_path: Path) -> None:
    path = monitor(tmp_path / "monitor.csv", 1000.0, range(10), seconds=range(1, 11))
    monitor(path, None, range(10, 20), seconds=range(1, 11))
    recording = read_monitors([path])
    assert recording.returns.tolist() == [4.5, 14.5]
    assert recording.seconds.tolist() == [10, 20]
    assert "follows the one before it at once" in recording.notes[1]


def test_a_second_header_begins_a_session(tmp_path: Path) -> None:
    path = monitor(tmp_path / "monitor.csv", 1000.0, range(10), seconds=range(1, 11))
    monitor(path, 3000.0, range(10, 20), seconds=range(1, 11))
    assert read_monitors([path]).seconds.tolist() == [10, 2010]


@pytest.mark.parametrize("end", ["\r\n", "\r\r\n", "\n\n"])
def test_line_ends_of_windows_and_blank_lines(end: str, tmp_path: Path) -> None:
    path = monitor(tmp_path / "monitor.csv", 0.0, [1.0, 2.0], seconds=[1, 2], end=end)
    assert read_monitors([path]).returns.tolist() == [1.0, 2.0]


def test_rows_stay_in_the_order_of_the_file_where_a_clock_was_set_back(tmp_path: Path) -> None:
    path = monitor(tmp_path / "monitor.csv", 1000.0, [0, 1, 2, 3], seconds=[5, 6, 2, 7])
    assert read_monitors([path]).returns.tolist() == [0.5, 2.5]


@pytest.mark.parametrize("row", ["1,1e300,3", "1,-5,3", "1,nan,3", "1,10,inf", "1,10"])
def test_rows_that_are_none(row: str, tmp_path: Path) -> None:
    path = tmp_path / "monitor.csv"
    path.write_text(f'#{{"t_start": 0}}\nr,l,t\n{row}\n1,10,4\n1,10,5\n')
    with pytest.raises(WarmstartError, match="line 3"):
        read_monitors([path])


def event_file(
    folder: Path, name: str, points: Sequence[tuple[int, float]], *, tensors: bool = False
) -> Path:
    """An event file with ``eval/mean_reward``; its first event is one second after the last file's."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.summary.writer.record_writer import RecordWriter
    from tensorboard.util.tensor_util import make_tensor_proto

    folder.mkdir(parents=True, exist_ok=True)
    begin = float(name)
    path = folder / f"events.out.tfevents.{name}.host"
    with path.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=begin, file_version="brain.Event:2").SerializeToString())
        for index, (step, value) in enumerate(points):
            held: Any = {"simple_value": value}
            if tensors:
                metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
                held = {"tensor": make_tensor_proto(np.float32(value)), "metadata": metadata}
            summary = Summary(value=[Summary.Value(tag="eval/mean_reward", **held)])
            writer.write(Event(wall_time=begin + index, step=step, summary=summary).SerializeToString())
    return path


def test_scalars_that_tensorflow_2_writes_as_tensors(tmp_path: Path) -> None:
    points = [(10 * i, float(i)) for i in range(50)]
    recording = read_events(event_file(tmp_path, "100", points, tensors=True))
    assert recording.steps.tolist() == [step for step, _ in points]
    assert recording.returns.tolist() == [value for _, value in points]


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    event_file(tmp_path, "100", [(10, 1.0), (20, 2.0), (30, 3.0)])
    event_file(tmp_path, "200", [(10, 9.0), (20, 9.0), (30, 9.0)])
    with pytest.raises(
        WarmstartError, match=r"holds several runs: \S+200\.host starts anew at step 10, after"
    ):
        read_events(tmp_path)


def test_a_continued_run_s_files_are_one(tmp_path: Path) -> None:
    event_file(tmp_path, "100", [(10, 1.0), (20, 2.0), (30, 9.0)])
    event_file(tmp_path, "200", [(30, 3.0), (40, 4.0)])
    recording = read_events(tmp_path)
    assert recording.steps.tolist() == [10, 20, 30, 40]
    assert recording.returns.tolist() == [1, 2, 3, 4]
    assert "evaluated twice" in recording.notes[0]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["batch_64", "batch_256"], [("batch_64", None), ("batch_256", None)]),
        (["batch_64"], [("batch_64", None)]),
        (["lr_1e-3", "lr_1e-4"], [("lr_1e-3", None), ("lr_1e-4", None)]),
        (["n_layers_2", "n_layers_3"], [("n_layers_2", None), ("n_layers_3", None)]),
        (["warm_0", "warm_1", "cold_0"], [("warm", 0), ("warm", 1), ("cold", 0)]),
        (["warm_42", "warm_7"], [("warm_42", None), ("warm_7", None)]),
        (["warm_42", "warm_7", "cold_7", "cold_42"], [("warm", 42), ("warm", 7), ("cold", 7), ("cold", 42)]),
        (["warm_seed42", "warm_s7"], [("warm", 42), ("warm", 7)]),
        (["a/seed1", "a/2", "a/3"], [("a", 1), ("a", 2), ("a", 3)]),
        (["batch/64", "batch/256"], [("batch/64", None), ("batch/256", None)]),
        (["x/warm_0", "y/warm_0"], [("x/warm", 0), ("y/warm", 0)]),
        (["Ant-v5_2"], [("Ant-v5", 2)]),
    ],
)
def test_numbers_are_seeds_or_settings(
    names: list[str], expected: list[tuple[str, int | None]], tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).mkdir(parents=True)
    assert name_arms([tmp_path / name for name in names])[0] == expected


def test_what_was_guessed_is_told(tmp_path: Path) -> None:
    for name in ("batch_64", "batch_256"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "evaluations.npz", timesteps=[1, 2], results=np.ones((2, 2)))
    run = read_runs([str(tmp_path / "batch_64"), str(tmp_path / "batch_256")])
    assert run.arms == ("batch_64", "batch_256")
    assert any("the numbers are taken for settings" in note for note in run.notes)
