"""What a model card says and what it keeps to itself; licences by the hub's names."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from warmstart.agents.loading import load_checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.experiments.sharing.card import Card, code, plain, task_id
from warmstart.experiments.sharing.licences import front_matter
from warmstart.experiments.sharing.origin import Evaluated, Origin, origin_of
from warmstart.experiments.sharing.privacy import cleaned, private, without_private
from warmstart.experiments.sharing.pushing import push

TRIAL = Path(__file__).parents[2] / "data" / "old_run" / "trials" / "5aafa6ece2d63f8f"


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint(TRIAL / "checkpoint")


def test_the_hubs_own_reader_finds_the_card_good(checkpoint, tmp_path):
    from huggingface_hub import ModelCard

    push(checkpoint, tmp_path / "shared", licence="mit")
    card = ModelCard.load(tmp_path / "shared" / "README.md")
    assert card.data.license == "mit"
    assert card.data.eval_results[0].metric_value == "26.00 +/- 3.00"


@pytest.mark.parametrize(
    ("licence", "name", "told"),
    [
        (None, None, "needs a licence: give --licence, such as --licence mit"),
        ("", None, "needs a licence"),
        ("appache-2.0", None, "Unknown licence 'appache-2.0'. Did you mean 'apache-2.0'"),
        ("other", None, "--licence other and --licence-name NAME go together"),
        ("mit", "Mine", "--licence other and --licence-name NAME go together"),
    ],
)
def test_a_push_without_a_licence_is_refused(checkpoint, tmp_path, licence, name, told):
    with pytest.raises(WarmstartError, match=told):
        push(checkpoint, tmp_path / "x", licence=licence, licence_name=name)
    assert not any(tmp_path.iterdir())


def test_a_licence_of_ones_own_has_a_name():
    assert front_matter("other", "robot-1") == {"license": "other", "license_name": "robot-1"}


def test_paths_and_hosts_stay_at_home(checkpoint, tmp_path, monkeypatch):
    assert without_private("started from /home/me/runs/x, fast") == "started from x, fast"
    assert without_private("weights=~/w.pt") == "weights=w.pt"
    assert without_private(r"C:\Users\me\m.zip") == "m.zip"
    assert (
        without_private("body/torso 1/2 warmstart/Hopper-v5 a / b")
        == "body/torso 1/2 warmstart/Hopper-v5 a / b"
    )
    assert cleaned({"a": ["/root/x/y"]}) == {"a": ["y"]}
    assert list(private({"a": [1, "/root/x"]})) == [(("a", 1), "/root/x")]
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-07.lab.example")
    assert without_private("on gpu-07.lab.example, gpu-07 and gpu-071") == "on (host), (host) and gpu-071"
    monkeypatch.setattr(socket, "gethostname", lambda: "torso")
    assert without_private("torso.angle") == "torso.angle"
    spoken = replace(checkpoint, hyperparameters={"gamma": 0.9, "tensorboard_log": "/home/me/tb"})
    pushed = push(spoken, tmp_path / "shared", licence="mit")
    assert "Left out, since it names something of this machine: tensorboard_log." in pushed.notes
    assert load_checkpoint(tmp_path / "shared").hyperparameters == {"gamma": 0.9}
    needed = replace(checkpoint, task="/home/me/mine.py")
    with pytest.raises(WarmstartError, match=r"task names something of this machine, '/home/me/mine.py'"):
        push(needed, tmp_path / "other", licence="mit")
    assert not (tmp_path / "other").exists()


def test_words_of_others_mean_nothing_in_a_card(checkpoint):
    assert code("a`b|c\n# d") == "`a'b\\|c # d`"
    assert plain("<script>[x](y)") == "\\<script\\>\\[x\\](y)"
    assert task_id("mine:My-v0:size=3@gravity=x0.5") == "mine:My-v0"
    evil = replace(checkpoint, task="X-v0'; rm -rf ~ #", versions={"a": "1\n# b"})
    text = Card(evil, Origin(), {"license": "mit"}, "hf:a/b", "T\n# u").text()
    assert "warmstart evaluate hf:a/b 'X-v0'\"'\"'; rm -rf ~ #'" in text
    assert [line for line in text.splitlines() if line.startswith("# ")] == ["# T \\# u"]


def test_an_evaluation_is_of_the_checkpoint_itself(checkpoint):
    origin = origin_of(checkpoint)
    assert [each.step for each in origin.evaluations] == [0, 512, 1024]
    assert origin.evaluation(checkpoint) == origin.evaluations[-1]
    best = replace(checkpoint, evaluation={"step": 512, "return": origin.evaluations[1].mean, "episodes": 2})
    assert origin.evaluation(best) == origin.evaluations[1]
    other = replace(checkpoint, evaluation={"step": 512, "return": 1.0, "episodes": 3})
    assert str(origin.evaluation(other)) == "1.00"
    assert Origin().evaluation(checkpoint) is None
    assert str(Evaluated(1, 2.346, 0.5, 4)) == "2.35 +/- 0.50"
