"""Training, transferring, evaluating and filming agents that see, on the command line."""

import json

import pytest

from warmstart.__main__ import main

pytestmark = pytest.mark.usefixtures("opengl")
TASK = "InvertedPendulum-v5:obs=pixels,size=40"


def run(capsys, *words):
    status = main(words)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    ("encoder", "kind"),
    [
        (("--encoder", "drq:features=8,fit_frames=64"), "frozen"),
        pytest.param((), "stacked", marks=pytest.mark.slow),
    ],
)
def test_train_transfer_evaluate_and_film(encoder, kind, tmp_path, monkeypatch, capsys):
    """Stacked frames are `make slow`'s: trials of pixel studies train on them, without the command."""
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "train", TASK, "--steps", "512", *encoder, "--out", "a", "--json")
    assert status == 0, err
    assert json.loads(out)["summary"]["arms"][0]["name"] == "scratch"
    (checkpoint,) = tmp_path.glob("a/trials/*/checkpoint")
    assert json.loads((checkpoint / "checkpoint.json").read_text())["vision"]["kind"] == kind
    status, out, err = run(
        capsys, "transfer", "a", f"{TASK}@light=x0.5", "--steps", "512", "--option", "critic_fit_steps=0",
        "--out", "b", "--json",
    )  # fmt: skip
    assert status == 0, err
    status, out, err = run(capsys, "evaluate", "b", f"{TASK}@camera.azimuth+=2", "--episodes", "2", "--json")
    assert status == 0, err
    assert len(json.loads(out)["returns"]) == 2
    assert run(capsys, "video", "b", TASK, "--out", "film.gif", "--seconds", "0.2")[0] == 0
    assert (tmp_path / "film.gif").stat().st_size > 1000
    status, _, err = run(capsys, "evaluate", "a", "InvertedPendulum-v5")
    assert status == 2
    assert "obs=pixels" in err
    status, _, err = run(capsys, "evaluate", "a", TASK.replace("40", "64"), "--episodes", "1")
    assert status == 2
    assert "40" in err
    assert "64" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "InvertedPendulum-v5", "--encoder", "drq"), "shows no frames"),
        (("train", TASK, "--encoder", "dqr"), "Did you mean 'drq'"),
        (("train", TASK, "--encoder", "drq:weights=nowhere.pth"), "no weights at nowhere.pth"),
        (("train", "FrozenLake-v1:obs=pixels,camera=top"), "draws its own frames|draws\nits own"),
    ],
)
def test_mistakes_are_one_clear_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, *words)
    assert status == 2
    assert "Traceback" not in err
    import re

    assert re.search(message, err), err
    assert not list(tmp_path.iterdir()), "nothing was written"
