"""One trial: same bits whatever surrounds it, idempotent, clean after a crash, honest about failures."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from warmstart.core.errors import WarmstartError
from warmstart.core.files import canonical_json, read_json, write_json
from warmstart.experiments.records.claims import Claim, ClaimedError
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.schema import read_jsonl
from warmstart.experiments.records.status import Status, read_status, write_status
from warmstart.experiments.run.run import prepare
from warmstart.experiments.study.loading import load_study
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study
from warmstart.experiments.trial.trial import main, run_trial

PPO = {
    "learning_rate_decay": "constant",
    "name": "ppo",
    "n_envs": 4,
    "n_steps": 16,
    "batch_size": 32,
    "n_epochs": 2,
    "net_arch": [8],
}
SAC = {
    "name": "sac",
    "n_envs": 2,
    "learning_starts": 32,
    "batch_size": 16,
    "net_arch": [8],
    "buffer_size": 500,
}


def tiny(**changes: Any) -> Study:
    study = replace(
        load_study("smoke"),
        algorithm=PPO,
        source_steps=128,
        target_steps=128,
        seeds=1,
        evaluation={"every": 32, "episodes": 2},
        arms=("scratch", {"method": "fine_tune", "critic_fit_steps": 64, "warm_up_steps": 0}, "zero_shot"),
    )
    return replace(study, **changes)


def lay_out(study: Study, run: Path) -> dict[str, Path]:
    """Trial directories of a study by arm."""
    plan = make_plan(study)
    prepare(plan, run)
    return {trial.arm: run / "trials" / trial.hash for trial in plan.trials}


def lay_out_one(config: TrialConfig, run: Path) -> Path:
    directory = run / "trials" / config.hash
    directory.mkdir(parents=True)
    config.write(directory)
    return directory


def tensors(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "checkpoint" / "policy.safetensors")


def config_of(study: Study, arm: str) -> TrialConfig:
    return next(trial.config for trial in make_plan(study).trials if trial.arm == arm)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run whose trials are done."""
    trials = lay_out(tiny(), tmp_path_factory.mktemp("run") / "run")
    for directory in trials.values():  # in the plan's order: sources first
        run_trial(directory)
    return trials


def test_every_kind_of_trial_is_recorded(done: dict[str, Path]) -> None:
    for arm, directory in done.items():
        assert read_status(directory).state == "done"
        records = read_jsonl(directory / "records.jsonl")
        steps = [record["step"] for record in records if record["event"] == "evaluation"]
        assert steps == ([0] if arm in ("random", "zero_shot") else [0, 32, 64, 96, 128])
        assert records[-1]["event"] == "end"
        assert records[-1]["constant"] is (arm in ("random", "zero_shot"))
        times = read_jsonl(directory / "times.jsonl")
        assert [entry["step"] for entry in times] == steps
        seconds = [entry["training_seconds"] for entry in times]
        assert seconds == sorted(seconds)
    for arm in ("source", "scratch", "fine_tune", "zero_shot"):
        assert (done[arm] / "checkpoint" / "checkpoint.json").is_file()
        assert list((done[arm] / "tensorboard").glob("events.*"))
        assert read_json(done[arm] / "transfer.json") is not None
    training = [r for r in read_jsonl(done["scratch"] / "records.jsonl") if r["event"] == "training"]
    assert "train/loss" in training[-1]["metrics"]
    assert not any(key.startswith("time/") for record in training for key in record["metrics"])


def test_the_critic_fit_counts_as_steps(done: dict[str, Path]) -> None:
    report = read_json(done["fine_tune"] / "transfer.json")
    assert report is not None
    assert report["steps"] == 64
    end = read_jsonl(done["fine_tune"] / "records.jsonl")[-1]
    assert (end["steps"], end["timesteps"]) == (128, 128)
    assert read_jsonl(done["fine_tune"] / "records.jsonl")[0] == {"event": "start", "source_steps": 128}


def test_a_critic_fit_by_default_leaves_something_to_learn(done: dict[str, Path], tmp_path: Path) -> None:
    config = config_of(tiny(arms=("scratch", "fine_tune")), "fine_tune")
    directory = lay_out_one(config, tmp_path)
    (tmp_path / "trials" / config.source).symlink_to(done["source"])
    run_trial(directory)
    records = read_jsonl(directory / "records.jsonl")
    assert [r["step"] for r in records if r["event"] == "evaluation"] == [0, 32, 64, 96, 128]
    assert records[-1]["timesteps"] == 128
    report = read_json(directory / "transfer.json")
    assert report is not None
    assert report["steps"] == 64, "a quarter would be less than one rollout of 64"
    assert any("limited to a quarter" in note for note in report["notes"])
    actor = "action_net.weight"
    assert not torch.equal(tensors(directory)[actor], tensors(done["source"])[actor])


def test_zero_shot_acts_as_the_warm_start_does_at_step_zero(done: dict[str, Path]) -> None:
    first = {
        arm: next(r for r in read_jsonl(done[arm] / "records.jsonl") if r["event"] == "evaluation")
        for arm in ("zero_shot", "fine_tune", "scratch")
    }
    assert first["zero_shot"]["returns"] == first["fine_tune"]["returns"]
    assert tensors(done["zero_shot"]).keys() == tensors(done["source"]).keys()
    same = [torch.equal(v, tensors(done["source"])[k]) for k, v in tensors(done["zero_shot"]).items()]
    assert all(same)


def test_a_finished_trial_is_not_run_again(done: dict[str, Path]) -> None:
    before = {p: p.stat().st_mtime_ns for p in done["scratch"].rglob("*")}
    run_trial(done["scratch"])
    assert {p: p.stat().st_mtime_ns for p in done["scratch"].rglob("*")} == before


def test_the_same_trial_gives_the_same_bytes(done: dict[str, Path], tmp_path: Path) -> None:
    again = lay_out(tiny(), tmp_path / "elsewhere")
    assert {arm: path.name for arm, path in again.items()} == {arm: path.name for arm, path in done.items()}
    for arm in ("source", "fine_tune", "random"):
        run_trial(again[arm])
        assert (again[arm] / "records.jsonl").read_bytes() == (done[arm] / "records.jsonl").read_bytes()
        if arm != "random":
            name = "policy.safetensors"
            one, two = again[arm] / "checkpoint" / name, done[arm] / "checkpoint" / name
            assert one.read_bytes() == two.read_bytes()


def test_an_unfinished_trial_starts_again_cleanly(done: dict[str, Path], tmp_path: Path) -> None:
    directory = lay_out(tiny(), tmp_path / "run")["scratch"]
    (directory / "records.jsonl").write_text('{"event":"evaluation","step":0,"returns":[1]}\n{"event":"ev')
    (directory / "times.jsonl").write_text("{}\n")
    write_status(directory, Status("running", step=32, total=128, attempt=1))
    run_trial(directory)
    expected = (done["scratch"] / "records.jsonl").read_bytes()
    assert (directory / "records.jsonl").read_bytes() == expected
    assert read_status(directory).attempt == 2


@pytest.mark.parametrize("algorithm", [PPO, SAC], ids=["ppo", "sac"])
def test_evaluation_does_not_change_training(algorithm: dict[str, Any], tmp_path: Path) -> None:
    arms = ("scratch", {"method": "fine_tune", "critic_fit_steps": 32, "critic_updates": 4})
    study = tiny(algorithm=algorithm, source_steps=64, target_steps=96, arms=arms)
    trials = lay_out(study, tmp_path)
    run_trial(trials["source"])
    results = []
    for arm in ("scratch", "fine_tune"):
        config = config_of(study, arm)
        for change in ({}, {"evaluation_episodes": 0}, {"evaluation_every": 16, "evaluation_seed": 5}):
            directory = lay_out_one(replace(config, **change), tmp_path / "more") if change else trials[arm]
            if change and config.source and not (tmp_path / "more/trials" / config.source).exists():
                (tmp_path / "more/trials" / config.source).symlink_to(trials["source"])
            run_trial(directory)
            results.append(tensors(directory))
        plain, *others = results[-3:]
        for other in others:
            assert all(torch.equal(value, other[name]) for name, value in plain.items())
    moved = [not torch.equal(value, results[3][name]) for name, value in results[0].items()]
    assert any(moved)


def test_the_hash_names_what_decides_the_result() -> None:
    config = config_of(tiny(), "scratch")
    assert config.hash == TrialConfig(**config.to_json()).hash
    assert len(config.hash) == 16
    assert replace(config, seed=1).hash != config.hash
    assert replace(config, torch_threads=2).hash != config.hash
    assert replace(config, versions={}).hash != config.hash
    assert replace(config, plugins={"a.py": "0"}).hash != config.hash
    text = canonical_json(config.to_json())
    assert "/" not in text
    assert config_of(tiny(name="another"), "scratch").hash == config.hash


def test_what_describes_a_foreign_checkpoint_is_in_the_hash_only_where_there_is_one() -> None:
    config = config_of(tiny(), "zero_shot")
    assert not {"source_task", "source_normalizer"} & config.to_json().keys()
    assert replace(config, source_task="Hopper-v5").hash != config.hash
    assert replace(config, source_normalizer="0" * 64).hash != config.hash


def test_a_claimed_trial_is_left_alone(tmp_path: Path) -> None:
    directory = lay_out(tiny(), tmp_path)["scratch"]
    with Claim(directory), pytest.raises(ClaimedError):
        run_trial(directory)
    assert read_status(directory).state == "waiting"


def test_a_missing_source_is_said(tmp_path: Path) -> None:
    directory = lay_out(tiny(), tmp_path)["fine_tune"]
    with pytest.raises(WarmstartError, match="source of this trial is missing"):
        run_trial(directory)
    status = read_status(directory)
    assert status.state == "failed"
    assert "source of this trial is missing" in status.error
    assert "Traceback" in (directory / "error.txt").read_text()


def test_a_changed_configuration_is_refused(tmp_path: Path) -> None:
    directory = lay_out(tiny(), tmp_path)["scratch"]
    data = json.loads((directory / "trial.json").read_text())
    write_json(directory / "trial.json", data | {"seed": 7})
    with pytest.raises(WarmstartError, match=r"trial.json was changed"):
        run_trial(directory)
    write_json(directory / "trial.json", {"seed": 7})
    with pytest.raises(WarmstartError, match="another version of warmstart"):
        run_trial(directory)


def test_other_library_versions_are_refused(tmp_path: Path) -> None:
    config = config_of(tiny(), "scratch")
    old = replace(config, versions={**config.versions, "mujoco": "3.0.0"})
    directory = lay_out_one(old, tmp_path)
    with pytest.raises(WarmstartError, match=r"planned with .*mujoco 3.0.0"):
        run_trial(directory)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_ends_with_its_own_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = lay_out(tiny(), tmp_path)["scratch"]
    (directory / "records.jsonl").symlink_to("/dev/full")
    assert main([str(directory)]) == 73
    assert "The disk is full" in capsys.readouterr().err
    assert read_status(directory).state == "failed"


def test_a_trial_imports_no_plotting() -> None:
    code = (
        "import sys, warmstart.experiments.trial.training, warmstart.experiments.trial.trial\n"
        "heavy = {'matplotlib', 'plotly', 'scipy', 'jinja2', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
