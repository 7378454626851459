"""Sound inputs of every loader, small, by the real writers; and the seals that strangers can renew."""

import functools
import hashlib
import json
import shutil
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import safetensors.torch
import torch
from stable_baselines3 import PPO, SAC

from tests.agents.rsl_rl_files.files import Trained, onnx_model
from tests.hostile import write_json
from warmstart.agents.checkpoints.checkpoint import METADATA, TENSORS
from warmstart.agents.checkpoints.replay import COLUMNS
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import make_encoder
from warmstart.agents.resuming.packing import pack
from warmstart.agents.resuming.saving import save_training
from warmstart.core.documents import read_yaml
from warmstart.core.errors import WarmstartError
from warmstart.core.files import file_hash, json_hash
from warmstart.envs.tasks.task import Task
from warmstart.experiments.records.claims import CLAIM
from warmstart.sim2real.reality import Reality
from warmstart.sim2real.recordings.trajectories import robot_of

DATA = Path(__file__).parents[1] / "data"
TRIAL = "cd39d9213d64d6da"
"""A trial of the old run, with a curriculum and a gap."""
EVENTS = "events.out.tfevents.1.x"
N = 12
"""Rows of a recording."""

TASKS = (
    "HalfCheetah-v5@gravity=x0.5,torso.mass=x1.5",
    "Ant-v5:without=[hip_4,ankle_4],time_limit=500@friction=x0.5",
    'Hopper-v5:a="x,y",b=none,c=true,d=[1,[2.5,"z"]],e=-1e-3@geom.*.friction+=[0.1,0.2,0.3],"a b"-=1',
    "ALE/Pong-v5:frame_skip=4",
    "my_module:My-v0",
    "hopper-heavy-torso",
    "A-v0:x=1_000,y=" + "9" * 5000,
    "A-v0:x=" + "[" * 2000,
    "A-v0" + " " * 3000 + ":x=1",
    "A-v0@g=1e999,h=-inf",
    'A-v0:x="\\ud800",y="\\u0000"',
)
TEXTS = (
    "drq:features=4,readout=pca",
    'squeezenet1_1:tap=mixed,weights="a b.pth"',
    "e.safetensors:scale=255",
    "dinov2_vits14",
)
YAMLS = (
    "a: 1\nb: [1, 2.5, {c: d}]\ne:\n  - f: null\n    g: 'x'\n  - true\nh: &x {i: 1e-3}\nj: *x\n",
    "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\ne: [*d, *d]\n",
    "a: |\n  text\n  more\nb: >-\n  folded\n'c d': \"e\\u00e9\"\n? f\n: g\n",
    "a: " + "[" * 200 + "]" * 200 + "\n",
    "a: 1_000\nb: 0x10\nc: 1e999\nd: " + "9" * 5000 + "\ne: .nan\nf: 1\nf: 2\n",
    "a: !!python/object/apply:os.system ['true']\n",
)
JSONS = (
    '{"a": 1, "b": [1, 2.5, {"c": "d"}], "e": null, "f": true, "g": "\\u00e9"}',
    '{"a": {"a": {"a": [[[[]]]]}}}',
    "[1, 2, 3]",
    '{"a": 1e999, "b": ' + "9" * 5000 + "}",
    '{"a": 1, "a": 2}',
    '{"a": "\\ud800", "b": "\\u0000"}',
)


def _encoded(texts: Sequence[str]) -> Sequence[bytes]:
    return [text.encode("utf-8", "surrogatepass") for text in texts]


def tasks(_: Path) -> Sequence[bytes]:
    """Texts of tasks."""
    return _encoded(TASKS)


def contexts(_: Path) -> Sequence[bytes]:
    """Texts of contexts."""
    return _encoded([text.partition("@")[2] for text in TASKS if "@" in text])


def encoder_texts(_: Path) -> Sequence[bytes]:
    """Texts of encoders."""
    return _encoded(TEXTS)


def yamls(_: Path) -> Sequence[bytes]:
    """YAML of every kind."""
    return _encoded(YAMLS)


def jsons(_: Path) -> Sequence[bytes]:
    """JSON of every kind."""
    return _encoded(JSONS)


def _shipped(package: str, least: int = 0) -> list[bytes]:
    files = [item for item in resources.files(package).iterdir() if item.name.endswith(".yaml")]
    texts = [item.read_bytes() for item in sorted(files, key=lambda item: item.name)]
    return [text for text in texts if len(text) > least]


def studies(_: Path) -> Sequence[bytes]:
    """The studies that ship with warmstart, smaller ones."""
    texts = [text for text in _shipped("warmstart.experiments.presets") if b"\npairs:" not in text]
    return sorted(texts, key=len)[:14]


def pairs(_: Path) -> Sequence[bytes]:
    """Studies over pairs."""
    text = b"name: p\ntarget_steps: 1024\nsource_steps: 1024\nseeds: [0, 1]\npairs:\n"
    text += b"  - {source: Hopper-v5, target: Hopper-v5@torso.mass=x1.5}\n"
    text += b"  - {source: Hopper-v5, target: Walker2d-v5, name: w}\n"
    return [text]


def realities(_: Path) -> Sequence[bytes]:
    """The realities that ship with warmstart."""
    return _shipped("warmstart.sim2real.realities")


def seal_reality(path: Path) -> None:
    """Write a reality's hash into its file."""
    text = path.read_text("utf-8", "surrogateescape")
    lines = [line for line in text.split("\n") if not line.startswith("sha256:")]
    path.write_text("\n".join(lines), "utf-8", "surrogateescape")
    with suppress(WarmstartError):
        lines.append(f"sha256: {read_yaml(path).read(Reality).sha256}")
        path.write_text("\n".join(lines) + "\n")


def _checkpoint(folder: Path) -> Path:
    return Path(shutil.copytree(DATA / "old_run" / "trials" / TRIAL / "checkpoint", folder / "c"))


def metadata(folder: Path) -> Sequence[bytes]:
    """A checkpoint's JSON."""
    return [(_checkpoint(folder) / METADATA).read_bytes()]


def tensors(folder: Path) -> Sequence[bytes]:
    """A checkpoint's tensors."""
    return [(_checkpoint(folder) / TENSORS).read_bytes()]


def seal_checkpoint(path: Path) -> None:
    """Write a checkpoint's hashes anew."""
    place = path.with_name(METADATA)
    try:
        values = json.loads(place.read_bytes())
        values["tensors_sha256"] = file_hash(path.with_name(TENSORS))
        values["sha256"] = json_hash({key: value for key, value in values.items() if key != "sha256"})
    except (ValueError, TypeError, RecursionError):
        return
    write_json(place, values)


def replay(_: Path) -> Sequence[bytes]:
    """A replay buffer."""
    return [safetensors.torch.save({name: torch.zeros(4, 2) for name in COLUMNS})]


def zips(_: Path) -> Sequence[bytes]:
    """Zips that SB3 of several versions wrote."""
    return [path.read_bytes() for path in sorted((DATA / "old_sb3").glob("*.zip"))]


def normalizers(_: Path) -> Sequence[bytes]:
    """Pickles that VecNormalize wrote."""
    return [path.read_bytes() for path in sorted((DATA / "old_sb3").glob("*.pkl"))]


def rsl_rl(folder: Path) -> Sequence[bytes]:
    """Files of rsl_rl, versions 2 and 5."""
    return [Trained(layout).save(folder / f"{layout}.pt").read_bytes() for layout in ("2.3", "5")]


def onnx(_: Path) -> Sequence[bytes]:
    """What mjlab writes beside a policy."""
    from tests.agents.rsl_rl_files.test_onnx_names import TEXTS as METADATA_OF_MJLAB

    return [onnx_model(METADATA_OF_MJLAB)]


def _some() -> dict[str, torch.Tensor]:
    """Tensors of several shapes and types, two of one storage."""
    whole = torch.arange(12.0)
    held = {
        "a.weight": whole.reshape(3, 4),
        "a.bias": whole[:3],
        "n": torch.tensor(3),
        "h": torch.ones(2).half(),
    }
    return {**held, "empty": torch.zeros(0, 3)}


def safetensors_of(values: dict[str, torch.Tensor]) -> bytes:
    """A safetensors file of tensors that may share storages."""
    content: bytes = safetensors.torch.save(
        {name: value.clone() for name, value in values.items()}, {"x": "y"}
    )
    return content


def safetensors_(_: Path) -> Sequence[bytes]:
    """A file of weights."""
    return [safetensors_of(_some())]


def torch_files(folder: Path) -> Sequence[bytes]:
    """Files of weights as torch wrote them before and since version 1.6, one inside a checkpoint."""
    path, found = folder / "t.pth", []
    inside = {"state_dict": OrderedDict(_some()), "epoch": 3, "args": None}
    for content in (_some(), inside, {"model": {"w": torch.nn.Parameter(torch.ones(2))}}):
        for zipped in (True, False):
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
            found.append(path.read_bytes())
    return found


def encoders(folder: Path) -> Sequence[bytes]:
    """An encoder with a readout."""
    encoder = make_encoder(EncoderConfig.parse("drq:features=4,readout=pca"), (16, 16))
    encoder.fit(torch.randint(0, 255, (8, 16, 16, 3), dtype=torch.uint8, generator=torch.manual_seed(0)))
    return [encoder.save(folder / "sound.safetensors").read_bytes()]


def states(folder: Path) -> Sequence[bytes]:
    """A training state's kinds of values."""
    (folder / "training").mkdir()
    for name in ("records.jsonl", "times.jsonl"):
        (folder / name).write_bytes(b"{}\n" * 9)
    state = {
        "recorder": {"records": 3, "times": 3},
        "values": {
            "a": 1,
            "b": (1.5, None),
            "c": deque([1, 2], 3),
            "d": {1: "x"},
            "e": b"bytes",
            "f": np.float32(2),
        },
        "arrays": [np.arange(6.0).reshape(2, 3), np.array(3), torch.ones(2)],
        "generator": np.random.default_rng(0),
    }
    return [pack(state)]


def trainings(folder: Path) -> Sequence[bytes]:
    """What `save_training` keeps of agents of stable-baselines3."""
    found = []
    for kind, options in ((PPO, {"n_steps": 8, "batch_size": 8}), (SAC, {"buffer_size": 40})):
        model = kind("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]}, seed=0, **options)
        model.learn(8)
        found.append(save_training(model, folder / "training").read_bytes())
    return found


def seal_state(path: Path) -> None:
    """Name a training state by its content."""
    for old in path.parent.glob("*-*.safetensors"):
        if old != path:
            old.unlink()
    path.rename(
        path.with_name(f"000000000010-{hashlib.sha256(path.read_bytes()).hexdigest()[:32]}.safetensors")
    )


@functools.cache
def model() -> mujoco.MjModel:
    """The robot of the recordings."""
    return robot_of(Task.parse("InvertedPendulum-v5")).model()


def columns() -> dict[str, Any]:
    """A recording of it by its columns."""
    time = 0.04 * np.arange(N)
    names = ("slider.position", "hinge.angle", "slider.velocity", "hinge.velocity")
    values = (0.1 * np.sin(time), 0.1 * np.cos(time), 0.1 * np.cos(time), -0.1 * np.sin(time))
    return {"time": time, **dict(zip(names, values, strict=True)), "slide.ctrl": np.zeros(N)}


def npz(folder: Path) -> Sequence[bytes]:
    """Recordings as NumPy's archives, packed and not."""
    held, found = columns(), []
    arrays = {
        "qpos": np.stack([held["slider.position"], held["hinge.angle"]], 1),
        "qvel": np.stack([held["slider.velocity"], held["hinge.velocity"]], 1),
        "episode": np.repeat([0, 1], N // 2),
    }
    for save in (np.savez, np.savez_compressed):
        save(folder / "sound.npz", time=held["time"], ctrl=np.zeros((N, 1)), **arrays)
        found.append((folder / "sound.npz").read_bytes())
    return found


def csv(_: Path) -> Sequence[bytes]:
    """Tables with commas, and with semicolons and decimal commas."""
    held = columns()
    rows = [list(held), *([f"{value:.5f}" for value in row] for row in zip(*held.values(), strict=True))]
    plain = "\n".join(map(",".join, rows))
    return [plain.encode(), ("# a comment\n" + plain.replace(",", ";").replace(".0", ",0")).encode()]


def _parquet(path: Path, **more: Any) -> bytes:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({**columns(), **more}), path)
    return path.read_bytes()


def parquet(folder: Path) -> Sequence[bytes]:
    """Parquet files, one with text and lists."""
    more = {"text": ["x"] * N, "list": [[1.0, 2.0]] * N, "episode_index": [0] * N}
    return [_parquet(folder / "sound.parquet"), _parquet(folder / "sound.parquet", **more)]


def lerobot(folder: Path) -> Sequence[bytes]:
    """The description of a LeRobot dataset."""
    for name in ("data", "meta"):
        (folder / "set" / name).mkdir(parents=True)
    _parquet(folder / "set" / "data" / "r.parquet", extra=[[1.0, 2.0]] * N)
    features = {
        "extra": {"dtype": "float32", "shape": [2], "names": {"motors": ["a", "b"]}},
        "time": {"dtype": "f"},
    }
    return [json.dumps({"codebase_version": "v2.1", "fps": 25, "features": features}).encode()]


def evaluations(folder: Path) -> Sequence[bytes]:
    """What SB3's EvalCallback writes."""
    path = folder / "sound.npz"
    np.savez(path, timesteps=[0, 10, 20], results=[[1.0, 2.0]] * 3, ep_lengths=[[5, 5]] * 3)
    return [path.read_bytes()]


def monitors(_: Path) -> Sequence[bytes]:
    """What SB3's Monitor writes, of one session and two."""
    rows = "".join(f"{i}.5,{i + 3},{i / 10}\n" for i in range(12))
    one = '#{"t_start": 1.0, "env_id": "x"}\nr,l,t\n' + rows
    return [one.encode(), (one + '#{"t_start": 9.0}\nr,l,t,extra\n' + rows.replace("\n", ",1\n")).encode()]


def events(folder: Path) -> Sequence[bytes]:
    """Event files of scalars and of tensors."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter
    from tensorboard.util.tensor_util import make_tensor_proto

    path, found = folder / "sound", []
    for old in (True, False):
        with path.open("wb") as file:
            writer = RecordWriter(file)
            writer.write(Event(wall_time=1.0, file_version="brain.Event:2").SerializeToString())
            for step in range(4):
                value = {"simple_value": 1.0} if old else {"tensor": make_tensor_proto(1.0)}
                entry = Summary.Value(tag="eval/mean_reward", **value)
                made = Event(wall_time=2.0 + step, step=step, summary=Summary(value=[entry]))
                writer.write(made.SerializeToString())
            writer.flush()
        found.append(path.read_bytes())
    path.unlink()
    return found


def of_run(folder: Path) -> Sequence[bytes]:
    """A whole run of an old version; the seed is the file that is there under the target's name."""
    shutil.copytree(DATA / "old_run", folder / "run")
    return ()


def one_trial(folder: Path) -> Sequence[bytes]:
    """The same with one trial; the seed is its records."""
    of_run(folder)
    place = folder / "run" / "trials.json"
    listed = json.loads(place.read_text())
    write_json(place, {**listed, "trials": [row for row in listed["trials"] if row["hash"] == TRIAL]})
    (folder / "run" / "study.yaml").write_text("name: old\nbaseline: scratch\nseeds: [0]\n")
    return ()


def claims(folder: Path) -> Sequence[bytes]:
    """The claim on a trial."""
    of_run(folder)
    owner = {"pid": 1, "host": "h", "started": "1", "token": "t"}
    (folder / "run" / "trials" / TRIAL / CLAIM).write_text(json.dumps(owner))
    return ()


def models(_: Path) -> Sequence[bytes]:
    """A robot as MuJoCo's XML."""
    text = """<mujoco model="m"><compiler angle="radian"/><option timestep="0.02"/>
<worldbody><geom name="floor" type="plane" size="4 4 1"/><body name="b" pos="0 0 1">
<joint name="j" type="hinge" axis="0 1 0" range="-1 1"/>
<geom name="g" type="capsule" size="0.05 0.3" density="100"/>
</body></worldbody><actuator><motor name="a" joint="j" ctrlrange="-1 1"/></actuator></mujoco>"""
    return [text.encode()]
