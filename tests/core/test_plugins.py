"""Plugins: files and entry points, their hashes, and what is refused."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from warmstart.core import plugins
from warmstart.core.errors import WarmstartError
from warmstart.experiments.study.loading import load_study
from warmstart.experiments.study.plan import make_plan
from warmstart.transfer.methods.table import METHODS

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
    stored = tmp_path / "plugins" / plugin.stored_name
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
    assert (plugin.name, plugin.source, len(plugin.sha256)) == ("good", b"", 64)
    bad = EntryPoint("bad", "no_such_module_here", plugins.GROUP)
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: [bad])
    with pytest.raises(WarmstartError, match=r"plugin bad .*ModuleNotFoundError.*uninstall"):
        plugins.load_plugins()
