"""Plugins: files and entry points, their hashes, and what is refused."""

import importlib.util
import json
import marshal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from warmstart.core import plugins
from warmstart.core.errors import WarmstartError
from warmstart.core.files import file_hash
from warmstart.experiments.study.loading import load_study
from warmstart.experiments.study.plan import make_plan
from warmstart.transfer.table import METHODS

METHOD = """
from dataclasses import dataclass
from typing import ClassVar

from warmstart.transfer.methods.scratch import Scratch
from warmstart.transfer.methods.base import register_method


@register_method
@dataclass(frozen=True)
class Mine(Scratch):
    name: ClassVar[str] = "mine_of_the_plugin_test"
"""


def test_a_file_is_loaded_hashed_and_part_of_every_hash(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(METHOD)
    (plugin,) = plugins.load_plugins([path])
    assert "mine_of_the_plugin_test" in METHODS
    assert plugins.load_plugins([path]) == (plugin,)  # loaded once
    study = load_study("smoke")
    with_plugin = {trial.hash for trial in make_plan(study, (plugin,)).trials}
    assert with_plugin.isdisjoint({trial.hash for trial in make_plan(study).trials})
    plugins.store_plugins([plugin], tmp_path)
    stored = tmp_path / "plugins" / plugin.stored_name / "mine.py"
    assert stored.read_text() == METHOD
    plugins.load_stored_plugins({"mine.py": plugin.sha256}, tmp_path)
    stored.write_text(METHOD + "# edited")
    with pytest.raises(WarmstartError, match="not the one that the trial was planned with"):
        plugins.load_stored_plugins({"mine.py": plugin.sha256}, tmp_path)
    stored.unlink()
    with pytest.raises(WarmstartError, match="can't be read"):
        plugins.load_stored_plugins({"mine.py": plugin.sha256}, tmp_path)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WarmstartError, match=r"nothing.py can't be read"):
        plugins.load_plugins([tmp_path / "nothing.py"])
    (tmp_path / "wrong.py").write_text("1 / 0\n")
    with pytest.raises(WarmstartError, match="ZeroDivisionError"):
        plugins.load_plugins([tmp_path / "wrong.py"])
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(f"x = {folder!r}\n")
    with pytest.raises(WarmstartError, match=r"Two different plugins are called same.py"):
        plugins.load_plugins([tmp_path / "a" / "same.py", tmp_path / "b" / "same.py"])


def test_installed_plugins_are_loaded_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    good = EntryPoint("good", "json", plugins.GROUP)
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: [good])
    (plugin,) = plugins.load_plugins()
    assert (plugin.name, plugin.path, len(plugin.sha256)) == ("good", None, 64)
    bad = EntryPoint("bad", "no_such_module_here", plugins.GROUP)
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: [bad])
    with pytest.raises(WarmstartError, match=r"plugin bad .*ModuleNotFoundError.*uninstall"):
        plugins.load_plugins()


def bring(folder: Path, helper: str = "beside_of_the_test") -> Path:
    """A plugin that needs a module and a file beside it."""
    (folder / "data").mkdir(parents=True)
    (folder / "plugin.py").write_text(
        f"from pathlib import Path\nimport {helper}\n"
        f"VALUE = {helper}.VALUE + (Path(__file__).parent / 'data' / 'text.txt').read_text()\n"
    )
    (folder / f"{helper}.py").write_text("VALUE = 'module and '\n")
    (folder / "data" / "text.txt").write_text("file")
    (folder / "runs").mkdir()
    (folder / "runs" / "trials.json").write_text("{}")
    return folder / "plugin.py"


def test_what_lies_beside_a_plugin_is_found_and_kept(tmp_path: Path) -> None:
    path = bring(tmp_path / "mine")
    (plugin,) = plugins.load_plugins([path])
    assert plugin.modules == ("beside_of_the_test.py",)
    plugins.store_plugins([plugin], tmp_path / "run")
    copies = tmp_path / "run" / "plugins" / plugin.stored_name
    found = sorted(file.relative_to(copies).as_posix() for file in copies.rglob("*") if file.is_file())
    assert found == ["beside_of_the_test.py", "data/text.txt", "plugin.json", "plugin.py"]
    (tmp_path / "mine" / "data" / "text.txt").unlink()
    code = (
        "from pathlib import Path; from warmstart.core import plugins\n"
        f"(path,) = plugins.load_plugins_of(Path({str(tmp_path / 'run')!r}))\n"
        "assert path.name == 'plugin.py'\n"
        "import sys; (module,) = (m for n, m in sys.modules.items() if n.startswith('warmstart_plugin_'))\n"
        "print(module.VALUE)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "module and file\n"
    (copies / "beside_of_the_test.py").write_text("VALUE = 'another'\n")
    with pytest.raises(WarmstartError, match="not the one that the trial was planned with"):
        plugins.load_stored_plugins({"plugin.py": plugin.sha256}, tmp_path / "run")


def test_a_stranger_s_run_runs_nothing_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    sha256 = file_hash(tmp_path / "evil.py")
    plugins.store_plugins([plugins.Plugin("evil.py", sha256, tmp_path / "evil.py")], tmp_path / "run")
    monkeypatch.setenv("WARMSTART_TRUSTED", str(tmp_path / "trusted.json"))
    monkeypatch.setattr("warmstart.core.trust._trusted", {})
    with pytest.raises(WarmstartError, match=r"was never run here as it is now: .* give it with --plugin"):
        plugins.load_plugins_of(tmp_path / "run")
    assert not (tmp_path / "ran").exists()


def test_a_trusted_plugin_vouches_for_nothing_that_a_stranger_put_beside_it(tmp_path: Path) -> None:
    (plugin,) = plugins.load_plugins([bring(tmp_path / "mine", "vouched_of_the_test")])
    plugins.store_plugins([plugin], tmp_path / "run")
    plugins._loaded.clear()  # as in another process
    del sys.modules["vouched_of_the_test"]
    folder = tmp_path / "run" / "plugins" / plugin.stored_name
    (folder / "getpass.py").write_text("raise AssertionError('imported')\n")
    with pytest.raises(WarmstartError, match="was never run here as it is now"):
        plugins.load_plugins_of(tmp_path / "run")
    (folder / "getpass.py").unlink()
    cache = folder / "__pycache__" / f"vouched_of_the_test.{sys.implementation.cache_tag}.pyc"
    cache.parent.mkdir()
    code = marshal.dumps(compile("raise AssertionError('from the cache')", "x", "exec"))
    cache.write_bytes(importlib.util.MAGIC_NUMBER + b"\1\0\0\0" + bytes(8) + code)  # by a hash, unchecked
    assert [path.name for path in plugins.load_plugins_of(tmp_path / "run")] == [plugin.name]


@pytest.mark.parametrize("modules", [None, 5, "x", [1]])
def test_a_damaged_manifest_is_told(tmp_path: Path, modules: object) -> None:
    (plugin,) = plugins.load_plugins([bring(tmp_path / "mine", "damaged_of_the_test")])
    plugins.store_plugins([plugin], tmp_path / "run")
    manifest = tmp_path / "run" / "plugins" / plugin.stored_name / "plugin.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "modules": modules}))
    with pytest.raises(WarmstartError, match=r"plugin\.json: modules: expected a list of files"):
        plugins.load_plugins_of(tmp_path / "run")


def test_a_module_beside_a_plugin_is_never_taken_for_another(tmp_path: Path) -> None:
    plugins.load_plugins([bring(tmp_path / "one", "shared_of_the_test")])
    other = bring(tmp_path / "two", "shared_of_the_test")
    other.write_text(other.read_text() + "# another plugin\n")
    with pytest.raises(WarmstartError, match=r"imports shared_of_the_test.*imported under this name before"):
        plugins.load_plugins([other])


def test_a_crowded_folder_keeps_the_plugin_and_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plugins, "MOST_FILES", 2)
    (plugin,) = plugins.load_plugins([bring(tmp_path / "mine", "crowded_of_the_test")])
    plugins.store_plugins([plugin], tmp_path / "run")
    copies = tmp_path / "run" / "plugins" / plugin.stored_name
    assert sorted(file.name for file in copies.iterdir()) == [
        "crowded_of_the_test.py",
        "plugin.json",
        "plugin.py",
    ]
    assert "A folder of its own" in caplog.text
