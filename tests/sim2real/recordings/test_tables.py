"""Tables as other programs write them: names, times, separators, text, missing velocities, degrees."""

import json

import mujoco
import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.identification.excitation import excitation
from warmstart.sim2real.identification.identify import identify
from warmstart.sim2real.identification.recording import record
from warmstart.sim2real.identification.settings import FitSettings
from warmstart.sim2real.recordings.files import read_recordings
from warmstart.sim2real.recordings.positions import columns, subtract
from warmstart.sim2real.recordings.trajectories import Trajectories, Trajectory, robot_of

TASK = Task.parse("InvertedPendulum-v5")
MODEL = robot_of(TASK).model()
NAMES = [name for part in columns(MODEL).values() for name in part]
PERIOD = 0.04


def table(path, item, *, time="time", clock=None, names=NAMES, extra=(), separator=",", comma=False):
    """Write a recording with another clock, other names, more columns or other separators."""
    clock = item.time if clock is None else clock
    clocks = clock if isinstance(clock, list) else [clock]
    numbers = np.column_stack([item.qpos, item.qvel, item.ctrl])[:, : len(names)]
    lines = [separator.join([*time.split(","), *names, *(name for name, _ in extra)])]
    for row, number in enumerate(numbers.tolist()):
        cells = [*(str(each[row]) for each in clocks), *map(repr, number)]
        cells = [cell.replace(".", ",") if comma else cell for cell in cells]
        lines.append(separator.join([*cells, *(text for _, text in extra)]))
    path.write_text("\n".join(lines))
    return path


def check_same(found, item):
    (only,) = found
    np.testing.assert_allclose(only.time - only.time[0], item.time - item.time[0], atol=1e-6)
    for key in ("qpos", "qvel", "ctrl"):
        np.testing.assert_array_equal(getattr(only, key), getattr(item, key))


def nanoseconds(item):
    return [1_700_000_000_000_000_000 + round(t * 1e9) for t in item.time]


@pytest.mark.parametrize(
    ("time", "clock", "said"),
    [
        ("timestamp", None, "timestamp is taken for the time"),
        ("t", None, "t is taken for the time"),
        ("header.stamp", lambda i: [1.7e9 + t for t in i.time], "header.stamp is taken for the time"),
        ("%time", nanoseconds, "%time counts nanoseconds since 1970"),
        ("field.header.stamp", nanoseconds, "field.header.stamp counts nanoseconds since 1970"),
        ("/joint/header/stamp", lambda i: [t // 1000 for t in nanoseconds(i)], "counts microseconds since"),
        ("timestamp", lambda i: [t // 10**6 for t in nanoseconds(i)], "counts milliseconds since 1970"),
        (
            "header.stamp.sec,header.stamp.nanosec",
            lambda i: [[t // 10**9 for t in nanoseconds(i)], [t % 10**9 for t in nanoseconds(i)]],
            "header.stamp.sec is taken for the time",
        ),
        (
            "time",
            lambda i: [f"2024-03-01T12:00:{t:09.6f}+01:00" for t in i.time],
            "time holds dates",
        ),
    ],
)
def test_times_as_logs_have_them(tmp_path, item, time, clock, said):
    written = None if clock is None else clock(item)
    if isinstance(written, list) and not isinstance(written[0], list):
        written = [written]
    path = table(tmp_path / "run.csv", item, time=time, clock=written)
    found = read_recordings(path, TASK)
    check_same(found, item)
    assert said in " ".join(found.notes)


def test_a_time_that_several_columns_may_be_is_asked_for(tmp_path, item):
    clocks = [nanoseconds(item), item.time.tolist()]
    path = table(tmp_path / "run.csv", item, time="%time,field.header.stamp", clock=clocks)
    with pytest.raises(
        WarmstartError, match=r"%time and field.header.stamp may be the time: .*--rename %time=time"
    ):
        read_recordings(path, TASK)
    check_same(read_recordings(path, TASK, {"field.header.stamp": "time"}), item)


def test_time_in_other_units_is_called_so(tmp_path, item):
    path = table(tmp_path / "run.csv", item, clock=[(1000 * item.time).tolist()])
    with pytest.raises(
        WarmstartError, match=r"found one every 40 s. They look like milliseconds: time is in seconds"
    ):
        read_recordings(path, TASK)


def test_time_and_episodes_can_be_renamed(tmp_path, item):
    path = table(tmp_path / "run.csv", item, time="clock", extra=[("take", "a")])
    with pytest.raises(WarmstartError, match=r"Expected the column 'time' in .*found clock, "):
        read_recordings(path, TASK)
    found = read_recordings(path, TASK, {"clock": "time", "take": "episode"})
    check_same(found, item)
    assert found[0].name == "run, episode a"
    assert found.notes == ()
    path = table(tmp_path / "run.csv", item, extra=[("episode_index", "7")])
    found = read_recordings(path, TASK)
    assert found[0].name == "run, episode 7"
    assert found.notes == (f"{path}: episode_index is taken for the episode.",)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"tick": "time"}, "Expected the column 'tick'"),
        ({"mark": "tim"}, "Unknown column to rename to: 'tim'. Did you mean 'time'"),
        ({"mark": "time"}, "another name for mark in .*: there is a column time already"),
        ({"mark": "episode", "more": "episode"}, "one column of .* to be renamed to episode, found several"),
    ],
)
def test_renaming_that_means_nothing_is_refused(tmp_path, item, names, said):
    path = table(tmp_path / "run.csv", item, extra=[("mark", "1"), ("more", "2")])
    with pytest.raises(WarmstartError, match=said):
        read_recordings(path, TASK, names)


def test_npz_has_no_columns_to_rename(tmp_path, item):
    path = Trajectories((item,)).save_npz(tmp_path / "run")
    with pytest.raises(WarmstartError, match="renamed in CSV and LeRobot recordings"):
        read_recordings(path, TASK, {"t": "time"})


def test_columns_that_nothing_needs_may_hold_anything(tmp_path, item):
    path = table(tmp_path / "run.csv", item, extra=[("header.frame_id", "base_link"), ("next.done", "False")])
    found = read_recordings(path, TASK)
    check_same(found, item)
    assert found.notes == (f"{path}: nothing needs the columns header.frame_id, next.done.",)
    path.write_text(path.read_text().replace("next.done", NAMES[0]))
    with pytest.raises(WarmstartError, match=f"Expected one column '{NAMES[0]}' in .*, found several"):
        read_recordings(path, TASK)


@pytest.mark.parametrize(("separator", "comma"), [(";", False), (";", True), ("\t", False), ("\t", True)])
def test_other_separators_and_decimal_commas(tmp_path, item, separator, comma):
    check_same(
        read_recordings(table(tmp_path / "run.csv", item, separator=separator, comma=comma), TASK), item
    )


def test_grouped_thousands_are_no_numbers(tmp_path, item):
    path = table(tmp_path / "run.csv", item, separator=";")
    first = path.read_text().splitlines()[1].split(";")[0]
    path.write_text(path.read_text().replace(f"\n{first};", "\n1.234,5;", 1))
    with pytest.raises(WarmstartError, match=r"expected numbers in time, found '1\.234,5' in line 2"):
        read_recordings(path, TASK)


def test_positions_without_velocities(tmp_path, item):
    """Velocities are central differences, named as such, and no measurement."""
    path = table(tmp_path / "run.csv", item)
    names = [name for name in NAMES if not name.endswith("velocity")]
    rows = [line.split(",") for line in path.read_text().splitlines()]
    keep = [0, *(i for i, name in enumerate(rows[0]) if name in names)]
    path.write_text("\n".join(",".join(row[i] for i in keep) for row in rows))
    found = read_recordings(path, TASK)
    assert found.differenced == (0, 1)
    assert "hold no velocities" in found.notes[-1]
    assert read_recordings(found.save_npz(tmp_path / "again"), TASK).differenced == (0, 1), (
        "no measurement once saved"
    )
    middle = (item.qpos[2] - item.qpos[0]) / (2 * PERIOD)
    np.testing.assert_allclose(found[0].qvel[1], middle)
    np.testing.assert_allclose(found[0].qvel[0], (item.qpos[1] - item.qpos[0]) / PERIOD)
    np.savez(tmp_path / "run.npz", time=item.time, qpos=item.qpos, ctrl=item.ctrl)
    np.testing.assert_array_equal(read_recordings(tmp_path / "run.npz", TASK)[0].qvel, found[0].qvel)


def test_a_misspelled_velocity_is_not_taken_for_a_missing_one(tmp_path, item):
    names = [name.replace("hinge.velocity", "hinge.velocty") for name in NAMES]
    with pytest.raises(WarmstartError, match=r"'hinge\.velocity' .* Did you mean 'hinge\.velocty'"):
        read_recordings(table(tmp_path / "run.csv", item, names=names), TASK)


def test_rotations_are_differenced_as_mujoco_does():
    ant = Task.parse("Ant-v5")
    model = robot_of(ant).model()
    whole = record(ant, 40, noise_std=0.0)[0]
    bare = Trajectory("run", whole.time, whole.qpos, np.full_like(whole.qvel, np.nan), whole.ctrl)
    found = Trajectories((bare,)).prepare(ant)[0]
    expected = np.empty(model.nv)
    mujoco.mj_differentiatePos(model, expected, 2 * PERIOD + 0.02, whole.qpos[3], whole.qpos[5])
    np.testing.assert_allclose(
        found.qvel[4], expected * (2 * PERIOD + 0.02) / (whole.time[5] - whole.time[3])
    )
    np.testing.assert_allclose(
        subtract(model, whole.qpos[5:6], whole.qpos[3:4])[0], expected * 0.1, atol=1e-9
    )


def test_physics_is_identified_from_positions_alone():
    moved = record(Task.parse("InvertedPendulum-v5@pole.mass=x1.5"), 400, noise_std=0.001, seed=1)
    bare = [Trajectory(i.name, i.time, i.qpos, np.full_like(i.qvel, np.nan), i.ctrl) for i in moved]
    recorded = Trajectories(tuple(bare), angles="radians")
    found = identify(TASK, recorded, {"pole.mass": "x0.5:x2"}, FitSettings(delay=(0, 0)))
    assert found.accepted
    assert found.estimates[0].number == pytest.approx(1.5, abs=0.05)
    assert set(found.noise) == {"slider.position", "hinge.angle"}, "velocities were not measured"
    assert "hold no velocities" in found.notes[0]
    assert excitation(TASK, recorded, {"pole.mass": "x0.5:x2"}).identifiable.all()


def test_a_rejected_fit_identifies_nothing():
    moved = record(TASK, 300, noise_std=0.02, seed=3)
    found = identify(TASK, moved, {"pole.mass": "x0.5:x2"}, FitSettings(delay=(0, 0)))
    assert not found.accepted
    assert [row["verdict"] for row in found.table()] == [
        "fitted, but the fit is rejected: take the nominal value"
    ]


@pytest.mark.parametrize("layout", ["named", "unnamed", "scalars", "old"])
def test_other_lerobot_layouts(tmp_path, item, layout):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    state, stamp = np.column_stack([item.qpos, item.qvel]), item.time.astype(np.float32)
    data = {"timestamp": stamp, "episode_index": np.zeros(len(item), int), "task": ["push"] * len(item)}
    rename = {}
    if layout == "scalars":
        data |= {
            name: column for name, column in zip(NAMES, np.column_stack([state, item.ctrl]).T, strict=True)
        }
        folder = tmp_path
    else:
        data |= {"observation.state": state.tolist(), "action": item.ctrl.tolist()}
        folder = tmp_path / "data" / ("chunk-000" if layout != "old" else "")
        names = {"axes": NAMES[:4]} if layout == "named" else None
        features = {"observation.state": {"names": names}, "action": {"names": [NAMES[4]]}}
        meta = tmp_path / ("meta_data" if layout == "old" else "meta")
        meta.mkdir()
        (meta / "info.json").write_text(
            json.dumps({"features": features} if layout != "old" else {"fps": 25, "features": {}})
        )
        if layout != "named":
            rename = {f"observation.state[{i}]": name for i, name in enumerate(NAMES[:4])}
        if layout == "old":
            rename["action[0]"] = NAMES[4]
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(data), folder / "file-000.parquet")
    found = read_recordings(tmp_path, TASK, rename)
    check_same(found, item)
    assert "timestamp is taken for the time" in found.notes[0]
    if layout == "scalars":
        check_same(read_recordings(tmp_path / "file-000.parquet", TASK), item)


def test_lists_with_the_same_names_are_kept_apart(tmp_path, item):
    """LeRobot's state, velocity and action are often all named by their motors."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parts = {"observation.state": item.qpos, "observation.velocity": item.qvel, "action": item.ctrl}
    data = {"timestamp": item.time, "note": ["push"] * len(item)}
    features = {key: {"names": ["slide", "hinge"][: values.shape[1]]} for key, values in parts.items()}
    parquet.write_table(
        pa.table(data | {key: values.tolist() for key, values in parts.items()}), tmp_path / "run.parquet"
    )
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text(json.dumps({"features": features}))
    names = {
        "slide": "slider.position",
        "hinge": "hinge.angle",
        "observation.velocity/slide": "slider.velocity",
        "observation.velocity/hinge": "hinge.velocity",
        "action/slide": "slide.ctrl",
    }
    found = read_recordings(tmp_path, TASK, names)
    check_same(found, item)
    assert found.notes[-1].endswith("nothing needs the columns note."), "what isn't read is told, too"


def test_a_comma_beside_points_is_no_decimal_comma(tmp_path, item):
    path = table(tmp_path / "run.csv", item, separator=";")
    lines = path.read_text().splitlines()
    lines[3] = ";".join(["1,234", *lines[3].split(";")[1:]])
    path.write_text("\n".join(lines))
    with pytest.raises(WarmstartError, match=r"expected numbers in time, found '1,234' in line 4"):
        read_recordings(path, TASK)
    commas = read_recordings(table(path, item, separator=";", comma=True), TASK)
    assert commas.notes == (f"{path}: numbers are read with a decimal comma.",)


def test_a_column_that_one_recording_lacks_is_not_replaced_in_the_others(item):
    bare = Trajectory("bare", item.time, item.qpos, np.full_like(item.qvel, np.nan), item.ctrl)
    with pytest.raises(WarmstartError, match=r"bare: expected finite .*, found nan in slider\.velocity"):
        Trajectories((item, bare), angles="radians").prepare(TASK)


def test_controls_beyond_their_range_are_told(tmp_path):
    time = 0.04 * np.arange(10)
    ctrl = np.where(np.arange(10) < 4, 4.5, 1.0)[:, None]  # the range ends at 3
    still = np.zeros((10, 2))
    np.savez(tmp_path / "r.npz", time=time, qpos=still, qvel=still, ctrl=ctrl)
    found = read_recordings(tmp_path / "r.npz", Task.parse("InvertedPendulum-v5"))
    (told,) = [note for note in found.notes if "range" in note]
    assert told.startswith(
        "slide.ctrl goes beyond its range, -3 to 3, in 4 of 10 samples (up to 4.5): the sim"
    )


@pytest.mark.parametrize("kind", ["text", "date", "timestamp", "nanoseconds"])
def test_parquet_times_of_any_type(tmp_path, item, kind):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    whole = np.array(nanoseconds(item), dtype="datetime64[ns]")
    clock = {
        "text": [str(t) for t in item.time],
        "date": [str(t)[:26] for t in whole],
        "timestamp": pa.array(whole.astype("datetime64[us]")),
        "nanoseconds": pa.array(whole),
    }[kind]
    data = dict(zip(NAMES, np.column_stack([item.qpos, item.qvel, item.ctrl]).T, strict=True))
    parquet.write_table(pa.table({"timestamp": clock, **data}), tmp_path / "x.parquet")
    check_same(read_recordings(tmp_path / "x.parquet", TASK), item)


@pytest.mark.parametrize("name", ["x.CSV", "x.tsv", "x.txt"])
def test_other_endings_of_tables(tmp_path, item, name):
    check_same(read_recordings(table(tmp_path / name, item, separator="\t"), TASK), item)


@pytest.mark.parametrize("header", ["# made by hand, or not\n", "# a\n#\n\n"])
def test_comments_before_the_names(tmp_path, item, header):
    path = table(tmp_path / "x.csv", item)
    path.write_text(header + path.read_text())
    check_same(read_recordings(path, TASK), item)
    path.write_text(path.read_text().replace("\n0.04,", "\nsoon,", 1))
    with pytest.raises(WarmstartError, match=rf"found 'soon' in line {header.count(chr(10)) + 3}"):
        read_recordings(path, TASK)


def test_names_in_a_comment_as_numpy_writes_them(tmp_path, item):
    rows = np.column_stack([item.time, item.qpos, item.qvel, item.ctrl])
    np.savetxt(tmp_path / "x.csv", rows, delimiter=",", header=",".join(["time", *NAMES]), fmt="%.17g")
    check_same(read_recordings(tmp_path / "x.csv", TASK), item)
