"""Ways to damage a file whose format is known, so that its reader doesn't refuse it at once."""

import base64
import io
import json
import re
import struct
import zipfile
from random import Random

from tests.fuzzing.mutators import (
    BLIND,
    BOMB,
    NUMBERS,
    SCALARS,
    Mutator,
    cut,
    edit_json,
    edit_text,
    flip,
    join,
    poke,
    repeat,
)


def edit_safetensors(rng: Random, data: bytes) -> bytes:
    """Change the header, its length, or the tensors."""
    size = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + size], data[8 + size :]
    what = rng.randrange(6)
    if what < 3:
        header = edit_json(rng, header)
    elif what == 3:
        header = edit_text(rng, header)
    elif what == 4:
        return rng.choice(NUMBERS).to_bytes(8, "little") + data[8:]
    else:
        body = rng.choice(BLIND)(rng, body)
    return len(header).to_bytes(8, "little") + header + body


def edit_metadata(rng: Random, data: bytes) -> bytes:
    """Change the JSON in a safetensors header's texts."""
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size])
        texts = header["__metadata__"]
        key = rng.choice(sorted(texts))
        texts[key] = edit_json(rng, texts[key].encode()).decode("utf-8", "replace")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return edit_safetensors(rng, data)
    changed = json.dumps(header).encode()
    return len(changed).to_bytes(8, "little") + changed + data[8 + size :]


PICKLED = (
    BOMB[:-1],
    b"N",
    b"}",
    b"]",
    b")",
    b"(",
    b"0",
    b"2",
    b"K\x00",
    b"J\xff\xff\xff\xff",
    b"G\x7f\xf8" + b"\0" * 6,
)
PICKLED += (
    b"cos\nsystem\n",
    b"cbuiltins\neval\n",
    b"ctorch\nFloatStorage\n",
    b"Q",
    b"\x85",
    b"\x86",
    b"R",
    b"b",
    b"s",
    b"u",
)
PICKLED += (
    b"ctorch._utils\n_rebuild_sparse_tensor\n",
    b"X\xff\xff\xff\x7f",
    b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
)
PICKLED += (
    b"ctorch._utils\n_rebuild_qtensor\n",
    b"h\x00",
    b"j\xff\xff\xff\x7f",
    b"I" + b"9" * 5000 + b"\n",
    b"P1\n",
)
PICKLED += (
    b"2\x86" * 40,
    b"\x93",
    b"\x81",
    b"\x92",
    b".",
    b"t",
    b"l",
    b"d",
    b"e",
    b"a",
    b"\x94",
    b"\x8f",
    b"\x91",
)
"""Pieces of pickles: values, calls, names, marks, endings."""


def edit_pickle(rng: Random, data: bytes) -> bytes:
    """Put a piece of another pickle in, at an opcode or anywhere; else change a number in it."""
    if rng.random() < 0.4:
        return rng.choice((poke, flip, repeat, cut))(rng, data)
    place = rng.randrange(len(data) + 1)
    width = rng.choice((0, 0, 1, 2, 5))
    return data[:place] + rng.choice(PICKLED) + data[place + width :]


def edit_sb3_data(rng: Random, data: bytes) -> bytes:
    """Change ``data`` of an SB3 zip: its JSON, or one of the pickles in it."""
    try:
        held = json.loads(data)
        pickled = [key for key in held if isinstance(held[key], dict) and ":serialized:" in held[key]]
        if not pickled or rng.random() < 0.4:
            return edit_json(rng, data)
        one = held[rng.choice(pickled)]
        content = base64.b64decode(one[":serialized:"])
        one[":serialized:"] = base64.b64encode(edit_pickle(rng, content)).decode()
    except (ValueError, TypeError, AttributeError, RecursionError):
        return edit_json(rng, data)
    return json.dumps(held).encode()


def edit_npy(rng: Random, data: bytes) -> bytes:
    """Change the header of an array."""
    size = int.from_bytes(data[8:10], "little")
    header, body = data[10 : 10 + size], data[10 + size :]
    odd = (
        b"|O",
        b"<U4",
        b"<M8[s]",
        b">f4",
        b"<c8",
        b"|V8",
        b"|b1",
        b"<f2",
        b"(3,)",
        b"(-1,)",
        b"()",
        b"(1099511627776,)",
    )
    odd += (
        b"(2, 2",
        b"True",
        b"[('a', '<f8')]",
        b"1e5",
        b"nonsense",
        b"((((",
        b"\\d",
        b"(12, 0)",
        b"99999999999999999999L",
    )
    found = list(re.finditer(rb"'[<>|=]?\w+'|\([\d, ]*\)|True|False|\d+", header))
    if found and rng.random() < 0.8:
        one = rng.choice(found)
        new = rng.choice(odd)
        quoted = one.group().startswith(b"'") and not new.startswith(b"[")
        header = header[: one.start()] + (b"'" + new + b"'" if quoted else new) + header[one.end() :]
    else:
        header = rng.choice(BLIND)(rng, header)
    return data[:8] + struct.pack("<H", min(len(header), 65535)) + header + body


INSIDE: tuple[tuple[str, tuple[Mutator, ...]], ...] = (
    (".npy", (edit_npy, edit_npy, flip, poke, cut)),
    (".pkl", (edit_pickle,)),
    (".pth", ()),  # a zip again
    ("data", (edit_sb3_data,)),
)
"""How members of archives are changed, by the end of their name."""


def edit_zip(rng: Random, data: bytes) -> bytes:
    """Change one member and pack the archive anew with right checksums; or its names, kinds and sizes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(each.filename, archive.read(each)) for each in archive.infolist()]
    except Exception:  # noqa: BLE001 (damaged before)
        return rng.choice(BLIND)(rng, data)
    if not members:
        return rng.choice(BLIND)(rng, data)
    index, method = rng.randrange(len(members)), zipfile.ZIP_STORED
    weights = [
        index for index, (name, _) in enumerate(members) if name.endswith(tuple(end for end, _ in INSIDE))
    ]
    index = rng.choice(weights) if weights and rng.random() < 0.8 else index
    name, content = members[index]
    what = rng.randrange(16)
    if what < 11:
        ways = next((ways for end, ways in INSIDE if name.endswith(end)), BLIND)
        members[index] = name, (rng.choice(ways) if ways else edit_zip)(rng, content)
    elif what == 11:
        odd = (
            "../x",
            "/etc/x",
            "a\\b",
            "C:x",
            "",
            "data",
            "policy.pth",
            "x" * 3000,
            "archive/data.pkl",
            name,
        )
        members.insert(rng.randrange(len(members) + 1), (rng.choice(odd), content))
    elif what == 12:
        del members[index]
    elif what == 13:
        method = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    elif what == 14:
        members[index] = name, b"\0" * rng.choice((0, 1, 1000, 100_000))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.NameToInfo.pop(name, None)  # so that a second one of the name isn't warned of
            archive.writestr(zipfile.ZipInfo(name.replace("\0", "") or "_"), content, method)
    packed = out.getvalue()
    if what == 15:  # one field of the list of members
        place = packed.find(b"PK\x01\x02") + rng.choice((8, 10, 20, 24, 28, 30, 42))
        size = rng.choice((2, 4))
        packed = (
            packed[:place]
            + (rng.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, "little")
            + packed[place + size :]
        )
    return packed


def edit_cells(rng: Random, data: bytes) -> bytes:
    """Replace, leave out or repeat a cell of a table."""
    lines = data.decode("utf-8", "replace").split("\n")
    row = rng.randrange(len(lines))
    cells = lines[row].split(",")
    column = rng.randrange(len(cells))
    how = rng.randrange(4)
    if how < 2:
        cells[column] = rng.choice(SCALARS)
    elif how == 2:
        del cells[column]
    else:
        cells.insert(column, cells[column])
    lines[row] = ",".join(cells)
    return "\n".join(lines).encode("utf-8", "replace")


def edit_events(rng: Random, data: bytes) -> bytes:
    """Change the content of one TensorBoard record, or its length, with right checksums."""
    from tensorboard.summary.writer.record_writer import masked_crc32c

    records, at = [], 0
    while at + 12 <= len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        if size > len(data):
            break
        records.append(data[at + 12 : at + 12 + size])
        at += 16 + size
    if not records:
        return rng.choice(BLIND)(rng, data)
    index = rng.randrange(len(records))
    records[index] = rng.choice((flip, poke, cut, repeat, join))(rng, records[index])
    lies = rng.random() < 0.1
    out = b""
    for number, record in enumerate(records):
        length = struct.pack("<Q", rng.choice(NUMBERS) if lies and number == index else len(record))
        out += (
            length
            + struct.pack("<I", masked_crc32c(length))
            + record
            + struct.pack("<I", masked_crc32c(record))
        )
    return out
