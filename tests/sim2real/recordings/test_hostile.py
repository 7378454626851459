"""Recordings that are damaged, or made to do harm, end in a message."""

import json
import zipfile

import numpy as np
import pytest

from tests.experiments.foreign.test_hostile import ARRAYS
from tests.hostile import FILES, ends_in_a_message, json_variants, write_json
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.recordings.files import read_recordings

TASK = Task.parse("InvertedPendulum-v5")
N = 12


def columns():
    time = 0.04 * np.arange(N)
    return {
        "time": time,
        "slider.position": 0.1 * np.sin(time),
        "hinge.angle": 0.1 * np.cos(time),
        "slider.velocity": 0.1 * np.cos(time),
        "hinge.velocity": -0.1 * np.sin(time),
        "slide.ctrl": np.zeros(N),
    }


@pytest.fixture
def npz(tmp_path):
    held = columns()
    pairs = {"qpos": ("slider.position", "hinge.angle"), "qvel": ("slider.velocity", "hinge.velocity")}
    arrays = {key: np.stack([held[name] for name in names], 1) for key, names in pairs.items()}
    np.savez(tmp_path / "r.npz", time=held["time"], ctrl=np.zeros((N, 1)), **arrays)
    return tmp_path / "r.npz"


@pytest.fixture
def csv(tmp_path):
    held = columns()
    rows = [",".join(held), *(",".join(map(str, row)) for row in zip(*held.values(), strict=True))]
    (tmp_path / "r.csv").write_text("\n".join(rows))
    return tmp_path / "r.csv"


@pytest.fixture
def parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns()), tmp_path / "r.parquet")
    return tmp_path / "r.parquet"


@pytest.mark.parametrize("name", ["npz", "csv", "parquet"])
@pytest.mark.parametrize("kind", FILES)
def test_damaged_files(kind, name, request):
    path = request.getfixturevalue(name)
    read_recordings(path, TASK)
    FILES[kind](path)
    part = name == "csv" and kind == "half"  # fewer rows, the last of them whole or not
    assert ends_in_a_message(lambda: read_recordings(path, TASK), f"r.{name}", kind) or part


@pytest.mark.parametrize("member", ["time", "qpos", "qvel", "ctrl"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_lying_arrays(kind, member, npz):
    with zipfile.ZipFile(npz) as packed:
        held = {name: packed.read(name) for name in packed.namelist()}
    with zipfile.ZipFile(npz, "w") as packed:
        for name, content in (held | {f"{member}.npy": ARRAYS[kind]}).items():
            packed.writestr(name, content)
    assert ends_in_a_message(lambda: read_recordings(npz, TASK), r"r.npz|recording r\b|\br: ", kind)


CELLS = ["", "x", "nan", "inf", "1e400", "1e300", "true", '"', "0x10", "1" * 200_000]


@pytest.mark.parametrize("column", ["time", "hinge.angle", "slide.ctrl"])
@pytest.mark.parametrize("cell", CELLS, ids=range(len(CELLS)))
def test_odd_cells(cell, column, csv):
    rows = [line.split(",") for line in csv.read_text().splitlines()]
    rows[5][rows[0].index(column)] = cell
    csv.write_text("\n".join(map(",".join, rows)))
    assert ends_in_a_message(
        lambda: read_recordings(csv, TASK), r"r.csv|recording r\b|\br: |\br\b", f"{column} {cell[:9]}"
    )


def test_links_out_of_a_dataset(parquet, tmp_path):
    (tmp_path / "set" / "data").mkdir(parents=True)
    (tmp_path / "set" / "data" / "r.parquet").symlink_to(parquet)
    assert ends_in_a_message(
        lambda: read_recordings(tmp_path / "set", TASK), "r.parquet is a link out of", "link"
    )


def test_odd_descriptions_of_a_dataset(parquet, tmp_path):
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    (folder / "meta").mkdir()
    parquet.rename(folder / "data" / "r.parquet")
    info = {"features": {"observation.state": {"names": ["a", "b"]}, "time": {"dtype": "float64"}}}
    for what, changed in json_variants(info):
        write_json(folder / "meta" / "info.json", changed)
        ends_in_a_message(lambda: read_recordings(folder, TASK), "info.json", what)
    for kind, damage in FILES.items():
        path = folder / "meta" / "info.json"
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.write_text(json.dumps(info))
        damage(path)
        ends_in_a_message(lambda: read_recordings(folder, TASK), "info.json", kind)
