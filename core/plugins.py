"""Users' own methods, tasks and environments: code that a person named, never a configuration.

Two ways in: an installed package's entry point in the group `warmstart.plugins`, and an explicit file
(`--plugin FILE.py`). Loading one runs it; it registers what it brings (`register_method`, `register_task`,
Gymnasium's `register`). Names and hashes are recorded with every trial.
"""

import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from warmstart.core.errors import WarmstartError
from warmstart.core.files import as_disk_full, replace_file

GROUP = "warmstart.plugins"
"""Entry-point group of installed plugins."""
FOLDER = "plugins"
"""Folder of a run directory that keeps a copy of each plugin file."""


@dataclass(frozen=True)
class Plugin:
    """A loaded plugin."""

    name: str
    """File name, or the entry point's name."""
    sha256: str
    """Hash of the file; of the distribution's name and version for an entry point."""
    source: bytes = b""
    """Contents of a file; empty for an entry point."""

    @property
    def stored_name(self) -> str:
        """File name of its copy in a run directory."""
        return f"{Path(self.name).stem}-{self.sha256[:16]}.py"


def load_plugins(files: Iterable[str | Path] = ()) -> tuple[Plugin, ...]:
    """Load installed plugins and the given files, each once per process.

    Raises:
        WarmstartError: One is missing or raises while it is loaded, or two have one name.
    """
    plugins = [_load_entry_point(point) for point in sorted(metadata.entry_points(group=GROUP))]
    plugins += [load_plugin(file) for file in files]
    named: dict[str, Plugin] = {}
    for plugin in plugins:
        if named.setdefault(plugin.name, plugin) != plugin:
            raise WarmstartError(f"Two different plugins are called {plugin.name}; rename one of them.")
    return tuple(named.values())


def load_plugin(path: str | Path) -> Plugin:
    """Run a Python file that registers something (``@register_method``), once per contents.

    Raises:
        WarmstartError: It can't be read, or raises.
    """
    path = Path(path).expanduser()
    plugin = _read(path)
    name = f"warmstart_plugin_{plugin.sha256[:16]}"
    if name in sys.modules:
        return plugin
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise WarmstartError(f"The plugin {path} isn't a Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise WarmstartError(f"The plugin {path} failed: {type(error).__name__}: {error}") from error
    return plugin


def store_plugins(plugins: Iterable[Plugin], run: Path) -> None:
    """Copy plugin files into a run directory, so that its trials need nothing else."""
    for plugin in plugins:
        if plugin.source:
            folder = run / FOLDER
            try:
                folder.mkdir(exist_ok=True)
            except OSError as error:
                raise as_disk_full(error, folder) from None
            replace_file(folder / plugin.stored_name, plugin.source, durable=False)


def load_stored_plugins(recorded: Mapping[str, str], run: Path) -> None:
    """Load the plugins that a trial was planned with.

    Args:
        recorded: Name and sha256 of each.
        run: The run directory, which holds copies of the files.

    Raises:
        WarmstartError: One is missing or isn't the recorded one.
    """
    installed = {plugin.name: plugin.sha256 for plugin in load_plugins()}
    for name, sha256 in recorded.items():
        path = run / FOLDER / Plugin(name, sha256).stored_name
        found = installed[name] if name in installed else _read(path).sha256
        if found != sha256:
            raise WarmstartError(f"The plugin {name} is not the one that the trial was planned with.")
        if name not in installed:
            load_plugin(path)


def _read(path: Path) -> Plugin:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise WarmstartError(
            f"The plugin {path} can't be read: {error.strerror}. Expected a Python file."
        ) from None
    return Plugin(path.name, hashlib.sha256(source).hexdigest(), source)


def _load_entry_point(point: metadata.EntryPoint) -> Plugin:
    dist = point.dist
    identity = f"{dist.name}=={dist.version}:{point.value}" if dist is not None else point.value
    try:
        point.load()
    except Exception as error:
        raise WarmstartError(
            f"The plugin {point.name} ({identity}) failed to load: {type(error).__name__}: {error}. "
            "Repair or uninstall it."
        ) from error
    return Plugin(point.name, hashlib.sha256(identity.encode()).hexdigest())
