"""Methods (and tasks, encoders …) of the user's own, from a file or an installed package.

A plugin is run, so it comes from an explicit argument or an installed entry point; YAML never names code.
"""

import hashlib
import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path

from warmstart.core.errors import WarmstartError

GROUP = "warmstart.plugins"
"""Entry-point group of installed plugins."""


def load_plugin(path: str | Path) -> str:
    """Run a Python file that registers methods (``@register_method``), once per contents.

    Args:
        path: The file.

    Returns:
        The sha256 of its contents, which belongs into the record of what it was used for.

    Raises:
        WarmstartError: If it can't be read or raises.
    """
    path = Path(path)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WarmstartError(
            f"The plugin {path} can't be read: {error.strerror}. Expected a Python file."
        ) from error
    name = f"warmstart_plugin_{digest[:16]}"
    if name in sys.modules:
        return digest
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
    return digest


def load_installed_plugins() -> tuple[str, ...]:
    """Import the plugins that installed packages announce; returns their names."""
    found = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    for entry in found:
        entry.load()
    return tuple(f"{entry.name} ({entry.value})" for entry in found)
