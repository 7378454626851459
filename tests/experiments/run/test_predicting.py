"""What a run says beforehand: once, beside its trials, for the right arm; and why where it can't."""

import json
import shutil
from dataclasses import replace

import pytest

from tests.experiments.report.test_report import Page
from tests.experiments.run.test_run import run_here, tiny
from warmstart.core.progress import Progress
from warmstart.experiments.records.config import PlannedTrial
from warmstart.experiments.run.predicting import learning_of, predict, predicted_trial
from warmstart.experiments.run.reading import load_run
from warmstart.experiments.run.run import conclude, plan


class Told(Progress):
    """Keeps what it is told."""

    def __init__(self):
        self.lines = []

    def message(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def made():
    return plan(tiny())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    run_here(tiny(), directory)
    return directory


@pytest.fixture
def directory(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def said(directory):
    return json.loads((directory / "similarity.json").read_text())


def test_it_is_said_once_and_changes_no_trial(directory, made) -> None:
    assert load_run(directory).similarity is None
    trials = {path: path.stat().st_mtime_ns for path in (directory / "trials").rglob("*")}
    told = Told()
    predict(directory, made.trials, "scratch", told)
    assert len(told.lines) == 1
    found, stamp = said(directory), (directory / "similarity.json").stat().st_mtime_ns
    assert (found["arm"], found["seed"], found["problem"]) == ("fine_tune", 0, "")
    assert found["trial"] == next(t.hash for t in made.trials if t.arm == "fine_tune")
    assert len(found["measures"]) == 5
    assert found["steps"] > 300
    assert {path: path.stat().st_mtime_ns for path in (directory / "trials").rglob("*")} == trials
    predict(directory, made.trials, "scratch", told)
    assert (directory / "similarity.json").stat().st_mtime_ns == stamp
    assert len(told.lines) == 1
    again = plan(tiny(target_steps=192))  # another trial of the same arm
    shutil.copytree(
        directory / "trials" / found["trial"],
        directory / "trials" / next(t.hash for t in again.trials if t.arm == "fine_tune"),
    )
    predict(directory, again.trials, "scratch", told)
    assert said(directory)["trial"] != found["trial"]
    assert said(directory)["measures"] == found["measures"]
    assert said(directory)["predicted"] < found["predicted"], "a cold start learns more in more steps"


def test_the_report_shows_it(directory, made) -> None:
    predict(directory, made.trials, "scratch", Told())
    result = conclude(directory)
    prediction = result.summary.prediction
    text = Page(result.report.read_text()).text
    assert "Will it help? Predicted beside measured" in text
    assert str(prediction) in text
    assert "one-step improvement" in text
    assert "count as nobody's training" in text
    numbers = json.loads((directory / "summary.json").read_text())["prediction"]
    assert numbers["arm"] == "fine_tune"
    assert numbers["predicted"]["estimate"] == said(directory)["predicted"]


def test_a_torn_file_and_a_failure_are_tried_anew(directory, made) -> None:
    (directory / "similarity.json").write_text("{")
    kept = {}
    for trial in made.trials:
        if trial.config.kind == "source":
            kept[trial.hash] = directory / "trials" / trial.hash / "checkpoint"
            kept[trial.hash].rename(kept[trial.hash].with_name("aside"))
    predict(directory, made.trials, "scratch", Told())
    assert "The source of this trial is missing" in said(directory)["problem"]
    text = Page(conclude(directory).report.read_text()).text
    assert "fine_tune: nothing was predicted. The source of this trial is missing" in text
    path = list(kept.values())[1]  # of the second seed
    path.with_name("aside").rename(path)
    predict(directory, made.trials, "scratch", Told())
    found = said(directory)
    assert (found["seed"], found["problem"]) == (1, "")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"reality": {"name": "x"}}, "judged in a reality, which nothing is predicted from"),
        ({"vision": {"encoder": "x"}}, "Its agents see"),
        ({"task": "Hopper-v5"}, "Nothing to carry"),
        ({"algorithm": {}}, "KeyError: 'algorithm'"),
    ],
)
def test_why_not_is_one_sentence(change, problem, directory, made) -> None:
    trials = [
        PlannedTrial(replace(t.config, **change), t.arm) if t.config.kind == "target" else t
        for t in made.trials
    ]
    predict(directory, trials, "scratch", Told())
    assert problem in said(directory)["problem"]
    assert "\n" not in said(directory)["problem"]


def test_nothing_is_said_where_nothing_is_compared(made, tmp_path) -> None:
    def arm(study, baseline="scratch"):
        found = predicted_trial(tmp_path, plan(study).trials, baseline)
        return None if found is None else found.arm

    assert arm(tiny()) == "fine_tune"
    assert arm(tiny(), baseline="fine_tune") is None
    assert arm(tiny(source=None, source_steps=0, arms=("scratch",))) is None
    assert arm(tiny(arms=("scratch", "zero_shot", "shuffled"))) is None
    assert arm(tiny(arms=("scratch", "zero_shot", "guarded", "kickstart"))) == "guarded"
    assert arm(tiny(arms=("scratch", "guarded", {"name": "mine", "method": "fine_tune"}))) == "mine"
    predict(tmp_path, plan(tiny(), plugins=()).trials[:1], "scratch", Told())
    assert not (tmp_path / "similarity.json").exists()


def test_how_a_source_learnt_is_told_by_its_evaluations(directory, made) -> None:
    source = next(trial for trial in made.trials if trial.config.kind == "source")
    folder = directory / "trials" / source.hash
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    told = [each for each in records if each["event"] == "evaluation"]
    learning = learning_of(folder / "checkpoint")
    assert learning.steps == tuple(each["step"] for each in told)
    assert learning.returns == pytest.approx([sum(e["returns"]) / len(e["returns"]) for e in told])
    warm = next(trial for trial in made.trials if trial.arm == "fine_tune")
    assert learning_of(directory / "trials" / warm.hash / "checkpoint") is None, "it didn't start cold"
    assert learning_of(directory / "somewhere" / "checkpoint") is None
    predict(directory, made.trials, "scratch", Told())
    assert "on average over" in said(directory)["reason"] or said(directory)["predicted"] is None
