"""Tasks that name a Python module (``my_module:MyEnv-v0``): who may have it imported.

Whoever types such a task, or writes it in Python, asks for the module, as with Gymnasium. A file doesn't: a
checkpoint that is read imports nothing, and a study or reality in YAML may only name what is imported
already, is installed, or came as a plugin.
"""

import importlib.util
import json
import sys
import sysconfig
import urllib.parse
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from warmstart.core.bounds import Place
from warmstart.core.documents import Document
from warmstart.core.errors import WarmstartError
from warmstart.core.plugins import loaded_files
from warmstart.envs.robots.table import robots
from warmstart.envs.tasks.task import Task

TASK_KEYS = ("target", "source", "source_task", "task")
"""Keys under which a study or a reality in YAML has a task."""


def is_harmless(task: Task) -> bool:
    """Whether a task can be described without running code that nobody asked for.

    True of robots that are simulated here, and of what is registered already, as long as its constructor
    gets nothing: an argument may be the name of code, too.
    """
    if task.id.removeprefix("warmstart/") in robots():
        return True
    return _is_imported(task) and not task.options


def _is_imported(task: Task) -> bool:
    return not task.module or task.module in sys.modules


def check_modules(document: Document) -> Document:
    """See that a file's tasks bring in no code that nobody named.

    Args:
        document: A study or a reality.

    Returns:
        The same document.

    Raises:
        WarmstartError: A task names a module that isn't imported, installed or loaded as a plugin.
    """
    for place, text in _tasks(document.data, ()):
        try:
            task = Task.parse(text)
        except WarmstartError:  # a path, or a mistake that is told when the task is made
            continue
        top = task.module.partition(".")[0]
        if _is_imported(task) or top in loaded_files() or _is_installed(top):
            continue
        raise document.error(
            place,
            f"{text} would import the module {task.module}, and a file is no consent to run code: if you "
            f"trust it, give it with --plugin {task.module.replace('.', '/')}.py, or import it first in "
            "Python.",
        )
    return document


def _is_installed(top: str) -> bool:
    """Whether a module would be imported from where its distribution lies, not from a folder before it."""
    names = metadata.packages_distributions().get(top, [])
    try:
        spec = importlib.util.find_spec(top) if names else None
    except (ImportError, ValueError):
        spec = None
    places = [] if spec is None else [spec.origin] if spec.origin else spec.submodule_search_locations or []
    homes = {sysconfig.get_path(key) for key in ("purelib", "platlib")}
    for name in names:
        told = json.loads(metadata.distribution(name).read_text("direct_url.json") or "{}")
        if told.get("dir_info", {}).get("editable"):
            homes.add(urllib.parse.unquote(urllib.parse.urlparse(told.get("url", "")).path))
    inside = [any(Path(place).is_relative_to(home) for home in homes) for place in places]
    return bool(inside) and all(inside)


def _tasks(data: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Texts under keys that hold tasks, with their places."""
    for key, value in data.items() if isinstance(data, Mapping) else ():
        if key in TASK_KEYS and isinstance(value, str):
            yield (*place, key), value
        yield from _tasks(value, (*place, key))
