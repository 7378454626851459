"""What imports what, read from the code itself: for the tests, and to draw `docs/images/architecture.svg`.

Every folder's ``__init__.py`` says what lives there and, after "May import:", which folders it imports from.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("core", "envs", "agents", "transfer", "sim2real", "experiments", "warmstart")
Graph = Mapping[str, frozenset[str]]


def modules() -> dict[str, Path]:
    """Every module of the rooms by its name from the project's root; packages end in ``.__init__``."""
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


@cache
def file_imports() -> Graph:
    """Modules that each module imports: at its top, inside functions, or for type checkers only."""
    known = modules()
    return {name: frozenset(_imported(path, known)) - {name} for name, path in known.items()}


def folder(module: str) -> str:
    """The folder in which a module lies, dotted."""
    return module.rpartition(".")[0]


@cache
def folder_imports() -> Graph:
    """Folders from which each folder imports."""
    found: dict[str, set[str]] = {}
    for module, targets in file_imports().items():
        found.setdefault(folder(module), set()).update(map(folder, targets))
    return {name: frozenset(targets) - {name} for name, targets in found.items()}


def purpose(name: str) -> str:
    """What lives in a folder: the first sentence of its ``__init__.py``."""
    return _docstring(name).split("\n\n")[0].replace("\n", " ")


def declared(name: str) -> frozenset[str]:
    """Folders that a folder says it may import from; a room stands for everything in it."""
    found = re.search(r"May import: (.*?)\.\s*$", _docstring(name), re.DOTALL)
    if found is None:
        raise ValueError(f"{name}/__init__.py doesn't end with 'May import: … .'")
    words = re.split(r",\s*", found[1].replace("\n", " "))
    return frozenset() if words == ["nothing of ours"] else frozenset(words)


def may_import(name: str, target: str) -> bool:
    """Whether a folder declares imports from another; files at the top of a room may import its sub-rooms."""
    below = target.startswith(f"{name}.")
    return below or any(target == word or target.startswith(f"{word}.") for word in declared(name))


def circles(graph: Graph) -> list[list[str]]:
    """Groups of nodes that import one another, directly or through others."""
    reached = {node: _reachable(graph, node) for node in graph}
    groups = {frozenset(n for n in reached[node] if node in reached.get(n, ())) for node in graph}
    return sorted(sorted(group) for group in groups if group)


def _reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting: list[str] = [start]
    while waiting:
        for node in graph.get(waiting.pop(), ()):
            if node not in found:
                found.add(node)
                waiting.append(node)
    return found


def _docstring(name: str) -> str:
    path = ROOT / Path(*name.split(".")) / "__init__.py"
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parts)


def _imported(path: Path, known: Mapping[str, Path]) -> Iterable[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 1 and path.parent.name == "runtime":
            names = [f"warmstart.{_dotted(path.parent)}.{node.module}"]  # it travels with exported policies
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise ValueError(f"{path}, line {node.lineno}: imports are absolute, found a relative one.")
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] in ROOMS[:-1]:
                raise ValueError(f"{path} imports the bare room {name}")
            if name.partition(".")[0] == "warmstart":
                yield from _module(name, known)


def _module(name: str, known: Mapping[str, Path]) -> Iterable[str]:
    """The module that an imported name stands in."""
    inner = name.removeprefix("warmstart.")
    for candidate in (inner, inner.rpartition(".")[0], f"warmstart.{inner}"):
        for module in (candidate, f"{candidate}.__init__"):
            if module in known:
                yield module
                return
