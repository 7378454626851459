"""Trust: by content, by a person, remembered."""

from pathlib import Path

import pytest

from warmstart.core.errors import WarmstartError
from warmstart.core.files import read_json
from warmstart.core.trust import check_trusted, is_trusted, trust


def test_content_is_trusted_not_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMSTART_TRUSTED", str(tmp_path / "folder" / "trusted.json"))
    path = tmp_path / "norm.pkl"
    path.write_bytes(b"one of the trust test")
    with pytest.raises(WarmstartError, match=r"is a pickle .* no consent .* --trust-normalizer FILE"):
        check_trusted(path)
    sha256 = trust(path)
    assert check_trusted(path) == sha256
    assert read_json(tmp_path / "folder" / "trusted.json")[sha256]["name"] == "norm.pkl"  # type: ignore[index]
    path.write_bytes(b"another of the trust test")
    with pytest.raises(WarmstartError, match="no consent"):
        check_trusted(path)
    with pytest.raises(WarmstartError, match="can't be read"):
        check_trusted(tmp_path / "nothing")


def test_where_nothing_can_be_written_the_process_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x of the trust test")
    monkeypatch.setenv("WARMSTART_TRUSTED", str(tmp_path / "file" / "trusted.json"))
    assert is_trusted(trust(tmp_path / "file"))


def test_a_damaged_memory_is_told_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "trusted.json"
    store.write_text('{"cut')
    monkeypatch.setenv("WARMSTART_TRUSTED", str(store))
    (tmp_path / "file").write_text("x")
    with pytest.raises(WarmstartError, match="which remembers what you trust, is damaged"):
        trust(tmp_path / "file")
    assert store.read_text() == '{"cut'
