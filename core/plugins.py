"""Users' own methods, tasks and environments: code that a person named, never a configuration.

Two ways in: an installed package's entry point in the group `warmstart.plugins`, and an explicit file
(`--plugin FILE.py`). Loading one runs it; it registers what it brings (`register_method`, `register_task`,
Gymnasium's `register`). It may import modules and read files that lie beside it; a run keeps copies of all of
them. Names and hashes are recorded with every trial.
"""

import ast
import errno
import hashlib
import importlib.util
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from warmstart.core.bounds import show
from warmstart.core.errors import WarmstartError
from warmstart.core.files import as_disk_full, content_hash, file_hash, read_json, write_json
from warmstart.core.trust import is_trusted, trust

GROUP = "warmstart.plugins"
"""Entry-point group of installed plugins."""
FOLDER = "plugins"
"""Folder of a run directory that keeps a copy of each plugin and of what lies beside it."""
MANIFEST = "plugin.json"
"""In the folder of a copy: the plugin's file, the modules it imported, and where it lay."""
MOST_FILES, MOST_BYTES = 1000, 1 << 26
"""Most files and bytes beside a plugin that are copied."""
_log = logging.getLogger(__name__)
_loaded: dict[str, "Plugin"] = {}
"""Plugins that this process has run, by their file's hash."""


@dataclass(frozen=True)
class Plugin:
    """A loaded plugin."""

    name: str
    """File name, or the entry point's name."""
    sha256: str
    """Hash of the file and of the modules beside it that it imports; of the distribution's name and version
    for an entry point."""
    path: Path | None = field(default=None, compare=False)
    """The file; None for an entry point."""
    modules: tuple[str, ...] = field(default=(), compare=False)
    """Files of the modules beside it that it imports, relative to its folder."""

    @property
    def stored_name(self) -> str:
        """Folder of its copy in a run directory."""
        return f"{Path(self.name).stem}-{self.sha256[:16]}"


def load_plugins(files: Iterable[str | Path] = ()) -> tuple[Plugin, ...]:
    """Load installed plugins and the given files, each once per process; from now on these are trusted.

    Raises:
        WarmstartError: One is missing or raises while it is loaded, or two have one name.
    """
    plugins = [_load_entry_point(point) for point in sorted(metadata.entry_points(group=GROUP))]
    for file in files:
        plugins.append(load_plugin(file))
        trust(file, sha256=plugins[-1].sha256)
    named: dict[str, Plugin] = {}
    for plugin in plugins:
        if named.setdefault(plugin.name, plugin) != plugin:
            raise WarmstartError(f"Two different plugins are called {plugin.name}; rename one of them.")
    return tuple(named.values())


def load_plugin(path: str | Path) -> Plugin:
    """Run a Python file that registers something (``@register_method``), once per contents.

    Modules in its folder can be imported by their names, as by a script.

    Raises:
        WarmstartError: It can't be read, or raises, or a module beside it is hidden by another of that name.
    """
    path = Path(path).expanduser().absolute()
    own = _file_hash(path)
    if own in _loaded:
        return _loaded[own]
    name = f"warmstart_plugin_{own[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise WarmstartError(f"The plugin {path} isn't a Python file: its name must end in .py.")
    _check_hidden(path)
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        sys.path.remove(str(path.parent))
        raise WarmstartError(f"The plugin {path} failed: {type(error).__name__}: {error}") from error
    modules = _beside(path, set(sys.modules) - before - {name})
    _loaded[own] = Plugin(path.name, _identity(path, modules), path, modules)
    return _loaded[own]


def store_plugins(plugins: Iterable[Plugin], run: Path) -> None:
    """Copy plugins into a run directory, with what lies beside them: its trials need nothing else."""
    for plugin in plugins:
        folder = run / FOLDER / plugin.stored_name
        if plugin.path is None:
            continue
        if (folder / MANIFEST).is_file() and is_trusted(content_hash(folder)):
            _drop_caches(folder)
            continue
        shutil.rmtree(folder, ignore_errors=True)
        source = plugin.path.parent
        files = _companions(source)
        if files is None:
            _log.warning(
                "Beside the plugin %s lie more than %d files or %d MiB: the run keeps copies of it and of "
                "its modules only; what else it reads has to stay in %s. A folder of its own for it mends "
                "that.",
                plugin.name,
                MOST_FILES,
                MOST_BYTES >> 20,
                source,
            )
        kept = sorted({plugin.name, *plugin.modules, *(files or ())})
        try:
            for name in kept:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, folder / name)
            record = {"modules": list(plugin.modules), "source": str(source), "whole": files is not None}
            write_json(folder / MANIFEST, {"file": plugin.name, "sha256": plugin.sha256, **record})
            trust(folder / MANIFEST, sha256=content_hash(folder))
        except OSError as error:
            raise as_disk_full(error, folder) from None


def loaded_files() -> tuple[str, ...]:
    """Names, without their endings, of the plugin files that this process has run."""
    return tuple(plugin.path.stem for plugin in _loaded.values() if plugin.path is not None)


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
        if name in installed:
            found, path = installed[name], None
        else:
            path, modules = _stored(run / FOLDER / Plugin(name, sha256).stored_name, name)
            found = _identity(path, modules)
        if found != sha256:
            raise WarmstartError(f"The plugin {name} is not the one that the trial was planned with.")
        if path is not None:
            load_plugin(path)


def load_plugins_of(run: Path) -> tuple[Path, ...]:
    """Load the plugins that a run keeps, as far as their content was trusted before.

    Args:
        run: A run directory; anything else has none.

    Returns:
        The copies that it keeps.

    Raises:
        WarmstartError: One was never trusted here; the message says how to.
    """
    paths = []
    for manifest in sorted((run / FOLDER).glob(f"*/{MANIFEST}")):
        held = read_json(manifest) or {}
        path, _ = _stored(manifest.parent, str(held.get("file", "")))
        paths.append(path)
        if _file_hash(path) in _loaded:  # named by the user, or another run's
            continue
        if not is_trusted(content_hash(manifest.parent)):
            raise WarmstartError(
                f"{run} was made with the plugin {path.name}, and what is in {manifest.parent} was never run "
                f"here as it is now: look at it, and give it with --plugin {path} if you trust it."
            )
        _drop_caches(manifest.parent)
        load_plugin(path)
    return tuple(paths)


def _drop_caches(folder: Path) -> None:
    """Remove Python's caches of a copy: one may hold other code than the source beside it, which is trusted.

    Raises:
        WarmstartError: One can't be removed.
    """
    for cache in list(folder.rglob("__pycache__")):
        try:
            shutil.rmtree(cache)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):  # a trial that runs meanwhile
                raise WarmstartError(f"{cache} may be anybody's, and can't be removed: {error}.") from None


def _stored(folder: Path, name: str) -> tuple[Path, tuple[str, ...]]:
    """A copy's file and modules; the original's, if it is the same and what lies beside it wasn't copied."""
    single = folder.with_name(f"{folder.name}.py")
    if not folder.is_dir() and single.is_file():  # written before copies were folders
        return single, ()
    held = read_json(folder / MANIFEST) or {}
    listed = held.get("modules", [])
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise WarmstartError(f"{folder / MANIFEST}: modules: expected a list of files, found {show(listed)}.")
    modules = tuple(listed)
    if any(".." in Path(item).parts or Path(item).is_absolute() for item in (name, *modules)):
        raise WarmstartError(f"{folder / MANIFEST} names files outside of its folder.")
    original = Path(str(held.get("source", ""))) / name
    if held.get("whole", True) or not original.is_file():
        return folder / name, modules
    same = _identity(original, modules) == _identity(folder / name, modules)
    return original if same else folder / name, modules


def _file_hash(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise WarmstartError(
            f"The plugin {path} can't be read: {error.strerror}. Expected a Python file."
        ) from None


def _identity(path: Path, modules: Iterable[str]) -> str:
    """Hash of a plugin: of its file, or of it and its modules."""
    own, held = _file_hash(path), sorted(modules)
    if not held:
        return own
    rows = [own, *(f"{name} {_file_hash(path.parent / name)}" for name in held)]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _beside(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Files of modules that lie in a plugin's folder, relative to it."""
    found = []
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and Path(file).is_relative_to(path.parent) and "site-packages" not in Path(file).parts:
            found.append(Path(file).relative_to(path.parent).as_posix())
    return tuple(sorted(found))


def _check_hidden(path: Path) -> None:
    """See that modules beside a plugin aren't hidden by others of their names."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return
    named = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    named |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module and not n.level}
    for name in sorted({each.partition(".")[0] for each in named}):
        own = [path.with_name(f"{name}.py"), path.parent / name / "__init__.py"]
        held = getattr(sys.modules.get(name), "__file__", None)
        if held and any(file.is_file() for file in own) and Path(held).absolute() not in own:
            raise WarmstartError(
                f"The plugin {path} imports {name}, which lies beside it, but {held} was imported under this "
                "name before: rename the module."
            )


def _companions(folder: Path) -> list[str] | None:
    """Files in a plugin's folder, relative to it, without caches, runs and environments; None if too many."""
    found: list[str] = []
    size = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__pycache__"))
            and not any((Path(place, name) / marker).exists() for marker in ("pyvenv.cfg", "trials.json"))
        ]
        for name in files:
            path = Path(place, name)
            if name.startswith(".") or name.endswith(".pyc") or path.is_symlink() or not path.is_file():
                continue
            size += path.stat().st_size
            found.append(path.relative_to(folder).as_posix())
            if len(found) > MOST_FILES or size > MOST_BYTES:
                return None
    return found


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
