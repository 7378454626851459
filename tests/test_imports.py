"""Nothing points upwards and nothing in circles, in rooms and sub-rooms; folders and files stay small."""

import ast
import importlib
import inspect
import textwrap
from collections import Counter

import pytest

from docs.architecture import (
    ROOMS,
    ROOT,
    circles,
    declared,
    file_imports,
    folder,
    folder_imports,
    may_import,
    modules,
    purpose,
)
from docs.draw_architecture import PICTURE, draw

FOLDERS = sorted(folder_imports())
MOST_FILES, MOST_LINES, LONG, MOST_LONG = 12, 400, 300, 15


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_says_what_lives_in_it_and_imports_only_what_it_declares(name):
    assert purpose(name).endswith(".")
    undeclared = {target for target in folder_imports()[name] if not may_import(name, target)}
    assert not undeclared, f"{name} imports {sorted(undeclared)} and declares {sorted(declared(name))}"


@pytest.mark.parametrize("name", FOLDERS)
def test_rooms_declare_only_what_stands_before_them(name):
    room = ROOMS.index(name.partition(".")[0])
    for word in declared(name):
        assert word in ROOMS[:room] or word in FOLDERS, f"{name} declares {word}, which isn't there"
        assert ROOMS.index(word.partition(".")[0]) <= room, f"{name} declares {word}, which stands above it"


def test_no_circle_of_folders():
    assert circles(folder_imports()) == []
    allowed = {name: frozenset(t for t in FOLDERS if t != name and may_import(name, t)) for name in FOLDERS}
    assert circles(allowed) == []


def test_no_circle_of_files():
    assert circles(file_imports()) == []


def test_folders_and_files_stay_small():
    files = Counter(map(folder, modules()))
    assert {name: n for name, n in files.items() if n > MOST_FILES} == {}
    lines = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: n for name, n in lines.items() if n > MOST_LINES} == {}
    long = sorted(name for name, n in lines.items() if n > LONG)
    assert len(long) < MOST_LONG, long


@pytest.mark.parametrize("name", ["benchmarks", "docs", "tests"])
def test_other_folders_stay_small(name):
    files = Counter(path.parent for path in (ROOT / name).rglob("*.py"))
    assert {folder: n for folder, n in files.items() if n > MOST_FILES} == {}


def test_what_a_base_leaves_open_is_filled_by_every_class_of_ours():
    """A `NotImplementedError` is a base's word to whoever derives from it, never a gap of a class in use."""
    names = [name.removeprefix("warmstart.") for name in modules() if "__" not in name]
    every = [importlib.import_module(f"warmstart.{name}") for name in names]
    classes = {
        c for m in every for c in vars(m).values() if isinstance(c, type) and c.__module__ == m.__name__
    }
    open_ones = {
        (cls, name)
        for cls in classes
        for name, value in vars(cls).items()
        if _raises_not_implemented(getattr(value, "fget", None) or value)
    }
    assert len(open_ones) > 10
    gaps = []
    for cls, name in open_ones:
        derived = [c for c in classes if issubclass(c, cls)]
        leaves = [c for c in derived if not any(d is not c and issubclass(d, c) for d in derived)]
        assert leaves != [cls], f"nothing fills {cls.__name__}.{name}"
        gaps += [f"{leaf.__name__}.{name}" for leaf in leaves if getattr(leaf, name) is vars(cls)[name]]
    assert gaps == ["FailureStage.act"], "whose own `apply` never asks for it"


def _raises_not_implemented(value):
    """Whether a function's only statement beside its docstring raises `NotImplementedError`."""
    if not inspect.isfunction(value):
        return False
    try:
        (function,) = ast.parse(textwrap.dedent(inspect.getsource(value))).body
    except (OSError, TypeError, IndentationError):
        return False
    last = getattr(function, "body", [None])[-1]
    return isinstance(last, ast.Raise) and "NotImplementedError" in ast.unparse(last)


def test_the_picture_is_the_codes():
    assert PICTURE.read_text() == draw(), "draw it anew: python -m docs.draw_architecture"
