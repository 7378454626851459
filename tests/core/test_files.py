"""Files: replaced in one step, in one form, hashed; a full disk is said to be one."""

import errno
import hashlib
from pathlib import Path

import numpy as np
import pytest

from warmstart.core.files import (
    DiskFullError,
    as_disk_full,
    canonical_json,
    content_hash,
    file_hash,
    is_disk_full,
    read_json,
    replace_file,
    without_numpy,
    write_json,
)


def test_canonical_json_is_one_text() -> None:
    assert canonical_json({"b": 1, "a": [1.0, "ü"]}) == canonical_json({"a": [1.0, "ü"], "b": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": float("nan")})


def test_json_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2}, durable=True)
    assert read_json(path) == {"a": 2}
    assert [item.name for item in tmp_path.iterdir()] == ["file.json"]
    path.write_text("{")
    assert read_json(path) is None


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(self: Path, content: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFullError, match="free some space"):
        replace_file(path, b"new", durable=False)
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_recognised_behind_other_errors() -> None:
    wrapped = RuntimeError("save failed")
    wrapped.__cause__ = OSError(28, "No space left on device")
    assert is_disk_full(wrapped)
    assert is_disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not is_disk_full(RuntimeError("something else"))
    other = OSError(errno.EACCES, "Permission denied")
    assert as_disk_full(other, Path("x")) is other


def test_a_folder_is_hashed_by_names_and_contents(tmp_path: Path) -> None:
    for name, text in (("b", "2"), ("a", "1")):
        (tmp_path / name).write_text(text)
    before = content_hash(tmp_path)
    assert file_hash(tmp_path / "a") == content_hash(tmp_path / "a") == hashlib.sha256(b"1").hexdigest()
    (tmp_path / "a").rename(tmp_path / "c")
    assert content_hash(tmp_path) != before


def test_states_become_plain() -> None:
    state = {1: np.arange(2), "b": (np.float32(0.5), [np.bool_(True)])}
    assert without_numpy(state) == {"1": [0, 1], "b": [0.5, [True]]}
