"""Recordings: their formats and their checks."""

import json
import sys
from types import SimpleNamespace

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.identification.recording import record
from warmstart.sim2real.recordings.files import read_csv, read_lerobot, read_minari, read_npz, read_recordings
from warmstart.sim2real.recordings.positions import columns
from warmstart.sim2real.recordings.trajectories import Trajectories, Trajectory, robot_of

HOPPER = Task.parse("Hopper-v5")
MODEL = robot_of(HOPPER).model()
PERIOD = 0.008
QPOS = ("rootx.position", "rootz.position", "rooty.angle", "thigh_joint.angle", "leg_joint.angle")


def motion(n=20, name="run", start=0.0):
    rng = np.random.default_rng(0)
    time = start + np.arange(n) * PERIOD
    return Trajectory(name, time, rng.normal(size=(n, 6)), rng.normal(size=(n, 6)), rng.normal(size=(n, 3)))


def changed(**parts):
    item = motion()
    arrays = {key: getattr(item, key).copy() for key in ("time", "qpos", "qvel", "ctrl")}
    for key, (place, value) in parts.items():
        arrays[key][place] = value
    return Trajectories((Trajectory("run", **arrays),))


def same(first, second):
    for a, b in zip(first, second, strict=True):
        for key in ("time", "qpos", "qvel", "ctrl"):
            np.testing.assert_array_equal(getattr(a, key), getattr(b, key))


def write_csv(path, items, rename=lambda name: name, episodes=True):
    names = ["time", *(n for part in columns(MODEL).values() for n in part)]
    lines = [",".join([*map(rename, names), *(["episode"] if episodes else [])])]
    for number, item in enumerate(items):
        last = [str(number)] if episodes else []
        rows = np.column_stack([item.time, item.qpos, item.qvel, item.ctrl]).tolist()
        lines += [",".join([*map(repr, row), *last]) for row in rows]
    path.write_text("\n".join(lines))


def test_columns_are_named_as_layouts_name_them():
    found = columns(MODEL)
    assert found["qpos"] == (*QPOS, "foot_joint.angle")
    assert found["qvel"][:2] == ("rootx.velocity", "rootz.velocity")
    assert found["ctrl"] == ("thigh_joint.ctrl", "leg_joint.ctrl", "foot_joint.ctrl"), "as their joints"
    ant = columns(robot_of(Task.parse("Ant-v5")).model())
    assert ant["qpos"][:4] == ("root.x", "root.y", "root.z", "root.qw")
    assert (len(ant["qpos"]), len(ant["qvel"]), len(ant["ctrl"])) == (15, 14, 8)


def test_npz_round_trip(tmp_path):
    items = Trajectories((motion(), motion(7, "other")))
    path = items.save_npz(tmp_path / "deep" / "run")
    assert path.name == "run.npz"
    same(items, read_recordings(path, HOPPER))
    arrays = dict(np.load(path))
    arrays["action"] = arrays.pop("ctrl")
    np.savez(path, **arrays)
    same(items, read_npz(path, MODEL))
    del arrays["action"]
    np.savez(path, **arrays)
    with pytest.raises(
        WarmstartError, match=r"Expected the array 'ctrl' in .*run\.npz, found episode, time, "
    ):
        read_npz(path, MODEL)
    arrays["times"] = arrays.pop("time")
    np.savez(path, **arrays)
    with pytest.raises(WarmstartError, match=r"Expected the array 'time' .* Did you mean 'times'\?"):
        read_npz(path, MODEL)


def test_files_that_are_no_archives_are_called_so(tmp_path):
    path = tmp_path / "run.npz"
    for content in (b"time,qpos", b"", b"PK\x03\x04 broken"):
        path.write_bytes(content)
        with pytest.raises(WarmstartError, match=r"run\.npz is truncated or not an archive of arrays"):
            read_npz(path, MODEL)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(WarmstartError, match="not an archive of arrays"):
        read_npz(path, MODEL)
    np.savez(path, time=np.array([None, 1.0]))
    with pytest.raises(WarmstartError, match=r"numbers in the array 'time', found Python objects"):
        read_npz(path, MODEL)


def test_episode_ids_are_shown_as_they_were_meant(tmp_path):
    item = motion(8)
    arrays = {key: getattr(item, key) for key in ("time", "qpos", "qvel", "ctrl")}
    for ids, shown in (([0.0, 1.0], ("0", "1")), ([3, 7], ("3", "7")), (["1.0", "a.0"], ("1", "a.0"))):
        np.savez(tmp_path / "run.npz", episode=np.repeat(ids, 4), **arrays)
        found = [each.name for each in read_npz(tmp_path / "run.npz", MODEL)]
        assert found == [f"run, episode {name}" for name in shown]
    for ids, said in ((np.zeros((8, 1)), r"shape \(8,\), found \(8, 1\)"), (np.zeros(3), r"found \(3,\)")):
        np.savez(tmp_path / "run.npz", episode=ids, **arrays)
        with pytest.raises(WarmstartError, match=f"expected episode ids of {'.*' + said}"):
            read_npz(tmp_path / "run.npz", MODEL)
    none = {key: values[:0] for key, values in arrays.items()}
    np.savez(tmp_path / "run.npz", episode=np.zeros(0), **none)
    with pytest.raises(WarmstartError, match="run: expected samples, found none"):
        read_npz(tmp_path / "run.npz", MODEL)


def test_tables_without_rows_and_other_text_are_refused(tmp_path):
    path = tmp_path / "run.csv"
    names = ["time", *(n for part in columns(MODEL).values() for n in part), "episode"]
    for content, found in (
        (",".join(names).encode(), "a row of 17 names alone"),
        (b"", "an empty file"),
    ):
        path.write_bytes(content)
        with pytest.raises(WarmstartError, match=rf"in .*run\.csv, found {found}"):
            read_csv(path, MODEL)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WarmstartError, match=r"run\.csv can't be read as text: byte 0 isn't UTF-8"):
        read_csv(path, MODEL)
    write_csv(path, Trajectories((motion(),)))
    path.write_text(path.read_text(), encoding="utf-8-sig")
    same((motion(),), read_csv(path, MODEL))


def test_csv_round_trip(tmp_path):
    items, path = Trajectories((motion(), motion(7))), tmp_path / "run.csv"
    write_csv(path, items)
    same(items, read_recordings(path, HOPPER))
    write_csv(path, items, lambda name: name.replace("thigh_joint.angle", "thigh_joint.position"))
    same(items, read_csv(path, MODEL))
    write_csv(path, items, lambda name: name.replace(".ctrl", ".torque"))
    same(items, read_csv(path, MODEL))
    write_csv(path, items, lambda name: name.replace("leg_joint.angle", "knee"))
    with pytest.raises(WarmstartError, match=r"'leg_joint\.angle'"):
        read_csv(path, MODEL)
    same(items, read_csv(path, MODEL, {"knee": "leg_joint.angle"}))
    write_csv(path, items, lambda name: name.replace("leg_joint.angle", "legjoint.angle"))
    with pytest.raises(WarmstartError, match=r"Did you mean 'legjoint\.angle'"):
        read_csv(path, MODEL)
    path.write_text(path.read_text().replace("0.008,", "soon,", 1))
    with pytest.raises(WarmstartError, match="expected numbers in time, found 'soon' in line 3"):
        read_csv(path, MODEL)


def test_minari_needs_a_full_state():
    item = motion(9)
    infos = {"qpos": item.qpos, "qvel": item.qvel}
    episode = SimpleNamespace(id=3, infos=infos, actions=item.ctrl[:8], observations=None)
    dataset = SimpleNamespace(iterate_episodes=lambda: iter([episode]))
    (found,) = read_minari(dataset, PERIOD, MODEL)
    np.testing.assert_array_equal(found.qpos, item.qpos)
    np.testing.assert_array_equal(found.ctrl[:8], item.ctrl[:8])
    np.testing.assert_allclose(found.time, item.time)
    episode.infos = {"x_position": item.time}
    with pytest.raises(WarmstartError, match="with qpos and qvel in episode 3, found x_position"):
        read_minari(dataset, PERIOD, MODEL)


def test_minari_datasets_that_are_not_there_are_named(monkeypatch):
    def load_dataset(name):
        if name == "hopper/old-v0":
            raise ImportError("h5py is not installed.")
        raise FileNotFoundError(f"Dataset {name} not found locally")

    known = SimpleNamespace(
        load_dataset=load_dataset, list_local_datasets=lambda: {"hopper/mine-v0": {}, "hopper/old-v0": {}}
    )
    monkeypatch.setitem(sys.modules, "minari", known)
    with pytest.raises(
        WarmstartError, match=r"Minari dataset on this machine.* Did you mean 'hopper/mine-v0'"
    ):
        read_recordings("minari:hopper/mine-v1", HOPPER)
    with pytest.raises(WarmstartError, match=r"install 'warmstart\[data\]'.*h5py is not installed"):
        read_recordings("minari:hopper/old-v0", HOPPER)


class Told(gym.Wrapper):
    """Tells the full state in its infos, as Minari is to record it."""

    def reset(self, **options):
        observation, _ = self.env.reset(**options)
        return observation, self.state()

    def step(self, action):
        *found, _ = self.env.step(action)
        return *found, self.state()

    def state(self):
        data = self.unwrapped.data
        return {"qpos": data.qpos.copy(), "qvel": data.qvel.copy()}


@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")  # Minari's own
def test_minaris_own_datasets(tmp_path, monkeypatch):
    for needed in ("h5py", "jax"):
        pytest.importorskip(needed, reason=f"{needed}, with which Minari writes, is not installed")
    minari = pytest.importorskip("minari", reason="Minari is not installed")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    keys = ("algorithm_name", "author", "author_email", "code_permalink", "description")
    about = dict.fromkeys(keys, "test")  # Minari warns where one is missing
    for name, told in (("hopper/told-v0", True), ("hopper/untold-v0", False)):
        env = minari.DataCollector(Told(gym.make("Hopper-v5")), record_infos=told)
        for seed in range(2):
            env.reset(seed=seed)
            done = False
            while not done:
                *_, done, _, _ = env.step(env.action_space.sample())
        env.create_dataset(name, eval_env="Hopper-v5", **about)
        env.close()
    items = read_recordings("minari:hopper/told-v0", HOPPER)
    assert [item.name for item in items] == ["episode 0", "episode 1"]
    model = robot_of(HOPPER).model()
    data = mujoco.MjData(model)
    for item in items:
        data.qpos, data.qvel, data.ctrl = item.qpos[0], item.qvel[0], item.ctrl[0]
        mujoco.mj_step(model, data, robot_of(HOPPER).frame_skip)
        np.testing.assert_allclose(data.qpos, item.qpos[1], err_msg="ctrl[0] doesn't lead to qpos[1]")
    with pytest.raises(WarmstartError, match=r"episode 0, found none.*record_infos=True"):
        read_recordings("minari:hopper/untold-v0", HOPPER)


def test_lerobot_round_trip(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    items = Trajectories((motion(), motion(7)))
    names = columns(MODEL)
    features = {
        "observation.state": {"names": {"motors": [*names["qpos"], *names["qvel"]]}},
        "action": {"names": ["hip", "leg_joint.ctrl", "foot_joint.ctrl"]},
    }
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text(json.dumps({"features": features}))
    folder = tmp_path / "data" / "chunk-000"
    folder.mkdir(parents=True)
    for number, item in enumerate(items):
        table = pa.table(
            {
                "observation.state": np.concatenate([item.qpos, item.qvel], axis=1).tolist(),
                "action": item.ctrl.tolist(),
                "timestamp": item.time,
                "episode_index": np.full(len(item), number),
            }
        )
        parquet.write_table(table, folder / f"episode_{number:06d}.parquet")
    same(items, read_recordings(tmp_path, HOPPER, {"action/hip": "thigh_joint.ctrl"}))
    with pytest.raises(WarmstartError, match=r"'thigh_joint\.ctrl'"):
        read_lerobot(tmp_path, MODEL)
    with pytest.raises(WarmstartError, match=r"Expected the column 'hipp' .* Did you mean 'hip'"):
        read_lerobot(tmp_path, MODEL, {"hipp": "thigh_joint.ctrl"})
    features["action"]["names"] = None
    (tmp_path / "meta" / "info.json").write_text(json.dumps({"features": features}))
    with pytest.raises(
        WarmstartError, match=r"'thigh_joint\.ctrl' .*, action\[0\], action\[1\], action\[2\]"
    ):
        read_lerobot(tmp_path, MODEL)
    for text, said in (("{", "info.*isn't JSON"), ("[]", "features by name in .*info.*, found none")):
        (tmp_path / "meta" / "info.json").write_text(text)
        with pytest.raises(WarmstartError, match=said):
            read_lerobot(tmp_path, MODEL)
    (folder / "episode_000001.parquet").write_bytes(b"no table")
    with pytest.raises(WarmstartError, match=r"Expected a Parquet file at .*episode_000001\.parquet"):
        read_lerobot(tmp_path, MODEL)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"qpos": ((5, 3), np.nan)}, r"found nan in thigh_joint\.angle, sample 5; 1 in all"),
        ({"ctrl": ((2, 1), np.inf)}, r"found inf in leg_joint\.ctrl, sample 2"),
        ({"time": (7, 0.01)}, r"expected time to increase, found 0\.01 s in sample 7 after 0\.048 s"),
        ({"time": (7, 0.058)}, r"found 0\.01 s between samples 6 and 7 \(2 such gaps\)"),
        (
            {"time": (slice(None), np.arange(20) * 0.02)},
            r"every 0\.008 s .*Hopper-v5.*found one every 0\.02 s",
        ),
    ],
)
def test_unsound_recordings_are_refused(parts, said):
    with pytest.raises(WarmstartError, match=said):
        changed(**parts).check(HOPPER)


def test_shapes_are_checked():
    changed().check(HOPPER)
    with pytest.raises(WarmstartError, match="too short: expected at least 4 samples, found 3"):
        Trajectories((motion(3),)).check(HOPPER)
    with pytest.raises(WarmstartError, match=r"9 columns of qpos \(rootx\.position, .*, found 6"):
        Trajectories((motion(),)).check(Task.parse("Walker2d-v5"))
    item = motion()
    with pytest.raises(WarmstartError, match=r"qvel of shape \(20, k\), found \(19, 6\)"):
        Trajectory("run", item.time, item.qpos, item.qvel[:19], item.ctrl)
    with pytest.raises(WarmstartError, match=r"run: expected numbers as time, found <U1 of shape \(20,\)"):
        Trajectory("run", np.repeat("a", 20), item.qpos, item.qvel, item.ctrl)
    with pytest.raises(WarmstartError, match=r"run: expected time of shape \(n,\), found \(\)"):
        Trajectory("run", 0.0, item.qpos, item.qvel, item.ctrl)
    with pytest.raises(WarmstartError, match="at least one trajectory"):
        Trajectories(())
    with pytest.raises(WarmstartError, match="Did you mean 'Hopper-v5'"):
        read_recordings("nothing.npz", Task.parse("Hoper-v5"))
    with pytest.raises(WarmstartError, match="found nothing there"):
        read_recordings("nothing.npz", HOPPER)


def test_quaternions_are_checked():
    items = record("Ant-v5", 10)
    items.check(Task.parse("Ant-v5"))
    qpos = items[0].qpos.copy()
    qpos[4, 3:7] *= 2
    bad = Trajectory("run", items[0].time, qpos, items[0].qvel, items[0].ctrl)
    with pytest.raises(WarmstartError, match=r"found one of length 2 in root\.qw and following, sample 4"):
        Trajectories((bad,)).check(Task.parse("Ant-v5"))
