"""Several pairs in one study: how they are written, shared, put together by hand-computed numbers, shown."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from warmstart.__main__ import main
from warmstart.core.errors import WarmstartError
from warmstart.experiments.analysis.predicted import Prediction, same_sign
from warmstart.experiments.analysis.statistics import Interval
from warmstart.experiments.pairs.aggregate import PROFILE, Cell, PairRow, aggregate, foresight, stratified
from warmstart.experiments.pairs.page import render, share, signed
from warmstart.experiments.pairs.pairs import load_pairs

STUDY = """\
name: tiny
seeds: 2
algorithm: {name: ppo, n_envs: 4, n_steps: 16, batch_size: 32, n_epochs: 2, net_arch: [8]}
source_steps: 64
target_steps: 128
evaluation: {every: 64, episodes: 2}
arms: [scratch, {method: fine_tune, critic_fit_steps: 0}]
pairs:
  - {source: InvertedPendulum-v5, target: "InvertedPendulum-v5@pole.mass=x2"}
  - {source: InvertedPendulum-v5, target: "InvertedPendulum-v5@gravity=x0.5", target_steps: 64}
"""


def cell(*values, outcome="helps", share=0.5):
    mean = float(np.mean(values))
    return Cell(
        outcome, False, Interval(mean, mean - 1, mean + 1), tuple(values), tuple(range(len(values))), share
    )


ROWS = [
    PairRow("one", "A", "B", {"fine_tune": cell(1.0, 3.0), "other": cell(2.0, 2.0, share=0.1)}),
    PairRow("two", "A", "C", {"fine_tune": cell(-1.0, -1.0, outcome="hurts", share=math.inf)}),
    PairRow(
        "three",
        "A",
        "D",
        {"fine_tune": cell(0.5, 0.5), "other": cell(0.0, 0.0, outcome="no difference shown")},
    ),
]


def test_methods_are_put_together_over_pairs() -> None:
    found = aggregate("x", "scratch", ROWS)
    first, second = found.methods
    assert (first.name, second.name) == ("other", "fine_tune")
    assert first.area.estimate == 1.0  # (2 + 0) / 2
    assert second.area.estimate == pytest.approx(0.5)  # (2 − 1 + .5) / 3
    assert (second.pairs, second.helps, second.hurts) == (3, 2, 1)
    # in `one` both are 2, ranks 1 and 2 shared; in `two` behind the cold arm; in `three` first
    assert second.rank == pytest.approx((1.5 + 2 + 1) / 3)
    assert first.rank == pytest.approx((1.5 + 2.5) / 2)  # in `three` it ties with the cold arm
    assert second.improvement == pytest.approx(2 / 3)
    assert first.improvement == pytest.approx((1 + 0.5) / 2)
    assert second.share_to_final == 0.5
    assert first.over_fine_tune.estimate == pytest.approx(-0.25)  # ((2−1 + 2−3)/2 + (0−.5)) / 2
    assert math.isnan(second.over_fine_tune.estimate)
    assert second.profile[PROFILE.index(0.0)] == pytest.approx(2 / 3)
    assert second.profile[PROFILE.index(1.0)] == pytest.approx(1 / 3)


def predicted(said, came, arm="fine_tune"):
    right = same_sign(said, came)
    return Prediction(
        arm, 0, predicted=Interval(said), measured=Interval(came), right=right, method="guarded"
    )


def test_predictions_are_judged_over_pairs() -> None:
    pairs = [(0.5, 0.4), (0.4, 0.5), (-0.1, 0.1), (-0.2, -0.3), (math.nan, 0.2), (0.3, math.nan)]
    rows = [replace(ROWS[0], name=str(i), prediction=predicted(*pair)) for i, pair in enumerate(pairs)]
    found = aggregate("x", "scratch", [*rows, ROWS[1]])
    told = found.foresight
    assert (told.pairs, told.signs) == (4, 4)
    assert told.correlation.estimate == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert told.right.estimate == 0.75
    assert "Rank correlation over 4 pairs: +0.80 (" in str(told)
    assert "The sign is right in 3 of 4 (30% to 95%)." in str(told)
    page = render(found)
    assert "Predicted beside measured" in page
    assert page.count("<td>right</td>") == 3
    assert page.count("<td>wrong</td>") == 1
    three = foresight(rows[:3])
    assert math.isnan(three.correlation.estimate)
    assert str(three).startswith("A rank correlation over 3 pairs isn't shown: it takes 4.")
    assert "No pair has a predicted and a measured benefit." in str(foresight(ROWS))
    same = [replace(row, prediction=predicted(0.5, i)) for i, row in enumerate(rows[:4])]
    assert "none, as one side does not vary" in str(foresight(same))
    problem = replace(ROWS[0], prediction=Prediction("guarded", 0, problem="No <task>."))
    page = render(aggregate("x", "scratch", [problem]))
    assert "guarded: nothing was predicted. No &lt;task&gt;." in page
    assert "Predicted beside" not in render(aggregate("x", "scratch", ROWS))


def test_intervals_draw_seeds_within_pairs() -> None:
    found = stratified([[0.0, 2.0], [5.0, 5.0]], np.random.default_rng(0))
    # the first mean is 0, 1 or 2 with 1/4, 1/2, 1/4, the second always 5
    assert (found.estimate, found.low, found.high) == (3.0, 2.5, 3.5)
    assert math.isnan(stratified([[1.0], [2.0]], np.random.default_rng(0)).low)
    assert math.isnan(stratified([], np.random.default_rng(0)).estimate)


def test_the_page_says_what_is_in_it() -> None:
    page = render(aggregate("x<y", "scratch", ROWS))
    assert "x&lt;y" in page
    assert "<script" not in page
    assert 'href="two/report.html"' in page
    assert "<td>50%</td>" in page
    assert 'class="hurts"' in page
    assert (signed(-0.5), signed(math.nan), share(math.inf), share(0.25)) == ("−0.50", "—", "never", "25%")


def test_it_is_written_as_one_study_and_run_with_one_command(tmp_path, capsys) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(STUDY)
    assert main(["compare", str(path), "--dry-run"]) == 0
    assert "2 pairs, at most" in capsys.readouterr().out
    out = tmp_path / "run"
    assert main(["compare", str(path), "--out", str(out), "--workers", "1", "--seed", "0"]) == 0
    told = capsys.readouterr()
    assert "area to cold" in told.out
    assert told.err.count("source · seed 0: started") == 1  # the second pair takes it over
    data = json.loads((out / "summary.json").read_text())
    assert [pair["target"] for pair in data["pairs"]] == [
        "InvertedPendulum-v5@pole.mass=x2",
        "InvertedPendulum-v5@gravity=x0.5",
    ]
    assert data["methods"][0]["name"] == "fine_tune"
    assert [pair["prediction"]["arm"] for pair in data["pairs"]] == ["fine_tune", "fine_tune"]
    assert "No pair has a predicted and a measured benefit." in told.out  # nobody has learnt
    for pair in data["pairs"]:
        assert (out / pair["name"] / "report.html").is_file()
    before = (out / "report.html").read_text()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before
    assert main(["compare", str(out), "--out", str(out)]) == 0
    assert "started" not in capsys.readouterr().err
    part = tmp_path / "part"
    names = [pair["name"] for pair in data["pairs"]]
    for name in names:
        assert (
            main(["compare", str(path), "--out", str(part), "--seed", "0", "--workers", "1", "--pair", name])
            == 0
        )
    assert json.loads((part / "summary.json").read_text()) == data
    assert main(["compare", str(path), "--pair", "nobody", "--dry-run"]) == 2
    assert "Unknown pair 'nobody'" in capsys.readouterr().err
    assert main(["compare", "smoke", "--pair", "nobody", "--dry-run"]) == 2
    assert "is a single study" in capsys.readouterr().err
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").touch()
    assert main(["compare", str(path), "--out", str(tmp_path / "else")]) == 2
    assert "holds no run over pairs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("target_steps: 64}", "target_stps: 64}", r"p.yaml, line 10: pairs\[1\].target_stps: Unknown"),
        ("gravity=x0.5", "pole.mass=x2", r"line 10: pairs\[1\].name: two pairs are called"),
        ("seeds: 2", "seeds: 0", "line 2: seeds: expected at least one seed"),
        ("name: tiny\n", "", "name: missing"),
        ("name: tiny", "name: [1]", "line 1: name: missing: the folder"),
    ],
)
def test_mistakes_are_named_with_their_pair(old, new, said, tmp_path) -> None:
    path = tmp_path / "p.yaml"
    assert old in STUDY
    path.write_text(STUDY.replace(old, new, 1))
    with pytest.raises(WarmstartError, match=said):
        load_pairs(path)
