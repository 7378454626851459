"""Curves of others that are damaged, or made to do harm, end in a message."""

import struct
import zipfile

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from tests.hostile import FILES, ends_in_a_message
from warmstart.experiments.foreign import evaluations as module
from warmstart.experiments.foreign.evaluations import read_evaluations
from warmstart.experiments.foreign.events import read_events
from warmstart.experiments.foreign.monitors import read_monitors


@pytest.fixture
def evaluations(tmp_path):
    path = tmp_path / "evaluations.npz"
    np.savez(path, timesteps=[0, 10], results=[[1.0], [2.0]])
    return path


@pytest.fixture
def monitor(tmp_path):
    path = tmp_path / "0.monitor.csv"
    path.write_text('#{"t_start": 1.0, "env_id": "x"}\nr,l,t\n1.0,5,0.1\n2.0,5,0.2\n3.0,5,0.3\n')
    return path


@pytest.fixture
def events(tmp_path):
    writer = SummaryWriter(str(tmp_path))
    for step in range(3):
        writer.add_scalar("eval/mean_reward", step, step)
    writer.close()
    return next(tmp_path.glob("*tfevents*"))


READERS = {
    "evaluations": read_evaluations,
    "monitor": lambda path: read_monitors([path]),
    "events": read_events,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", FILES)
def test_damaged_files(kind, name, request):
    path = request.getfixturevalue(name)
    READERS[name](path)
    FILES[kind](path)
    part = name == "events" and kind == "half"  # what was written before is read
    part |= name == "monitor" and kind == "half"
    assert ends_in_a_message(lambda: READERS[name](path), path.name, kind) or part


def array_that_claims(shape, descr="<f8"):
    """A .npy file with a header of its own, and eight bytes."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 8


ARRAYS = {
    "claims a petabyte": array_that_claims(f"({1 << 47},)"),
    "negative shape": array_that_claims("(-3,)"),
    "odd type": array_that_claims("(1,)", "nonsense"),
    "Python objects": array_that_claims("(1,)", "|O"),
    "text": array_that_claims("(1,)", "<U2"),
    "complex": array_that_claims("(1,)", "<c8"),
    "no header": b"\x93NUMPY",
    "empty": b"",
    "deep header": b"\x93NUMPY\x01\x00" + struct.pack("<H", 60_000) + b"(" * 60_000,
}


@pytest.mark.parametrize("member", ["timesteps.npy", "results.npy"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_lying_arrays(kind, member, evaluations):
    with zipfile.ZipFile(evaluations) as packed:
        held = {name: packed.read(name) for name in packed.namelist()}
    with zipfile.ZipFile(evaluations, "w") as packed:
        for name, content in (held | {member: ARRAYS[kind]}).items():
            packed.writestr(name, content)
    assert ends_in_a_message(lambda: read_evaluations(evaluations), "evaluations.npz", kind)


def test_archive_that_unpacks_to_much(evaluations, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 1 << 20)
    np.savez_compressed(evaluations, timesteps=np.zeros(1 << 17), results=np.zeros(1 << 17))
    assert evaluations.stat().st_size < 1 << 13
    assert ends_in_a_message(
        lambda: read_evaluations(evaluations), "evaluations.npz is .*: it holds .* bytes", "bomb"
    )


LINES = {
    "text": "a,5,0.4",
    "infinite time": "1,5,inf",
    "NaN length": "1,nan,0.4",
    "large length": "1,1e300,0.4",
    "negative length": "1,-5,0.4",
    "few cells": "1,5",
    "many cells": "1,5,0.4,7",
    "quote": '"1,5,0.4',
    "long": "1" * 200_000 + ",5,0.4",
}


@pytest.mark.parametrize("kind", LINES)
def test_odd_lines_of_a_monitor(kind, monitor):
    lines = monitor.read_text().splitlines()
    monitor.write_text("\n".join([*lines[:3], LINES[kind], *lines[3:]]))
    assert ends_in_a_message(lambda: read_monitors([monitor]), "0.monitor.csv, line 4", kind)


STARTS = ('"x"', "1e999", "true")
HEADERS = ["#", "#[]", "#{", *(f'#{{"t_start": {value}}}' for value in STARTS), f"#{'[' * 50_000}"]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_odd_headers_of_a_monitor(header, monitor):
    monitor.write_text("\n".join([header, *monitor.read_text().splitlines()[1:]]))
    assert ends_in_a_message(lambda: read_monitors([monitor]), "0.monitor.csv", header[:20])
