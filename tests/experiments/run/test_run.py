"""From a study to a run directory and back: results, continuation, conflicts, dry runs, TensorBoard."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from tests.agents.rsl_rl_files.files import Trained, onnx_model
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.sb3_files.written import write_sb3_zip
from warmstart.core.bounds import SettingError
from warmstart.core.errors import WarmstartError
from warmstart.core.progress import Lines, LiveTable, make_progress
from warmstart.core.trust import trust
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.vector import make_vec
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.status import Status
from warmstart.experiments.report.results import Results
from warmstart.experiments.run.reading import load_run, statuses
from warmstart.experiments.run.run import conclude, plan, prepare, run_study
from warmstart.experiments.run.scheduler import shown as shown_work
from warmstart.experiments.study.estimate import estimate_seconds
from warmstart.experiments.study.loading import load_study
from warmstart.experiments.study.study import Study
from warmstart.experiments.trial.source import load_source
from warmstart.experiments.trial.trial import run_trial

ALGORITHM = {"name": "ppo", "n_envs": 4, "n_steps": 16, "batch_size": 32, "n_epochs": 2, "net_arch": [8]}
ALGORITHM |= {"normalize_obs": True}


def tiny(**changes: Any) -> Study:
    study = replace(
        load_study("smoke"),
        algorithm=ALGORITHM,
        source_steps=64,
        target_steps=128,
        seeds=2,
        evaluation={"every": 64, "episodes": 2},
        arms=("scratch", {"method": "fine_tune", "critic_fit_steps": 64, "warm_up_steps": 0}, "zero_shot"),
    )
    return replace(study, **changes)


def run_here(study: Study, directory: Path) -> Results:
    """Run a study's trials in this process, which saves starting others."""
    made = plan(study)
    prepare(made, directory)
    for trial in made.trials:
        run_trial(directory / "trials" / trial.hash)
    return conclude(directory)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A finished study."""
    return run_study(tiny(), tmp_path_factory.mktemp("runs") / "tiny", progress="none")


def test_a_study_ends_with_data_summary_and_report(result: Results) -> None:
    run = result.run
    assert result.report.is_file()
    assert json.loads((result.directory / "summary.json").read_text())
    assert run.arms == ("scratch", "fine_tune", "zero_shot")
    assert result.summary.prediction is not None
    assert result.summary.prediction.arm == "fine_tune"
    assert not result.summary.prediction.problem
    assert not run.failures
    assert not run.notes
    assert run.random_return is not None
    assert {(curve.arm, curve.seed) for curve in run.curves} == {(arm, s) for arm in run.arms for s in (0, 1)}
    for curve in run.curves:
        assert curve.steps.tolist() == [0, 64, 128]
        assert np.isfinite(curve.returns).all()
        assert (np.diff(curve.seconds) >= 0).all()
        assert curve.complete
        assert curve.constant is (curve.arm == "zero_shot")
        assert curve.source_steps == (0 if curve.arm == "scratch" else 64)
        assert (curve.source_seconds > 0) is (curve.arm != "scratch")
    assert [curve.seed for curve in run.source_curves] == [0, 1]
    assert set(run.transfers) == {"scratch", "fine_tune", "zero_shot"}
    assert set(run.versions) >= {"mujoco", "torch", "stable-baselines3", "gymnasium", "numpy", "warmstart"}


def test_the_saved_study_is_the_whole_study(result: Results) -> None:
    again = load_study(result.directory)
    assert again.to_mapping() == dict(result.run.study)
    assert plan(again).study.to_mapping() == again.to_mapping()
    hashes = [trial.hash for trial in plan(tiny()).trials]
    assert [trial.hash for trial in plan(again).trials] == hashes
    assert [row.hash for row in statuses(result.directory)] == hashes


def test_running_again_repeats_nothing(result: Results) -> None:
    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (result.directory / "trials").rglob("*")}

    before, said = written(), (result.directory / "similarity.json").stat().st_mtime_ns
    again = run_study(tiny(), result.directory, progress="none")
    assert written() == before
    assert (result.directory / "similarity.json").stat().st_mtime_ns == said
    assert again.run.random_return == result.run.random_return


def test_statuses_say_where_each_trial_stands(result: Results, tmp_path: Path) -> None:
    rows = statuses(result.directory)
    assert {row.status.state for row in rows} == {"done"}
    assert json.dumps([row.to_json() for row in rows])
    prepare(plan(tiny()), tmp_path / "new")
    assert {row.status.state for row in statuses(tmp_path / "new")} == {"waiting"}
    with pytest.raises(WarmstartError, match=r"is not a run: it has no trials.json"):
        statuses(tmp_path)


def test_a_partial_run_can_be_read(result: Results, tmp_path: Path) -> None:
    made = plan(tiny())
    prepare(made, tmp_path)
    assert load_run(tmp_path).curves == ()
    assert "9 of 9 trials are not done" in load_run(tmp_path).notes[0]
    with pytest.raises(WarmstartError, match=r"No trial of .* gave a result"):
        conclude(tmp_path)
    trial = next(trial for trial in made.trials if trial.arm == "scratch")
    records = (result.directory / "trials" / trial.hash / "records.jsonl").read_text().splitlines()
    torn = "\n".join(records[:3]) + '\n{"event":"evalu'
    (tmp_path / "trials" / trial.hash / "records.jsonl").write_text(torn)
    (curve,) = load_run(tmp_path).curves
    assert not curve.complete
    assert curve.steps[0] == 0
    assert np.isnan(curve.seconds).all()


def test_more_seeds_reuse_what_is_done(tmp_path: Path) -> None:
    first = run_here(tiny(seeds=1, arms=("scratch",)), tmp_path / "run")
    before = {
        row.hash: (row.directory / "records.jsonl").stat().st_mtime_ns for row in statuses(first.directory)
    }
    message = prepare(plan(tiny(seeds=2, arms=("scratch",))), tmp_path / "run")
    assert "in seeds: finished trials that both have are reused" in message
    second = run_here(tiny(seeds=2, arms=("scratch",)), tmp_path / "run")
    assert [curve.seed for curve in second.run.curves] == [0, 1]
    after = {
        row.hash: (row.directory / "records.jsonl").stat().st_mtime_ns for row in statuses(first.directory)
    }
    assert before.items() <= after.items()


def test_a_directory_with_something_else_is_refused(tmp_path: Path) -> None:
    run_directory = tmp_path / "run"
    prepare(plan(tiny(arms=("scratch",))), run_directory)
    with pytest.raises(WarmstartError, match=r"holds another study, 'smoke', and this one is 'other'.*--out"):
        run_study(tiny(name="other"), run_directory, progress="none")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(WarmstartError, match="not empty and holds no study"):
        run_study(tiny(), tmp_path / "mine", progress="none")
    with pytest.raises(WarmstartError, match="is a file"):
        run_study(tiny(), tmp_path / "mine" / "thesis.tex", progress="none")
    with pytest.raises(WarmstartError, match="workers: expected at least 1"):
        run_study(tiny(), workers=0)


def test_a_plan_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = plan("smoke")
    assert made.steps == 1024 * (2 + 2 + 2)
    assert made.evaluations == 2 * (1 + 5 * 6 + 2)
    assert 0 < estimate_seconds(made, workers=1) < 600
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "HalfCheeta-v5"}, "target: Unknown environment 'HalfCheeta-v5'.*'HalfCheetah-v5'"),
        ({"target": "HalfCheetah-v5@gravty=x2"}, "target: .*gravty.*gravity"),
        ({"target": "HalfCheetah-v5@torso.mass=-1"}, "target: .*mass"),
        ({"source": "Hopper-v5@"}, "source: "),
        ({"algorithm": "pppo"}, "algorithm: Unknown algorithm 'pppo'.*'ppo'"),
        ({"algorithm": "dqn"}, "algorithm: dqn is not supported"),
        ({"algorithm": {"name": "ppo", "n_evs": 4}}, r"algorithm.n_evs: Unknown setting.*'n_envs'"),
        ({"algorithm": {"name": "ppo", "network": "simba"}}, "algorithm.network: 'simba' goes with sac, td3"),
        ({"algorithm": {"name": "ppo", "n_envs": "many"}}, r"algorithm.n_envs: expected a whole number"),
        ({"algorithm": {"name": "ppo", "gamma": 2}}, "algorithm.gamma: expected a number from 0 to 1"),
        ({"algorithm": "sac", "source": "CartPole-v1", "target": "CartPole-v1"}, "use ppo"),
        ({"arms": ("scratch", "fine_tun")}, r"arms\[1\].method: Unknown transfer method.*'fine_tune'"),
        ({"arms": ("scratch", {"method": "fine_tune", "critic": 1})}, r"arms\[1\].critic: Unknown option"),
        ({"arms": ("scratch", {"method": "fine_tune", "warm_up_steps": -1})}, r"arms\[1\]: .*warm_up_steps"),
        ({"observation_map": {"hinge.sine": "hinge.angle"}}, "observation_map"),
        ({"observation_map": {"hinge.angle": "hinge.angl"}}, "observation_map.*'hinge.angle'"),
        ({"source": "missing.zip"}, "source: There is no checkpoint"),
        (
            {"arms": ("scratch", {"method": "fine_tune", "critic_fit_steps": 1000})},
            r"arms\[1\]: critic_fit_steps of fine_tune is 1,000, which takes all of target_steps \(128\)",
        ),
        (
            {"arms": ("scratch", {"method": "kickstart", "teachers": ["no/where"]})},
            "arms.kickstart.teachers: There is no checkpoint at no/where",
        ),
        (
            {"arms": ("scratch", {"method": "clone", "data": "mine-v0"})},
            "arms.clone.data: data: expected minari:ID",
        ),
        ({"source": "CartPole-v1"}, "Nothing to carry|names to match"),
        ({"source_algorithm": {"name": "ppo", "normalize_obs": False}}, "source_normalizer; else set"),
        (
            {"source_algorithm": ALGORITHM | {"activation": "relu"}},
            "algorithm: the source's networks use relu, the target's tanh",
        ),
        ({"source_algorithm": "sac"}, "algorithm: the source was trained by sac, and the target is ppo"),
    ],
)
def test_mistakes_are_found_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WarmstartError, match=message):
        plan(tiny(**changes))


def test_a_checkpoint_that_does_not_fit_is_refused_before_anything_runs(
    result: Results, tmp_path: Path
) -> None:
    folder = next(row.directory for row in statuses(result.directory) if row.kind == "source") / "checkpoint"
    archive = tmp_path / "foreign.zip"
    write_sb3_zip(load_checkpoint(folder), archive)
    study = tiny(source=str(archive), source_steps=0, arms=("scratch", "zero_shot"))
    double = "InvertedDoublePendulum-v5"
    plain: dict[str, Any] = {"algorithm": study.algorithm | {"normalize_obs": False}}  # type: ignore[operator]
    for changes, message in (
        ({}, "source_normalizer; else set"),
        ({"algorithm": "sac"}, "trained by ppo, and the target is sac"),
        (plain | {"target": double}, "source: The source has 4 observation dimensions and the target 9"),
        (plain | {"source_observation_names": ["a"]}, "source_observation_names: .*but 1 name"),
        (
            plain | {"source_task": "InvertedPendulum-v5", "source_action_names": ["a"]},
            "source_action_names: none of a is an action",
        ),
        ({"source_normalizer": str(tmp_path / "no.pkl")}, "source_normalizer: .*can't be read"),
    ):
        with pytest.raises(SettingError, match=message):
            plan(replace(study, **changes))
    assert plan(replace(study, **plain)).trials
    assert plan(replace(study, **plain, source_task="InvertedPendulum-v5", target=double)).trials


def test_a_trusted_normalizer_belongs_to_the_identity_and_lies_in_the_run(
    result: Results, tmp_path: Path
) -> None:
    folder = next(row.directory for row in statuses(result.directory) if row.kind == "source") / "checkpoint"
    write_sb3_zip(load_checkpoint(folder), tmp_path / "foreign.zip")
    env = VecNormalize(as_sb3(make_vec("InvertedPendulum-v5", 1, seed=0, n_threads=1)))
    found: list[Results] = []
    for name, mean in (("one", 0.0), ("other", 0.5)):
        env.obs_rms.mean = np.full(4, mean)
        env.save(str(tmp_path / f"{name}.pkl"))
        trust(tmp_path / f"{name}.pkl")
        study = tiny(
            source=str(tmp_path / "foreign.zip"),
            source_steps=0,
            source_normalizer=str(tmp_path / f"{name}.pkl"),
            source_task="InvertedPendulum-v5",
            arms=("scratch", "zero_shot"),
            seeds=1,
        )
        found.append(run_here(study, tmp_path / name))
    env.close()
    (one,), (other,) = (item.run.of("zero_shot") for item in found)
    assert one.returns.tolist() != other.returns.tolist()
    assert str(tmp_path) not in "".join(path.read_text() for path in tmp_path.glob("*/trials/*/trial.json"))
    assert [trial.hash for trial in plan(found[0].directory).trials] == [
        row.hash for row in statuses(found[0].directory)
    ]
    (copy,) = (tmp_path / "one" / "checkpoints").glob("*.pkl")
    copy.write_bytes(b"something else")
    trial = next(row.directory for row in statuses(tmp_path / "one") if row.arm == "zero_shot")
    (trial / "status.json").unlink()
    with pytest.raises(WarmstartError, match="not the VecNormalize file that the trial was planned with"):
        run_trial(trial)


def test_mistakes_in_a_file_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    text = "name: x\nsource: Hopper-v5\ntarget: Hopper-v5\nsource_steps: 10\ntarget_steps: 10\n"
    path.write_text(text + "arms:\n  - scratch\n  - method: fine_tune\n    critic_fit_stepz: 3\n")
    with pytest.raises(WarmstartError, match=r"study.yaml, line 9: .*critic_fit_stepz.*'critic_fit_steps'"):
        plan(path)
    path.write_text(text + "algorithm:\n  name: ppo\n  n_stepz: 3\n")
    with pytest.raises(WarmstartError, match=r"study.yaml, line 8: .*'n_stepz'.*'n_steps'"):
        plan(path)
    path.write_text(text.replace("target: Hopper-v5", "target: Hoper-v5"))
    with pytest.raises(WarmstartError, match=r"study.yaml, line 3: target: .*'Hopper-v5'"):
        plan(path)


def test_one_checkpoint_serves_all_seeds_and_the_run_says_so(result: Results, tmp_path: Path) -> None:
    source = next(row.directory for row in statuses(result.directory) if row.kind == "source") / "checkpoint"
    study = tiny(source=str(source), source_steps=0, arms=("scratch", "zero_shot"), name="given")
    given = run_here(study, tmp_path / "run")
    assert not given.run.source_curves
    assert "one given checkpoint" in given.run.notes[0]
    warm = given.run.of("zero_shot")
    assert [curve.source_steps for curve in warm] == [64, 64]
    assert warm[0].returns.tolist() == warm[1].returns.tolist()
    assert warm[0].returns[0] == result.run.of("zero_shot")[0].returns[0]
    (copy,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert (copy / "policy.safetensors").read_bytes() == (source / "policy.safetensors").read_bytes()


def test_tensorboard_shows_trials_side_by_side(result: Results) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.backend.event_processing.io_wrapper import GetLogdirSubdirectories

    root = result.directory / "tensorboard"
    names = {str(Path(path).relative_to(root)) for path in GetLogdirSubdirectories(str(root))}
    assert names == {
        f"{arm}/seed-{s}" for arm in ("source", "scratch", "fine_tune", "zero_shot") for s in (0, 1)
    }
    curve = result.run.of("fine_tune")[1]
    events = EventAccumulator(str(root / "fine_tune" / "seed-1"))
    events.Reload()
    scalars = events.Scalars("evaluation/return")
    assert [scalar.step for scalar in scalars] == curve.steps.tolist()
    np.testing.assert_allclose([scalar.value for scalar in scalars], curve.returns, rtol=1e-6)
    assert {"evaluation/final_return", "rollout/ep_rew_mean"} <= set(events.Tags()["scalars"])
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_progress_is_shown_in_lines_and_live(capsys: pytest.CaptureFixture[str]) -> None:
    made = plan(tiny())
    trial = made.trials[1]
    running = Status(
        "running", step=32, total=64, steps_per_second=1234, last_return=5.0, started=1, updated=3
    )
    labels = [each.label for each in made.trials]
    lines = make_progress(trials=labels)
    assert isinstance(lines, Lines)
    with lines:
        for status in (Status(), running, running, replace(running, state="done", step=64)):
            lines.show(trial.label, shown_work(status))
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "source · seed 0: started"
    assert shown[1].startswith("source · seed 0: done 64/64 steps, 1.23k steps/s, return 5.0 [1/9")
    assert len(shown) == 2
    live = make_progress("live", labels)
    assert isinstance(live, LiveTable)
    live.console.width, live.console.height = 120, 10
    with live:
        live.show(trial.label, shown_work(running))
        live.message("hello")
    shown_live = capsys.readouterr().err
    assert "hello" in shown_live
    assert "32/64" in shown_live
    assert "0:02 left" in shown_live
    assert "9 trials: 1 running, 8 waiting" in shown_live


def test_a_source_of_rsl_rl_is_copied_with_what_names_and_describes_it(tmp_path: Path) -> None:
    source = Trained("5", inputs=2, actions=1, critic_inputs=6, activation=nn.Tanh).save(
        tmp_path / "model_1500.pt"
    )
    texts = {"joint_names": "hinge", "default_joint_pos": "0.000", "observation_names": "joint_pos,joint_vel"}
    (tmp_path / "model_1500.onnx").write_bytes(onnx_model(texts))
    study = tiny(
        source=str(source),
        source_steps=0,
        source_activation="tanh",
        action_map={"slider.force": "hinge.target_angle"},
        algorithm=ALGORITHM | {"net_arch": [16, 12]},
        arms=("scratch", {"method": "fine_tune", "critic_fit_steps": 64, "warm_up_steps": 0}),
        seeds=1,
    )
    with pytest.raises(SettingError, match="networks use elu, the target's tanh"):
        plan(replace(study, source_activation=None))
    with pytest.raises(SettingError, match=r"source: There is no ONNX model at .*nothing\.onnx"):
        plan(replace(study, source_onnx=str(tmp_path / "nothing.onnx")))
    with pytest.raises(SettingError, match="source_onnx: describes a checkpoint, but"):
        tiny(source_onnx="model.onnx")
    for trial in plan(study).trials:
        warm = trial.config.method["method"] == "fine_tune" if trial.config.method else False
        assert (trial.config.source_activation == "tanh", bool(trial.config.source_onnx)) == (warm, warm)
    found = run_here(study, tmp_path / "run")
    (path,) = (row.directory for row in statuses(found.directory) if row.arm == "fine_tune")
    report = json.loads((path / "transfer.json").read_text())
    reasons = {entry["name"]: entry["reason"] for entry in report["entries"]}
    assert "2 of 4 observations by name" in reasons["mlp_extractor.policy_net.0.weight"]
    assert reasons["value_net.weight"] == "the source has no critic"
    assert any("it reads 6 observations and the actor 2" in note for note in report["notes"])
    assert not any("was assumed" in note for note in report["notes"])
    (tmp_path / "model_1500.onnx").write_bytes(onnx_model(texts | {"author": "another"}))
    hashes = {trial.hash for trial in plan(study).trials}
    assert path.name not in hashes  # what names the dimensions belongs to a trial's identity
    (copy,) = (tmp_path / "run" / "checkpoints").glob("*.onnx")
    copy.write_bytes(b"something else")
    with pytest.raises(WarmstartError, match="is not the ONNX model that the trial was planned with"):
        load_source(TrialConfig.read(path), path)
