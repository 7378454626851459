"""Hostile files, made at run time: what an attacker or a broken disk can do to a sound one of each format."""

import base64
import functools
import io
import json
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from tests.fuzzing.mutators import BOMB, CANARY

Change = Callable[[bytes], bytes]
_PATH = str(CANARY).encode()
BOMBS: dict[str, bytes] = {
    "reduce": BOMB,
    "inst": b"(V" + _PATH + b"\niposix\nmkdir\n.",
    "obj": b"(cposix\nmkdir\nV" + _PATH + b"\no.",
    "stack global": b"\x80\x04\x8c\x05posix\x8c\x05mkdir\x93V" + _PATH + b"\n\x85R.",
    "argument of another": b"cbuiltins\nlist\n(" + BOMB[:-1] + b"tR.",
    "state of another": b"ccollections\nOrderedDict\n)R" + BOMB[:-1] + b"b.",
    "key of a dict": b"}" + BOMB[:-1] + b"K\x01s.",
}
"""Pickles that make `CANARY` when they are loaded, by the opcode that calls."""


def members_of(data: bytes) -> dict[str, bytes]:
    """Members of an archive by name."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zip_of(
    members: "Mapping[str, bytes] | list[tuple[str, bytes]]", method: int = zipfile.ZIP_STORED
) -> bytes:
    """An archive of members, of which several may have one name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method, compresslevel=1) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there already
        for name, content in members.items() if isinstance(members, Mapping) else members:
            archive.writestr(zipfile.ZipInfo(name), content, method, 1)
    return out.getvalue()


def _more(name: str, content: bytes = b"x", method: int = zipfile.ZIP_STORED) -> Change:
    return lambda data: zip_of([*members_of(data).items(), (name, content)], method)


def _field(signature: bytes, offset: int, form: str, value: int, every: bool = False) -> Change:
    """Overwrite a field of an archive's first record (or all) of a kind."""

    def change(data: bytes) -> bytes:
        out, at = bytearray(data), data.find(signature)
        while at >= 0:
            struct.pack_into(form, out, at + offset, value)
            at = data.find(signature, at + 4) if every else -1
        return bytes(out)

    return change


def _end(data: bytes, offset: int) -> bytes:
    return _field(b"PK\x05\x06", offset, "<I", 0x7FFFFFF0)(data)


def _end_64(data: bytes, offset: int) -> bytes:
    return _field(b"PK\x06\x06", offset, "<Q", 0x7FFFFFF0)(data)


def _flipped_inside(data: bytes) -> bytes:
    """One bit of a member's content, without a new checksum."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        largest = max(archive.infolist(), key=lambda each: each.compress_size)
    at = largest.header_offset + 30 + len(largest.filename) + largest.compress_size // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@functools.cache
def _zeros() -> bytes:
    return bytes((1 << 26) + 1)


ZIPS: dict[str, Change] = {
    "zip bomb": lambda data: zip_of([*members_of(data).items(), ("bomb", _zeros())], zipfile.ZIP_DEFLATED),
    "path upwards": _more("../../x"),
    "absolute path": _more("/etc/x"),
    "path of Windows": _more("C:\\x"),
    "duplicate names": lambda data: zip_of([*members_of(data).items()] * 2),
    "encrypted": _field(b"PK\x01\x02", 8, "<H", 1, every=True),
    "bzip2": lambda data: zip_of(members_of(data), zipfile.ZIP_BZIP2),
    "lzma": lambda data: zip_of(members_of(data), zipfile.ZIP_LZMA),
    "unknown packing": _field(b"PK\x01\x02", 10, "<H", 99, every=True),
    "declares 4 GB": _field(b"PK\x01\x02", 24, "<I", 0xFFFFFFF0, every=True),
    "declares 4 GB packed": _field(b"PK\x01\x02", 20, "<I", 0xFFFFFFF0, every=True),
    "list of members of 4 GB": lambda data: _end(_end_64(data, 40), 12),
    "list of members elsewhere": lambda data: _end(_end_64(data, 48), 16),
    "bytes before it": lambda data: b"\x93NUMPY\x01\x00" + data,
    "bit flipped inside": _flipped_inside,
    "no members": lambda data: zip_of({}),
    "end cut": lambda data: data[:-10],
}
"""Archives that must be refused, whatever they hold."""


def _pickled(obj: Any, old: bool) -> bytes:
    out = io.BytesIO()
    torch.save(obj, out, _use_new_zipfile_serialization=not old)
    return out.getvalue()


class _Lie:
    """A tensor whose pickle says what it likes of its storage."""

    def __init__(self, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.said = offset, size, stride

    def __reduce__(self) -> Any:
        storage = torch.zeros(4)._typed_storage()
        return torch._utils._rebuild_tensor_v2, (storage, *self.said, False, OrderedDict())


def _doubled() -> Any:
    shared: Any = (0,)
    for _ in range(60):
        shared = (shared, shared)
    return shared


def _sparse() -> torch.Tensor:
    indices = torch.tensor([[1 << 40, 7]])
    return torch.sparse_coo_tensor(indices, torch.ones(2), (3,), check_invariants=False)


def _csr() -> torch.Tensor:
    parts = torch.tensor([0, 1 << 40]), torch.tensor([1 << 30])
    with warnings.catch_warnings(action="ignore"):  # of torch, that they are new
        return torch.sparse_csr_tensor(*parts, torch.ones(1), (1, 2), check_invariants=False)


TENSORS: dict[str, Callable[[], Any]] = {
    "sparse, indices beyond": _sparse,
    "sparse rows, indices beyond": _csr,
    "sparse": lambda: torch.eye(3).to_sparse(),
    "one number repeated": lambda: _Lie(0, (1 << 40,), (0,)),
    "beyond its storage": lambda: _Lie(0, (1000,), (1,)),
    "before its storage": lambda: _Lie(-8, (4,), (1,)),
    "size that overflows": lambda: _Lie(0, (1 << 62, 8), (1, 1)),
    "negative size": lambda: _Lie(0, (-1,), (1,)),
    "negative stride": lambda: _Lie(3, (4,), (-1,)),
    "without numbers": lambda: torch.empty(3, device="meta"),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "whole numbers": lambda: torch.ones(3, dtype=torch.int64),
    "NaN": lambda: torch.tensor([float("nan")]),
    "infinite": lambda: torch.tensor([float("inf")]),
    "nine axes": lambda: torch.ones((1,) * 9),
}
"""What may stand in place of a weight, and must be refused."""
OLD_TENSORS = {name: make for name, make in TENSORS.items() if not name.startswith("sparse")}


def torch_file(make: Callable[[], Any], old: bool = False) -> bytes:
    """A file of weights of which one is odd."""
    return _pickled({"a.weight": make()}, old)


def shorter_record(data: bytes) -> bytes:
    """A file of torch whose storages have fewer bytes than its pickle says."""
    return zip_of({name: c[:8] if "/data/" in name else c for name, c in members_of(data).items()})


def _with_pickle(bomb: bytes) -> Change:
    """A file of torch with another pickle."""
    return lambda data: zip_of(
        {name: bomb if name.endswith("/data.pkl") else c for name, c in members_of(data).items()}
    )


TORCH: dict[str, Change] = {
    **{f"pickle bomb, {name}": _with_pickle(bomb) for name, bomb in BOMBS.items()},
    **{f"bomb alone, {name}": lambda _, bomb=bomb: bomb for name, bomb in BOMBS.items()},
    "doubled at each level": lambda _: _pickled({"a.weight": torch.ones(1), "epoch": _doubled()}, False),
    "doubled, before torch 1.6": lambda _: _pickled({"a.weight": torch.ones(1), "epoch": _doubled()}, True),
    "storages cut": shorter_record,
    "no pickle": lambda data: zip_of({n: c for n, c in members_of(data).items() if "data.pkl" not in n}),
    "two pickles": lambda data: zip_of({**members_of(data), "other/data.pkl": BOMB}),
    "bytes after it": lambda data: data + bytes(40),
    "packed": lambda data: zip_of(members_of(data), zipfile.ZIP_DEFLATED),
}
"""Files of ``torch.save`` that must be refused."""


def in_zip(name: str, change: Change) -> Change:
    """Change one member of an archive."""
    return lambda data: zip_of({**members_of(data), name: change(members_of(data)[name])})


def _serialized(key: str, bomb: bytes) -> Change:
    """Put a pickle in place of that of an entry of SB3's ``data``."""

    def change(data: bytes) -> bytes:
        held = json.loads(data)
        held[key] = {":type:": "<class 'x'>", ":serialized:": base64.b64encode(bomb).decode()}
        return json.dumps(held).encode()

    return in_zip("data", change)


READ = ("policy_class", "observation_space", "action_space")
"""Entries of SB3's ``data`` whose pickles are read."""
SB3: dict[str, Change] = {
    **{f"{key}: bomb, {name}": _serialized(key, bomb) for key in READ for name, bomb in BOMBS.items()},
    **{f"policy.pth: {kind}": in_zip("policy.pth", change) for kind, change in TORCH.items()},
    **{
        f"policy.pth: {kind}": in_zip("policy.pth", ZIPS[kind])
        for kind in ("duplicate names", "encrypted", "bit flipped inside", "path upwards")
    },
    **{
        f"pytorch_variables.pth: bomb, {name}": in_zip("pytorch_variables.pth", lambda _, bomb=bomb: bomb)
        for name, bomb in BOMBS.items()
    },
    "data: brackets": in_zip("data", lambda _: b"[" * 100_000),
    "data: no text": in_zip("data", lambda _: b"\xff\xfe"),
    "data: a key twice": in_zip("data", lambda content: content.rstrip()[:-1] + b',"gamma":1,"gamma":2}'),
}
UNREAD: dict[str, Change] = {
    f"{key}: bomb, {name}": _serialized(key, bomb)
    for key in ("lr_schedule", "ep_info_buffer", "policy_kwargs", "_last_obs", "new")
    for name, bomb in BOMBS.items()
}
"""Bombs in entries that needn't be read: nothing may come of them, refused or not."""


def safetensors_file(header: Any, body: bytes = bytes(16)) -> bytes:
    """A safetensors file with a header as it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def _one(
    shape: Any = (4,), offsets: Any = (0, 16), dtype: Any = "F32", name: str = "a.weight"
) -> dict[str, Any]:
    return {name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


_ENTRY = b'"a.weight":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'
SAFETENSORS: dict[str, Change] = {
    "header of an exabyte": lambda data: struct.pack("<Q", 1 << 60) + data[8:],
    "negative header": lambda data: b"\xff" * 8 + data[8:],
    "header too short": lambda data: struct.pack("<Q", 3) + data[8:],
    "shape that overflows": lambda _: safetensors_file(_one((1 << 62, 16))),
    "shape of a petabyte": lambda _: safetensors_file(_one((1 << 48,))),
    "negative shape": lambda _: safetensors_file(_one((-4,))),
    "offsets beyond": lambda _: safetensors_file(_one(offsets=(0, 1 << 50))),
    "offsets reversed": lambda _: safetensors_file(_one(offsets=(16, 0))),
    "a hole": lambda _: safetensors_file(_one(offsets=(4, 20)), bytes(20)),
    "overlapping": lambda _: safetensors_file(_one() | _one(name="b.weight")),
    "a name twice": lambda _: safetensors_file(
        b"{" + _ENTRY + b"," + _ENTRY.replace(b"0,16", b"16,32") + b"}", bytes(32)
    ),
    "unknown type": lambda _: safetensors_file(_one(dtype="F1024")),
    "sparse type": lambda _: safetensors_file(_one(dtype="SPARSE")),
    "no type": lambda _: safetensors_file(_one(dtype=None)),
    "deep header": lambda _: safetensors_file(b"[" * 100_000),
    "header is a number": lambda _: safetensors_file(b"9" * 5000),
    "a pickle": lambda _: BOMB,
    "bytes after it": lambda data: data + bytes(7),
    "NaN": lambda _: safetensors_file(_one(), np.full(4, np.nan, np.float32).tobytes()),
    "nine axes": lambda _: safetensors_file(_one((1,) * 8 + (4,))),
}
"""Safetensors files that must be refused."""


def npy(descr: str = "<f8", shape: str = "(12,)", body: bytes = bytes(96)) -> bytes:
    """An array with a header of its own."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


ARRAYS: dict[str, bytes] = {
    **{f"bomb, {name}": npy("'|O'", body=bomb) for name, bomb in BOMBS.items()},
    "a pickle": BOMB,
    "a petabyte": npy("'<f8'", f"({1 << 47},)"),
    "a gigabyte of nothing": npy("'|V0'", "(1073741824,)", b""),
    "shape that overflows": npy("'<f8'", f"({1 << 62}, 16)"),
    "negative": npy("'<f8'", "(-12,)"),
    "shorter": npy("'<f8'", body=bytes(88)),
    "longer": npy("'<f8'", body=bytes(104)),
    "text": npy("'<U2'"),
    "dates": npy("'<M8[s]'"),
    "structured": npy("[('a', '<f4'), ('b', '|O')]"),
    "code for a type": npy("__import__('posix').mkdir('" + str(CANARY) + "')"),
    "deep header": npy("(" * 300 + ")" * 300),
    "version 9": b"\x93NUMPY\x09\x00" + npy("'<f8'")[8:],
}


def arrays(member: str) -> dict[str, Change]:
    """Archives of arrays one of which is hostile."""
    return {f"{member}: {kind}": in_zip(member, lambda _, c=c: c) for kind, c in ARRAYS.items()}


JSON: dict[str, Change] = {
    "brackets": lambda _: b"[" * 1_000_000,
    "braces": lambda _: b'{"a":' * 100_000,
    "deeper than allowed": lambda _: b'{"a":' * 70 + b"1" + b"}" * 70,
    "number of 100,000 digits": lambda data: data.replace(b"{", b'{"x": ' + b"9" * 100_000 + b",", 1),
    "number that isn't finite": lambda data: data.replace(b"{", b'{"x": 1e999,', 1),
    "NaN": lambda data: data.replace(b"{", b'{"x": NaN,', 1),
    "a key twice": lambda data: data.replace(b"{", b'{"x": 1, "x": 2,', 1),
    "half of a pair": lambda data: data.replace(b"{", b'{"x": "\\ud800",', 1),
    "no text": lambda data: b"\xff" + data,
    "NUL": lambda data: data.replace(b"{", b"{\0", 1),
    "half": lambda data: data[: len(data) // 2],
    "a pickle": lambda _: BOMB,
}
"""JSON that must be refused."""
YAML: dict[str, Change] = {
    "doubled at each level": lambda data: (
        data
        + b"\nx0: &x0 [1, 1]\n"
        + b"".join(b"x%d: &x%d [*x%d, *x%d]\n" % (i, i, i - 1, i - 1) for i in range(1, 40))
    ),
    "anchor in itself": lambda data: data + b"\nx: &x [*x]\n",
    "brackets": lambda data: data + b"\nx: " + b"[" * 100_000,
    "a key twice": lambda data: data + b"\nx: 1\nx: 2\n",
    "code": lambda data: data + b"\nx: !!python/object/apply:os.mkdir ['" + _PATH + b"']\n",
    "module": lambda data: data + b"\nx: !!python/module:os\n",
    "code of a new object": lambda data: data + b"\nx: !!python/object/new:os.mkdir ['" + _PATH + b"']\n",
    "number of 100,000 digits": lambda data: data + b"\nx: " + b"9" * 100_000,
    "NUL": lambda data: data + b"\nx: a\0b\n",
    "half of a pair": lambda data: data + b'\nx: "\\ud800"\n',
    "no text": lambda data: b"\xff\xfe\xff" + data,
    "large": lambda data: data + b"# " + b"x" * (1 << 22),
    "a pickle": lambda _: BOMB,
}
"""YAML that must be refused."""
AS_A_FILE = ("no text", "large", "a pickle")
"""Those of them that a text isn't."""
