"""Rank correlation, shares of signs, and what came of a prediction, by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.experiments.synthetic import run
from warmstart.experiments.analysis.predicted import rank_correlation, same_sign, share_of
from warmstart.experiments.analysis.summary import summarise

SAID = {
    "format": 1,
    "trial": "0123456789abcdef",
    "arm": "warm",
    "seed": 0,
    "problem": "",
    "predicted": 0.4,
    "predicted_low": 0.1,
    "predicted_high": 0.5,
    "outlook": "helps",
    "method": "fine_tune",
    "reason": "Its policy is strong.",
    "measures": [{"name": "critic", "value": None, "low": None, "high": None, "meaning": "none"}],
    "steps": 1234,
    "notes": [],
}


def study(warm=((10.0, 10, 10), (10, 10, 10)), other=((0.0, 0, 0), (0, 0, 0)), **said):
    data = run(scratch=[[0.0, 5, 10], [0, 5, 10]], warm=list(warm), other=list(other))
    arms = [{"name": "scratch", "method": "scratch"}, {"name": "warm", "method": "fine_tune"}]
    arms.append({"name": "other", "method": "guarded"})
    return replace(data, study={"arms": arms}, similarity={**SAID, **said})


def test_rank_correlation_by_hand() -> None:
    found = rank_correlation([1, 2, 3, 4, 5], [20, 10, 40, 30, 500])
    assert found.estimate == pytest.approx(1 - 6 * 4 / (5 * 24))
    half = 1.96 * math.sqrt((1 + 0.8**2 / 2) / 2)
    assert found.low == pytest.approx(math.tanh(math.atanh(0.8) - half))
    assert found.high == pytest.approx(math.tanh(math.atanh(0.8) + half))
    assert rank_correlation([7, 7, 8, 9], [1, 2, 3, 4]).estimate == pytest.approx(4.5 / math.sqrt(22.5))
    throughout = rank_correlation([1, 2, 3, 4], [4, 3, 2, 1])
    assert throughout.estimate == pytest.approx(-1)
    assert math.isnan(throughout.low)
    assert math.isnan(rank_correlation([1, 2, 3], [1, 2, 3]).estimate)
    assert math.isnan(rank_correlation([1, 1, 1, 1], [1, 2, 3, 4]).estimate)


def test_a_share_has_wilsons_interval() -> None:
    found = share_of(3, 4)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.75, 0.3006, 0.9544), abs=1e-4)
    assert share_of(0, 5).low == pytest.approx(0)
    assert math.isnan(share_of(0, 0).estimate)


def test_signs() -> None:
    assert same_sign(0.1, 3) is same_sign(-1, -2) is True
    assert same_sign(-0.1, 3) is False
    assert same_sign(0, 3) is same_sign(1, 0) is same_sign(math.nan, 1) is None


def test_what_came_stands_beside_what_was_said() -> None:
    found = summarise(study()).prediction
    assert (found.predicted.estimate, found.predicted.low, found.predicted.high) == (0.4, 0.1, 0.5)
    # the cold arm's last three evaluations have the mean 5, which is 1: areas of 1 and 2
    assert found.measured.estimate == pytest.approx(1.0)
    assert found.right is True
    assert (found.best, found.best_measured.estimate) == ("warm", pytest.approx(1.0))
    assert found.recommended.estimate == pytest.approx(1.0)
    assert str(found) == "warm: predicted +0.40, measured +1.00; the sign is right."


def test_a_wrong_sign_an_untried_method_and_a_cold_arm_that_was_best() -> None:
    found = summarise(study(warm=((0.0, 0, 0), (1, 0, 0)), method="rlpd")).prediction
    assert found.right is False
    assert math.isnan(found.recommended.estimate)
    assert (found.best, found.best_measured.estimate) == ("scratch", 0.0)
    assert "the sign is wrong" in str(found)
    guarded = summarise(study(method="guarded")).prediction
    assert guarded.recommended.estimate == pytest.approx(-1.0)
    assert summarise(study(method="scratch")).prediction.recommended.estimate == 0.0


def test_what_is_missing_is_said() -> None:
    assert summarise(replace(study(), similarity=None)).prediction is None
    failed = summarise(study(problem="No such task")).prediction
    assert str(failed) == "warm: nothing was predicted. No such task."
    assert math.isnan(failed.measured.estimate)
    none = summarise(study(predicted=None, predicted_low=None, predicted_high=None)).prediction
    assert str(none) == "warm: no benefit can be predicted. Its policy is strong."
    assert none.right is None
    gone = summarise(study(arm="nobody")).prediction
    assert str(gone) == "nobody: predicted +0.40, nothing measured. nobody has no result."
    assert summarise(study()).to_json()["prediction"]["measured"]["estimate"] == pytest.approx(1.0)
    untaught = replace(study(), random_return=100.0, random_spread=1.0)
    unlearnt = summarise(untaught).prediction
    assert "Neither warm nor scratch has learnt" in str(unlearnt)
    assert unlearnt.best == ""
    assert np.isnan(unlearnt.measured.estimate)
