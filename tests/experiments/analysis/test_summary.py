import dataclasses
import json

import numpy as np
import pytest

from tests.experiments.synthetic import curve, realistic, run
from warmstart.core.errors import WarmstartError
from warmstart.experiments.analysis.curves import Failure, RunData
from warmstart.experiments.analysis.summary import summarise, write_summary


def finite_json(summary):
    return json.loads(json.dumps(summary.to_json(), allow_nan=False))


def test_a_study_as_a_whole():
    summary = summarise(realistic(3))
    assert summary.name == "cheetah-friction"
    assert [arm.name for arm in summary.arms] == [
        "scratch",
        "fine_tune",
        "feature_extraction",
        "zero_shot",
        "shuffled",
    ]
    warm = summary.arm("fine_tune")
    assert warm.verdict is not None
    assert warm.verdict.outcome == "helps"
    assert warm.verdict.provisional
    assert str(warm.headline).startswith(
        "fine_tune helps (provisional): reaches scratch's final return after "
    )
    assert warm.headline is not None
    assert "600,000 steps counted in" in warm.headline.cost
    assert warm.improvement["area"].estimate == 1.0
    assert len(warm.bands["iqm"].centre) == len(summary.steps) == 21
    assert summary.arm("scratch").verdict is None
    assert summary.arm("feature_extraction").failed_seeds == (2,)
    assert summary.arm("zero_shot").constant
    finals = [m for m in summary.arm("scratch").metrics["final_return"].values]
    assert summary.threshold == pytest.approx(np.mean(finals))


def test_ten_seeds_are_not_provisional():
    summary = summarise(realistic(10, failures=False))
    outcomes = {arm.name: arm.verdict.outcome for arm in summary.compared if arm.verdict}
    assert outcomes["fine_tune"] == "helps"
    assert outcomes["shuffled"] == "hurts"
    assert not any(arm.verdict.provisional for arm in summary.compared if arm.verdict)
    assert "negative transfer" in str(summary.arm("shuffled").headline)


def test_summary_is_deterministic_and_takes_a_generator():
    first, second = (summarise(realistic(3)).to_json() for _ in range(2))
    assert first == second
    other = summarise(realistic(3), np.random.default_rng(1)).to_json()
    assert other != first
    assert other["arms"][1]["verdict"] == first["arms"][1]["verdict"]


def test_json_holds_no_nan(tmp_path):
    path = write_summary(summarise(realistic(3)), tmp_path / "deep" / "summary.json")
    data = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert data["format"] == 1
    assert data["arms"][0]["verdict"] is None
    assert data["arms"][4]["time_to_threshold"]["steps"]["median"] is None  # never reached: infinite
    assert [item.name for item in tmp_path.joinpath("deep").iterdir()] == ["summary.json"]


def test_an_unwritable_place_is_one_clear_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WarmstartError, match="Can't write"):
        write_summary(summarise(realistic(1)), tmp_path / "file" / "summary.json")


def test_a_single_seed_shows_nothing_but_gives_numbers():
    summary = summarise(realistic(1, failures=False))
    for arm in summary.compared:
        assert arm.verdict is not None
        assert arm.verdict.outcome == "no difference shown"
        assert arm.verdict.provisional
        assert arm.headline.title == f"{arm.name}: no difference shown (provisional: 1 pair of seeds)"  # type: ignore[union-attr]
    assert "One pair of seeds can't show" in summary.arm("fine_tune").verdict.reason  # type: ignore[union-attr]
    assert summary.arm("fine_tune").metrics["jumpstart"].interval.estimate > 400
    finite_json(summary)


def test_arms_that_only_failed_and_seeds_without_a_pair():
    data = RunData(
        name="partial",
        curves=(
            *(curve("scratch", seed, [0, 1, 2, 3]) for seed in (0, 1)),
            curve("warm", 5, [2, 3, 4, 5]),
        ),
        failures=(Failure("broken", 0, "boom"),),
    )
    summary = summarise(data)
    assert {arm.name: arm.verdict.outcome for arm in summary.compared if arm.verdict} == {
        "warm": "not compared",
        "broken": "not compared",
    }
    assert summary.arm("broken").failed_seeds == (0,)
    assert summary.arm("warm").metrics["final_return"].interval.estimate == 4
    assert "not compared" in str(summary.arm("broken").headline)
    finite_json(summary)


def test_without_a_cold_arm_nothing_is_compared():
    summary = summarise(run(warm=[[0, 1, 2]], warmer=[[1, 2, 3]]))
    assert all(arm.verdict and arm.verdict.outcome == "not compared" for arm in summary.compared)
    assert any("cold arm 'scratch' has no finished curve" in note for note in summary.notes)
    assert summary.arm("warmer").metrics["final_return"].interval.estimate == 2
    finite_json(summary)


@pytest.mark.parametrize(
    "data", [RunData("empty"), RunData("failed", failures=(Failure("scratch", 0, "x"),))]
)
def test_a_run_without_curves(data):
    summary = summarise(data)
    assert np.isnan(summary.threshold)
    finite_json(summary)


def test_an_unfinished_run_keeps_its_curves():
    data = realistic(3)
    half = dataclasses.replace(
        data, curves=tuple(dataclasses.replace(c, complete=False) for c in data.curves)
    )
    summary = summarise(half)
    assert len(summary.curves) == len(data.curves)
    assert all(arm.verdict and arm.verdict.outcome == "not compared" for arm in summary.compared)
    finite_json(summary)


def test_negative_returns_and_no_random_policy():
    data = run(
        scratch=[[-1000, -800, -600, -500], [-990, -790, -610, -510], [-1010, -805, -590, -495]],
        warm=[[-500, -400, -300, -250], [-510, -410, -310, -260], [-490, -395, -290, -245]],
    )
    summary = summarise(dataclasses.replace(data, random_return=None))
    verdict = summary.arm("warm").verdict
    assert verdict is not None
    assert verdict.outcome == "helps"
    assert summary.normalisation is not None
    assert summary.normalisation.floor == pytest.approx(-1000)
    assert "starts at or above scratch's final return" in str(summary.arm("warm").headline)


def test_the_threshold_can_be_given():
    summary = summarise(realistic(3), threshold=100.0)
    assert summary.threshold == 100
    assert summary.threshold_rule == "given by the user"


def test_helping_without_reaching_the_threshold_is_said():
    data = run(
        scratch=[[0, 1, 2, 8, 8, 8, 8, 8]] * 2 + [[0, 1, 2.1, 8, 8, 8, 8, 8]],
        warm=[[5, 6, 7, 7.5, 7.5, 7.5, 7.5, 7.5]] * 2 + [[5.2, 6, 7, 7.5, 7.5, 7.5, 7.5, 7.5]],
    )
    arm = summarise(data).arm("warm")
    assert arm.verdict is not None
    assert arm.verdict.outcome == "helps"
    assert "most seeds don't hold scratch's final return" in str(arm.headline)
    assert arm.time_to_threshold["steps"].solved == 0


def test_notes_of_the_run_come_first():
    summary = summarise(dataclasses.replace(realistic(2), notes=("One source agent serves all seeds.",)))
    assert summary.notes[0] == "One source agent serves all seeds."


def test_a_threshold_that_is_no_number_gives_no_times():
    for data, theta in (
        (realistic(3), float("nan")),
        (dataclasses.replace(realistic(2), baseline="no"), None),
    ):
        summary = summarise(data, threshold=theta)
        assert not any(arm.time_to_threshold for arm in summary.arms)
        for arm in summary.compared:
            saved = arm.metrics.get("steps_saved")
            assert saved is None or np.isnan(saved.values).all()
        finite_json(summary)
