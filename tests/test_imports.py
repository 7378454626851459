"""Nothing points upwards and nothing in circles, in rooms and sub-rooms; folders and files stay small."""

from collections import Counter

import pytest

from docs.architecture import (
    ROOMS,
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


def test_the_picture_is_the_codes():
    assert PICTURE.read_text() == draw(), "draw it anew: python -m docs.draw_architecture"
