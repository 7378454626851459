"""Hostile files end in a message that names them, soon, in little memory, and nothing in them is executed."""

import contextlib
import functools
import pickle
import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.fuzzing import corpus, seeds
from tests.fuzzing.corpus import JSON, SAFETENSORS, SB3, TENSORS, TORCH, UNREAD, YAML, ZIPS, Change
from tests.fuzzing.mutators import BOMB, CANARY
from tests.fuzzing.targets import TARGETS
from tests.fuzzing.watch import watch

SECONDS = 3.0
ADDRESSES = 3 << 30
"""Bytes of address space that reading may take."""
WHOLE = {"a pickle": lambda _: BOMB, "nothing": lambda _: b"", "noise": lambda _: Random(0).randbytes(5000)}
WHOLE |= {"zeros": lambda _: bytes(1 << 20), "cut": lambda data: data[: len(data) // 3]}

REFUSED: dict[str, dict[str, Change]] = {
    "SB3 zip": {**ZIPS, **SB3},
    "rsl_rl": {**ZIPS, **TORCH},
    "weights, torch": {
        **ZIPS,
        **TORCH,
        **{f"a weight, {n}": lambda _, m=m: corpus.torch_file(m) for n, m in TENSORS.items()},
    },
    "recording, npz": {**ZIPS, **corpus.arrays("qpos.npy"), **corpus.arrays("ctrl.npy")},
    "evaluations.npz": {**ZIPS, **corpus.arrays("timesteps.npy"), **corpus.arrays("results.npy")},
    "VecNormalize": {name: lambda _, bomb=bomb: bomb for name, bomb in corpus.BOMBS.items()},
    "checkpoint's tensors": SAFETENSORS,
    "weights, safetensors": SAFETENSORS,
    "encoder": SAFETENSORS,
    "replay": SAFETENSORS,
    "YAML": {kind: change for kind, change in YAML.items() if kind not in corpus.AS_A_FILE},
    "study": YAML,
    "pairs": {kind: change for kind, change in YAML.items() if kind != "a pickle"},  # none are in it
    "reality": YAML,
    "run's study": YAML,
    "JSON": JSON,
    "checkpoint's JSON": {kind: change for kind, change in JSON.items() if kind != "a key twice"},  # sealing
    "trial.json": JSON,
    "trials.json": JSON,
    "gap.json": JSON,
    "transfer.json": JSON,
    "LeRobot's JSON": JSON,
}
"""What must be refused, by target."""
REFUSED["weights, torch"] |= {
    f"a weight before torch 1.6, {n}": lambda _, m=m: corpus.torch_file(m, old=True)
    for n, m in corpus.OLD_TENSORS.items()
}
ENDED: dict[str, dict[str, Change]] = {
    "SB3 zip": UNREAD,
    "training state": SAFETENSORS,
    "status.json": JSON,
    "claim": JSON,
    "records.jsonl": JSON,
    "times.jsonl": JSON,
}
"""What must do nothing, refused or passed over, by target."""


@contextmanager
def in_little_memory() -> Iterator[None]:
    """Take address space away for a while."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + ADDRESSES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(autouse=True)
def no_canary() -> None:
    """No bomb of another test lies there."""
    if CANARY.exists():
        CANARY.rmdir()


def ended(name: str, kinds: dict[str, Change], folder: Path) -> dict[str, str]:
    """What became of each kind; what is a fault fails."""
    target, found = TARGETS[name], dict[str, str]()
    with target.opened(folder / "t") as (sound, read):
        assert watch(lambda: read(sound[0]), target.expected, 20).kind == "accepted", (
            "the sound one isn't read"
        )
        with in_little_memory():
            for kind, change in kinds.items():
                content = change(sound[0])
                outcome = watch(lambda content=content: read(content), target.expected, SECONDS)
                assert outcome.kind in ("accepted", "refused"), f"{name}, {kind}: {outcome.why}"
                found[kind] = outcome.kind
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_files_are_refused(name: str, tmp_path: Path) -> None:
    found = ended(name, REFUSED[name], tmp_path)
    assert {kind for kind, became in found.items() if became == "accepted"} == set()


@pytest.mark.parametrize("name", ENDED)
def test_hostile_files_do_nothing(name: str, tmp_path: Path) -> None:
    assert ended(name, ENDED[name], tmp_path)


@pytest.mark.parametrize("name", TARGETS)
def test_files_of_another_kind(name: str, tmp_path: Path) -> None:
    assert ended(name, WHOLE, tmp_path)


@pytest.mark.parametrize("bomb", corpus.BOMBS)
def test_the_bombs_are_bombs(bomb: str) -> None:
    """Python's own unpickler runs them, so that what refuses them refuses something."""
    with contextlib.suppress(Exception):  # it was called before that
        pickle.loads(corpus.BOMBS[bomb])
    assert CANARY.is_dir()
    CANARY.rmdir()


FOUND: dict[str, tuple[str, Change]] = {}
"""What fuzzing has found, by what was wrong: the target, and the change that showed it."""


def found(target: str, wrong: str) -> Callable[[Change], Change]:
    """Add a finding."""

    def add(change: Change) -> Change:
        FOUND[wrong] = target, change
        return change

    return add


def _replaced(old: bytes, new: bytes) -> Change:
    def change(data: bytes) -> bytes:
        assert old in data, f"the sound file doesn't hold {old!r}"
        return data.replace(old, new, 1)

    return change


found("task", "a number of more than 4,300 digits")(lambda _: b"A-v0:x=" + b"9" * 5000)
found("task", "lists that are too deep")(lambda _: b"A-v0:x=" + b"[" * 5000)
found("task", "a word of digits read in quadratic time")(lambda _: b"A-v0:x=" + b"9" * 60_000 + b"z")
found("task", "a text without end")(lambda _: b"A-v0:x=" + b"9" * 1_000_000)
found("encoder text", "a name that is too long for a path")(lambda _: b"x" * 3000)
found("context", "a text without end")(lambda _: b"a=1," * 100_000)
found("checkpoint's JSON", "a number that is no JSON to be hashed")(
    _replaced(b'"steps": ', b'"steps": 1e999, "x": ')
)
found("task", "a text of more than 4,300 digits")(lambda _: b'A-v0:x="' + b"9" * 5000 + b'"')
found("recording, csv", "positions whose difference is no number")(
    lambda data: (
        b"time,slider.position,hinge.angle,slide.ctrl\n"
        + b"".join(b"%f,%s,0,0\n" % (0.04 * i, b"1e308" if i == 3 else b"-1e308") for i in range(12))
    )
)
found("Monitor csv", "a start of 400 digits")(
    lambda data: data.replace(b'"t_start": 1.0', b'"t_start": ' + b"9" * 400)
)
found("recording, csv", "names compared in quadratic time")(
    lambda data: b",".join(b"c%d" % i for i in range(200_000)) + b"\n" + b"1," * 199_999 + b"1\n"
)
found("recording, csv", "a line without end")(lambda data: data + b"1" * (1 << 21))
found("recording, csv", "more columns than anybody names")(
    lambda data: b",".join(b"c%d" % i for i in range(20_000)) + b"\n" + b"1," * 19_999 + b"1\n"
)


def _event(**fields: object) -> Change:
    """An event file with one more event, in a sound frame."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import masked_crc32c

    content = Event(**fields).SerializeToString()  # type: ignore[arg-type]
    size = struct.pack("<Q", len(content))
    frame = (
        size + struct.pack("<I", masked_crc32c(size)) + content + struct.pack("<I", masked_crc32c(content))
    )
    return lambda data: data + frame


@functools.cache
def _filled() -> Change:
    """A tensor that says it has a petabyte of one number."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1 << 32)])
    tensor = TensorProto(dtype=1, tensor_shape=shape, float_val=[1.0])
    return _event(
        wall_time=9.0, summary=Summary(value=[Summary.Value(tag="eval/mean_reward", tensor=tensor)])
    )


found("TensorBoard events", "a tensor that fills the memory")(lambda data: _filled()(data))
found("TensorBoard events", "a time that is no number")(lambda data: _event(wall_time=float("nan"))(data))
found("ONNX", "more fields than anybody writes")(lambda data: b"\x08\x01" * 500_000 + data)
found("MuJoCo model", "entities inside one another")(
    lambda _: b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;">]><mujoco model="&b;"/>'
)
found("MuJoCo model", "elements inside one another")(lambda _: b"<mujoco><worldbody>" + b"<body>" * 100_000)
found("MuJoCo model", "another file")(lambda _: b'<mujoco><include file="/etc/passwd"/></mujoco>')
PASSED = {
    "a word of digits read in quadratic time",
    "a text of more than 4,300 digits",
    "entities inside one another",
}
"""Findings that are sound, and were slow or might have been."""


@pytest.mark.parametrize("wrong", FOUND)
def test_what_fuzzing_found(wrong: str, tmp_path: Path) -> None:
    name, change = FOUND[wrong]
    (became,) = ended(name, {wrong: change}, tmp_path).values()
    assert became == ("accepted" if wrong in PASSED else "refused")


def test_a_parquet_of_few_bytes_that_stand_for_gigabytes(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    count = 2_000
    text = pyarrow.DictionaryArray.from_arrays([0] * count, ["x" * 1_000_000])
    columns = {key: list(values[:1]) * count for key, values in seeds.columns().items()}
    parquet.write_table(pyarrow.table({**columns, "note": text}), tmp_path / "b", store_schema=False)
    content = (tmp_path / "b").read_bytes()
    assert len(content) < 1 << 20
    assert ended("recording, Parquet", {"texts": lambda _: content}, tmp_path) == {"texts": "refused"}


def test_more_members_than_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from warmstart.agents.untrusted import zips

    monkeypatch.setattr(zips, "MOST_MEMBERS", 10)

    def many(data: bytes) -> bytes:
        return corpus.zip_of([*corpus.members_of(data).items(), *((str(i), b"") for i in range(9))])

    for name in ("recording, npz", "evaluations.npz"):
        assert ended(name, {"many": many}, tmp_path / name) == {"many": "refused"}
