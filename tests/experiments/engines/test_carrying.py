"""What a trial needs goes elsewhere, what it made comes back; nothing leaves the folder."""

import io
import tarfile
from pathlib import Path

import pytest

from tests.experiments.trial.test_trial import lay_out, tiny
from warmstart.core.errors import WarmstartError
from warmstart.experiments.engines.carrying import (
    pack_changes,
    pack_trial,
    unpack_changes,
    unpack_trial,
)
from warmstart.experiments.records.config import TrialConfig


def test_a_trial_goes_with_what_it_starts_from(tmp_path: Path) -> None:
    trials = lay_out(tiny(), tmp_path / "run")
    (trials["source"] / "checkpoint").mkdir()
    (trials["source"] / "checkpoint" / "policy.safetensors").write_bytes(b"weights")
    (tmp_path / "run" / "plugins" / "mine").mkdir(parents=True)
    (tmp_path / "run" / "plugins" / "mine" / "mine.py").write_text("")
    (trials["fine_tune"] / "claim.lock").write_text("{}")
    there = unpack_trial(pack_trial(trials["fine_tune"]), tmp_path / "there", trials["fine_tune"].name)
    assert TrialConfig.read(there).hash == there.name
    found = {file.relative_to(tmp_path / "there").as_posix() for file in (tmp_path / "there").rglob("*.*")}
    assert found == {
        f"trials/{there.name}/trial.json",
        f"trials/{trials['source'].name}/trial.json",
        f"trials/{trials['source'].name}/checkpoint/policy.safetensors",
        "plugins/mine/mine.py",
    }


def test_only_changes_come_back_and_what_is_gone_there_goes_here(tmp_path: Path) -> None:
    here, there, seen = tmp_path / "here", tmp_path / "there", {}
    for folder in (here, there):
        (folder / "training").mkdir(parents=True)
    (here / "claim.lock").write_text("mine")
    (here / "trial.json").write_text("mine")
    (there / "training" / "1.safetensors").write_text("one")
    (there / "records.jsonl").write_text("a\n")
    (there / "trial.json").write_text("theirs")
    unpack_changes(pack_changes(there, seen), here)
    assert (here / "training" / "1.safetensors").read_text() == "one"
    assert (here / "trial.json").read_text() == (here / "claim.lock").read_text() == "mine"
    (there / "training" / "1.safetensors").unlink()
    (there / "training" / "2.safetensors").write_text("two")
    content = pack_changes(there, seen)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert archive.getnames() == [".listing", "training/2.safetensors"]
    unpack_changes(content, here)
    assert [file.name for file in (here / "training").iterdir()] == ["2.safetensors"]
    assert (here / "records.jsonl").read_text() == "a\n"


@pytest.mark.parametrize("name", ["../stranger.txt", "/etc/stranger.txt"])
def test_nothing_is_written_outside(name: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in (".listing", name):
            archive.addfile(tarfile.TarInfo(member), io.BytesIO())
    (tmp_path / "trial").mkdir()
    with pytest.raises(WarmstartError, match="no file inside of it"):
        unpack_changes(buffer.getvalue(), tmp_path / "trial")
    assert not (tmp_path / "stranger.txt").exists()
