"""Policies are given away with a card, and taken back the same: by folders, and by a hub on this machine."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.agents.hub.server import Hub, hub_in_use
from warmstart.agents.loading import load_checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.experiments.sharing.pulling import pull
from warmstart.experiments.sharing.pushing import push
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study
from warmstart.sim2real.deployment.runtime.contract import Contract, Dimension, Signal, write_contract

RUN = Path(__file__).parents[2] / "data" / "old_run"
TRIAL = RUN / "trials" / "5aafa6ece2d63f8f"
FILM = b"\x00\x00\x00\x18ftypisom" + bytes(40)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_in_use(monkeypatch, tmp_path) as hub:
        yield hub


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint(TRIAL / "checkpoint")


def front(folder: Path):
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def test_a_folder_is_pushed_with_its_card_and_pulled_the_same(checkpoint, tmp_path):
    pushed = push(checkpoint, tmp_path / "shared", licence="mit")
    assert pushed.files == (
        "README.md",
        "checkpoint.json",
        "policy.safetensors",
        "transfer.json",
        "curve.png",
    )
    told = front(tmp_path / "shared")
    assert (told["license"], told["library_name"]) == ("mit", "warmstart")
    assert {"reinforcement-learning", "ppo", "InvertedPendulum-v5", "transfer-learning"} <= set(told["tags"])
    (result,) = told["model-index"][0]["results"]
    assert result["dataset"] == {
        "type": "InvertedPendulum-v5",
        "name": "InvertedPendulum-v5 (reality pendulum-worn)",
    }
    assert result["metrics"][0]["value"] == "26.00 +/- 3.00"
    text = (tmp_path / "shared" / "README.md").read_text()
    for sentence in (
        "| Method | `fine_tune`, normalizer_count `100000`",
        "return in the reality `pendulum-worn` 26.00 ± 3.00 (standard deviation) over 2 episodes",
        "started it from `InvertedPendulum-v5`: 14 tensors copied, 0 tensors frozen.",
        "warmstart evaluate ./shared InvertedPendulum-v5",
        "- mujoco 3.17.0",
        "![Return over training](curve.png)",
    ):
        assert sentence in text
    assert (tmp_path / "shared" / "curve.png").read_bytes().startswith(b"\x89PNG")
    pulled = pull(tmp_path / "shared", tmp_path / "taken")
    assert pulled.checkpoint.fingerprint() == checkpoint.fingerprint() == load_checkpoint(TRIAL).fingerprint()
    assert pulled.licence == "mit"
    observations = np.array([[0.1, 0.2, 0.3, 0.4]])
    mine, theirs = (c.policy().predict(observations) for c in (checkpoint, load_checkpoint(pulled.folder)))
    assert (mine == theirs).all()
    again = pull(tmp_path / "shared", tmp_path / "taken")
    assert again.source == pulled.source


@pytest.mark.filterwarnings("ignore:Use 'content=")  # of huggingface_hub's own upload
def test_a_push_to_the_hub_is_one_commit_that_a_study_records(checkpoint, hub: Hub, tmp_path):
    film = tmp_path / "film.mp4"
    film.write_bytes(FILM)
    first = push(checkpoint, "hf:me/policy", licence="mit", film=film)
    repository = hub.repositories["me/policy"]
    assert first.place == f"hf:me/policy@{repository.head}"
    assert set(first.files) == set(repository.commits[repository.head]) - {".gitattributes"}
    assert hub.large, "tensors go as large files"
    assert (
        b"warmstart evaluate hf:me/policy InvertedPendulum-v5"
        in repository.commits[repository.head]["README.md"]
    )
    pulled = pull("hf:me/policy", tmp_path / "taken")
    assert pulled.source == first.place
    assert pulled.checkpoint.fingerprint() == checkpoint.fingerprint()
    assert (tmp_path / "taken" / "replay.mp4").read_bytes() == FILM
    second = push(checkpoint, "hf:me/policy", licence="mit")
    assert "replay.mp4" not in repository.commits[repository.head]
    assert (
        pull("hf:me/policy", tmp_path / "old", revision=first.place.partition("@")[2]).source == first.place
    )
    study = Study(
        name="s", target="InvertedPendulum-v5", target_steps=64, source="hf:me/policy", seeds=1,
        algorithm={"name": "ppo", "net_arch": [8], "n_envs": 1},
    )  # fmt: skip
    plan = make_plan(study)
    assert plan.study.source == second.place
    pinned = make_plan(replace(study, source=second.place))
    assert [t.hash for t in pinned.trials] == [t.hash for t in plan.trials]
    taught = {"method": "kickstart", "name": "taught", "teachers": ["hf:me/policy"]}
    (_, arm) = make_plan(replace(study, arms=("scratch", taught))).study.arm_list
    assert arm.options["teachers"] == [second.place]
    push(checkpoint, "hf:me/policy", licence="apache-2.0")
    assert [t.hash for t in make_plan(replace(study, source=second.place)).trials] == [
        t.hash for t in plan.trials
    ]
    assert make_plan(study).study.source != second.place


def test_a_push_that_the_hub_refuses_is_told(checkpoint, hub: Hub, monkeypatch):
    hub.repository("me/data", {"model.bin": b"x", "README.md": b"-"})
    with pytest.raises(
        WarmstartError, match=r"hf:me/data holds something else .*\(model.bin\): push to another"
    ):
        push(checkpoint, "hf:me/data", licence="mit")
    with pytest.raises(WarmstartError, match=r"expected a branch to push to, found a commit"):
        push(checkpoint, f"hf:me/new@{'0' * 40}", licence="mit")
    with pytest.raises(WarmstartError, match=r"hf:me/data@v2.*the repository has no such revision"):
        push(checkpoint, "hf:me/data@v2", licence="mit")
    hub.down = 503
    with pytest.raises(
        WarmstartError, match=r"hf:me/new can't be pushed to: .* status 503\. Try again later"
    ):
        push(checkpoint, "hf:me/new", licence="mit")
    hub.down = 0
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(
        WarmstartError, match=r"hf:me/new can't be pushed to.*log in \(hf auth login, or HF_TOKEN\)"
    ):
        push(checkpoint, "hf:me/new", licence="mit")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WarmstartError, match=r"HF_HUB_OFFLINE is set"):
        push(checkpoint, "hf:me/new", licence="mit")


def test_a_repository_can_be_made_private(checkpoint, hub: Hub, tmp_path):
    hub.large_suffixes = ()
    push(checkpoint, "hf:me/secret", licence="mit", private_repository=True)
    push(checkpoint, "hf:me/open", licence="mit")
    assert [hub.repositories[name].private for name in ("me/secret", "me/open")] == [True, False]
    with pytest.raises(WarmstartError, match=r"--private is for a repository on the hub"):
        push(checkpoint, tmp_path / "x", licence="mit", private_repository=True)


def test_an_upload_that_never_ends_is_given_up(checkpoint, hub: Hub, monkeypatch):
    monkeypatch.setattr("warmstart.agents.hub.uploading.PATIENCE", 0.2)
    hub.waits = 2.0
    with pytest.raises(WarmstartError, match=r"hf:me/new can't be pushed to: .* didn't answer within 1 s"):
        push(checkpoint, "hf:me/new", licence="mit")


def exported(folder: Path, source: str) -> Path:
    folder.mkdir()
    (folder / "policy.onnx").write_bytes(b"\x08\x08graph")
    cart = Signal("observation", (4,), "float32", tuple(Dimension(n, "m") for n in "abcd"))
    write_contract(
        Contract("ppo", (cart,), Signal("action", (1,), "float32"), rate=25.0, source_sha256=source), folder
    )
    return folder


def test_an_exported_policy_goes_with_its_contract(checkpoint, tmp_path):
    folder = exported(tmp_path / "export", checkpoint.fingerprint())
    push(checkpoint, tmp_path / "shared", licence="mit", policy=folder)
    text = (tmp_path / "shared" / "README.md").read_text()
    assert "| `observation` | 4 | float32 | a (m), b (m), c (m), d (m) |" in text
    assert "Control rate: 25 Hz." in text
    taken = pull(tmp_path / "shared", tmp_path / "taken").folder
    assert (taken / "exported" / "contract.json").read_bytes() == (folder / "contract.json").read_bytes()
    (tmp_path / "shared" / "exported" / "policy.onnx").write_bytes(b"\x08\x08other")
    with pytest.raises(WarmstartError, match=r"policy.onnx was changed after the export"):
        pull(tmp_path / "shared", tmp_path / "changed")
    assert not (tmp_path / "changed").exists()
    with pytest.raises(WarmstartError, match=r"was exported from another checkpoint: .* fingerprint 0000"):
        push(checkpoint, tmp_path / "x", licence="mit", policy=exported(tmp_path / "e2", "0" * 64))
    with pytest.raises(WarmstartError, match=r"--policy: .* is no exported policy"):
        push(checkpoint, tmp_path / "x", licence="mit", policy=tmp_path)


def test_a_film_must_be_one(checkpoint, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no film at all")
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    for name, told in (
        ("a.mp4", "a.mp4 is no MP4"),
        ("a.gif", "the hub shows .mp4, found a.gif"),
        ("b.mp4", "there is no file"),
    ):
        with pytest.raises(WarmstartError, match=told):
            push(checkpoint, tmp_path / "x", licence="mit", film=tmp_path / name)


def test_what_isnt_ours_is_never_overwritten(checkpoint, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    push(checkpoint, tmp_path / "shared", licence="mit")
    with pytest.raises(WarmstartError, match=r"mine exists and isn't replaced: .*, found thesis.txt"):
        push(checkpoint, tmp_path / "mine", licence="mit")
    with pytest.raises(WarmstartError, match=r"mine exists and isn't replaced: .*, found thesis.txt"):
        pull(tmp_path / "shared", tmp_path / "mine")
    with pytest.raises(WarmstartError, match=r"shared exists and isn't replaced: .* with pulled.json"):
        pull(tmp_path / "shared", tmp_path / "shared")
    push(checkpoint, tmp_path / "shared", licence="mit")
    (tmp_path / "shared" / ".git").mkdir()
    (tmp_path / "shared" / ".git" / "HEAD").write_text("ref")
    with pytest.raises(WarmstartError, match=r"shared exists and isn't replaced: .*, found .git/HEAD"):
        push(checkpoint, tmp_path / "shared", licence="mit")
    copy = shutil.copytree(TRIAL / "checkpoint", tmp_path / "run")
    with pytest.raises(WarmstartError, match=r"run exists and isn't replaced: .* with README.md"):
        push(checkpoint, copy, licence="mit")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_links_out_of_a_folder_and_damage_are_refused(checkpoint, tmp_path):
    push(checkpoint, tmp_path / "shared", licence="mit")
    tensors = tmp_path / "shared" / "policy.safetensors"
    content = tensors.read_bytes()
    (tmp_path / "secret").write_bytes(content)
    tensors.unlink()
    tensors.symlink_to(tmp_path / "secret")
    with pytest.raises(WarmstartError, match=r"is a link out of"):
        pull(tmp_path / "shared", tmp_path / "taken")
    tensors.unlink()
    tensors.write_bytes(content[:-4] + b"abcd")
    with pytest.raises(WarmstartError, match=rf"^{tmp_path}/shared/policy.safetensors .* its sha256 differs"):
        pull(tmp_path / "shared", tmp_path / "taken")
    assert not (tmp_path / "taken").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "shared"]


def test_unknown_files_stay_and_are_told(checkpoint, tmp_path, caplog):
    push(checkpoint, tmp_path / "shared", licence="mit")
    (tmp_path / "shared" / "run.py").write_text("print('no')")
    (tmp_path / "shared" / "extra.pkl").write_bytes(b"\x80\x04.")
    taken = pull(tmp_path / "shared", tmp_path / "taken").folder
    assert "Left in the repository, unread: extra.pkl, run.py." in caplog.text
    assert not {"run.py", "extra.pkl"} & {path.name for path in taken.iterdir()}


def test_a_pulled_policy_says_where_it_came_from_when_it_is_pushed_again(checkpoint, tmp_path):
    push(checkpoint, tmp_path / "shared", licence="cc-by-4.0")
    taken = pull(tmp_path / "shared", tmp_path / "taken").folder
    pushed = push(load_checkpoint(taken), tmp_path / "again", licence="mit")
    assert pushed.files == (
        "README.md",
        "checkpoint.json",
        "policy.safetensors",
        "transfer.json",
        "curve.png",
    )
    for name in ("curve.png", "transfer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "shared" / name).read_bytes()
    assert pushed.notes == ("It was pulled from shared with cc-by-4.0, and is given away with mit.",)
    assert "| Taken from | `shared@" in (tmp_path / "again" / "README.md").read_text()


def test_a_zip_becomes_a_checkpoint_whose_hashes_are_kept(tmp_path):
    old = Path(__file__).parents[2] / "data" / "old_sb3"
    folder = tmp_path / "ppo-Old-v0"
    folder.mkdir()
    shutil.copyfile(old / "ppo_1.7.0.zip", folder / "ppo-Old-v0.zip")
    shutil.copyfile(old / "vecnormalize_1.7.0.pkl", folder / "vec_normalize.pkl")
    with pytest.raises(WarmstartError, match=r"names a licence, found no card"):
        pull(folder, tmp_path / "taken")
    taken = pull(folder, tmp_path / "taken", without_licence=True)
    assert {path.suffix for path in taken.folder.iterdir()} == {".json", ".safetensors"}
    held = hashlib.sha256((old / "ppo_1.7.0.zip").read_bytes()).hexdigest()
    assert held in (taken.folder / "pulled.json").read_text()
    assert load_checkpoint(taken.folder).normalizer is not None
