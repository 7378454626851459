"""A study whose source is trained without the task's reward, from its text to its report."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import warmstart
from tests.experiments.trial.test_trial import PPO, tiny
from warmstart.__main__ import main
from warmstart.core.bounds import SettingError
from warmstart.core.documents import parse_yaml
from warmstart.experiments.analysis.learnt import reward_name, unrewarded
from warmstart.experiments.analysis.summary import summarise
from warmstart.experiments.records.schema import read_jsonl
from warmstart.experiments.run.run import plan, run_study
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study

REWARD = {"name": "state_entropy", "neighbours": 4, "memory": 64, "every": 2}
ARMS = ("scratch", {"method": "fine_tune", "critic_fit_steps": 64, "warm_up_steps": 0})


def unsupervised(**changes: Any) -> Study:
    return tiny(
        **{"arms": ARMS, "source_reward": REWARD, "algorithm": {**PPO, "normalize_reward": True}} | changes
    )


def test_the_reward_is_part_of_a_trial_only_where_there_is_one() -> None:
    usual, other = (make_plan(tiny(arms=ARMS, **said)) for said in ({}, {"source_reward": REWARD}))
    before, after = ({trial.arm: trial for trial in made.trials} for made in (usual, other))
    assert "reward" not in before["source"].config.to_json()
    assert after["source"].config.to_json()["reward"] == REWARD
    assert after["source"].config.steps == before["source"].config.steps
    assert after["source"].hash != before["source"].hash
    assert after["scratch"].hash == before["scratch"].hash
    assert "reward" not in after["fine_tune"].config.to_json()
    assert make_plan(tiny(arms=ARMS, source_reward="task")).trials[1].hash == usual.trials[1].hash
    again = Study.from_document(parse_yaml(other.study.to_yaml(), "study.yaml"))
    assert [trial.hash for trial in make_plan(again).trials] == [trial.hash for trial in other.trials]


def test_an_arm_has_a_reward_of_its_own() -> None:
    made = make_plan(
        tiny(arms=("scratch", {"method": "scratch", "name": "curious", "reward": "state_entropy"}))
    )
    rewards = {trial.arm: trial.config.reward for trial in made.trials}
    usual = {"name": "state_entropy", "neighbours": 12, "memory": 4096, "every": 8}
    assert rewards == {"random": {}, "scratch": {}, "curious": usual}
    assert made.arms[1].explicit(made.arms[0].algorithm).reward == usual


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source_reward": "state_entrpy"}, r"source_reward\.name: Unknown reward .* mean 'state_entropy'"),
        ({"source_reward": {"neighbours": 3}}, r"source_reward: expected the name of a reward"),
        ({"source_reward": {**REWARD, "memory": 0}}, r"source_reward\.memory: expected a number at least 1"),
        (
            {"source_reward": {**REWARD, "memory": 3, "neighbours": 2}},
            r"source_reward: .* the 4 environments'",
        ),
        ({"source": None, "source_steps": 0, "arms": ("scratch",)}, r"source_reward: .* own source agents"),
        (
            {"source": "FrozenLake-v1", "target": "FrozenLake-v1"},
            r"source_reward: state_entropy measures distances .* Discrete",
        ),
        (
            {"arms": [{"method": "scratch", "reward": "state_entropy", "history": 2}]},
            r"arms\.scratch\.reward: state_entropy is of plain observations: leave history out",
        ),
        ({"arms": [{"method": "scratch", "reward": "entropy"}]}, r"arms\[0\]\.reward\.name: Unknown reward"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        plan(unsupervised(**changes))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_study(unsupervised(), tmp_path_factory.mktemp("unsupervised") / "run", workers=1)


def test_source_report_and_summary_say_it(results: Any) -> None:
    (source,) = results.run.source_curves
    checkpoint = warmstart.load(source.path / "checkpoint")
    assert checkpoint.reward == REWARD
    assert checkpoint.normalizer is not None
    assert checkpoint.normalizer.return_count > 100
    metrics = [
        record["metrics"] for record in read_jsonl(source.path / "records.jsonl") if "metrics" in record
    ]
    assert any(0 < each["rollout/state_entropy"] < 10 for each in metrics)
    said = results.run.transfers["fine_tune"]
    assert "The source was trained without its task's reward, on state_entropy." in said["notes"]
    (other,) = [note for note in said["notes"] if "trained on state_entropy, the target is on" in note]
    assert "the task's reward: reward_statistics are reset" in other
    (entry,) = [row for row in said["entries"] if row["name"] == "normalizer.return_var"]
    assert entry["action"] == "reset"
    (note,) = results.summary.unrewarded
    assert note.startswith("The source agent was trained without the task's reward, on state_entropy")
    assert note in results.summary.notes
    text = results.report.read_text()
    assert "128 steps, without reward (state_entropy)" in text
    assert "on state_entropy (neighbours 4, memory 64, every 2); the returns shown are the task" in text


def test_an_agent_goes_on_from_it_on_the_same_reward_with_the_same_scale(
    results: Any, tmp_path: Path
) -> None:
    """With the same reward in the target the statistics are kept, and nothing is said of another."""
    (source,) = results.run.source_curves
    arms = [
        {"method": "fine_tune", "reward": REWARD, "critic_fit_steps": 0},
        {"method": "fine_tune", "name": "other", "reward": "state_entropy", "critic_fit_steps": 0},
    ]
    study = unsupervised(
        source=str(source.path), source_steps=0, source_reward="task", arms=arms, baseline="other"
    )
    done = run_study(study, tmp_path / "run", workers=1)
    actions = {}
    for arm, report in done.run.transfers.items():
        rows = {row["name"]: row["action"] for row in report["entries"]}
        actions[arm] = rows["normalizer.return_var"]
    assert actions == {"fine_tune": "copied", "other": "reset"}
    assert not any("the target is on" in note for note in done.run.transfers["fine_tune"]["notes"])
    assert any("state_entropy with other options" in note for note in done.run.transfers["other"]["notes"])
    assert [note.split()[0] for note in done.summary.unrewarded] == ["fine_tune", "other"]


def test_a_low_return_of_such_a_source_voids_no_comparison(results: Any) -> None:
    """The same curves: with the task's reward the source hasn't learnt, without it nobody can tell."""
    study = {key: value for key, value in results.run.study.items() if key != "source_reward"}
    (source,) = results.run.source_curves
    source = replace(source, returns=source.returns[:1].repeat(len(source.returns)))
    void = summarise(replace(results.run, study=study, source_curves=(source,)))
    told = summarise(replace(results.run, source_curves=(source,)))
    assert void.unlearnt[0].startswith("The source agent hasn't learnt")
    assert not any("source" in sentence for sentence in told.unlearnt)
    reasons = [str(summary.arm("fine_tune").headline) for summary in (void, told)]
    assert "the source agent hasn't learnt" in reasons[0]
    assert "source" not in reasons[1]


def test_who_is_called_unrewarded() -> None:
    assert unrewarded({}) == {}
    assert unrewarded({"source_reward": "task", "arms": [{"name": "a", "method": "scratch"}]}) == {}
    assert list(unrewarded({"arms": [{"name": "a", "reward": {"name": "x"}}]})) == ["a"]
    assert [reward_name(each) for each in (None, "task", {}, {"name": "task"}, "y")] == ["", "", "", "", "y"]


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "InvertedPendulum-v5", "--steps", "512", "--reward", "state_entropy"]) == 0
    out = capsys.readouterr().out
    assert "scratch was trained without the task's reward, on state_entropy" in out
    assert "hasn't learnt" not in out
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name == "InvertedPendulum-v5-state_entropy"
    (place,) = run.glob("trials/*/checkpoint")
    assert main(["inspect", str(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reward"]["name"] == "state_entropy"
    assert main(["list", "rewards", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["rewards"]] == [
        "task",
        "state_entropy",
    ]
    for words, said in [
        ("state_entrpy", "--reward: Unknown reward"),
        ("{name: state_entropy, k: 3}", "--reward"),
    ]:
        assert main(["train", "InvertedPendulum-v5", "--reward", words]) == 2
        assert said in capsys.readouterr().err
