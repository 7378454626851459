import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from docs.architecture import ROOMS as ALL_ROOMS

ROOT = Path(__file__).parents[2]
ROOMS = ALL_ROOMS[:-1]


def test_importing_warmstart_loads_neither_torch_nor_mujoco():
    code = (
        "import sys, warmstart; dir(warmstart);"
        "heavy = {'torch', 'mujoco', 'stable_baselines3', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_public_name_resolves():
    import warmstart

    for name in warmstart.__all__:
        assert getattr(warmstart, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = warmstart.nonsense


def test_version_is_written_once():
    import warmstart

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert warmstart.__version__ == declared
    assert f"## {declared}" in (ROOT / "CHANGELOG.md").read_text()


def test_wheel_holds_one_top_level_package_and_its_data(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"warmstart"}
    for room in ROOMS:
        sources = {
            f"warmstart/{p.relative_to(ROOT)}"
            for p in (ROOT / room).rglob("*")
            if p.suffix in {".py", ".yaml", ".j2", ".css", ".js", ".xml"}
        }
        assert sources <= set(names), sources - set(names)
    assert "warmstart/py.typed" in names
    assert not [name for name in names if "test" in name]


def test_rooms_are_linked_for_type_checkers():
    for room in ROOMS:
        assert (ROOT / "typings" / "warmstart" / room).resolve() == (ROOT / room)
