"""Each metric against numbers worked out by hand."""

import numpy as np
import pytest

from tests.experiments.synthetic import curve, run
from warmstart.experiments.analysis.curves import RunData
from warmstart.experiments.analysis.grids import to_grid
from warmstart.experiments.analysis.metric_kinds import METRICS
from warmstart.experiments.analysis.metrics import (
    Normalisation,
    absolute_metrics,
    area,
    area_with_source,
    crossing,
    final_return,
    maximum_dip,
    normalisation,
    paired_metrics,
    time_to_threshold,
    times_to_threshold,
)

UNIT = Normalisation(0.0, 1.0, "", "")


def test_area_is_the_mean_height():
    # Trapezoids: 10 · 1 + 30 · 3 = 100, over 40 steps.
    assert area(np.array([0.0, 10, 40]), np.array([0.0, 2, 4])) == pytest.approx(2.5)
    assert area(np.array([0.0]), np.array([7.0])) == 7


def test_final_return_is_the_mean_of_the_last_three():
    assert final_return(np.array([[9.0, 1, 2, 6], [0, 0, 0, 3]])).tolist() == [3.0, 1.0]
    assert final_return(np.array([4.0, 6.0])) == 5.0


def test_maximum_dip_is_below_the_start_and_never_negative():
    assert maximum_dip(np.array([[5.0, 2, 8, 1], [1, 2, 3, 4]])).tolist() == [4.0, 0.0]


@pytest.mark.parametrize(
    ("returns", "index"),
    [
        ([0, 5, 9, 9], 1),
        ([0, 5, 4, 5], 3),  # falls below again: counts from the last time
        ([6, 6, 6, 6], 0),
        ([0, 9, 9, 4], None),  # below at the end: censored
        ([0, 0, 0, 5], 3),  # at the threshold counts
    ],
)
def test_crossing_stays_at_or_above(returns, index):
    assert crossing(np.array(returns, dtype=float), 5.0) == index


def test_time_to_threshold_with_a_censored_seed():
    clock = np.tile([0.0, 10, 20, 30], (3, 1))
    result = time_to_threshold(np.array([[0, 5, 5, 5], [0, 0, 5, 5], [0, 9, 9, 0.0]]), clock, 5.0, 30.0)
    assert result.times == (10, 20, 30)
    assert result.reached == (True, True, False)
    assert result.solved == pytest.approx(2 / 3)
    assert result.median == 20
    assert result.restricted_mean == pytest.approx((10 + 20 + 30) / 3)


def test_area_with_source_starts_late_and_ends_at_the_budget():
    steps = np.array([0.0, 10, 20])
    # A constant 2, moved by 10 in a budget of 20: nothing, then 2 for half of it.
    assert area_with_source(steps, np.full(3, 2.0), 10, 20) == pytest.approx(1.0)
    # The ramp 0, 1, 2 moved by 5: from 5 to 20 it rises to 1.5: 15 · 0.75 / 20.
    assert area_with_source(steps, np.array([0.0, 1, 2]), 5, 20) == pytest.approx(15 * 0.75 / 20)
    assert area_with_source(steps, np.full(3, 2.0), 20, 20) == 0.0
    assert area_with_source(steps, np.full(3, 2.0), 0, 20) == pytest.approx(2.0)


def test_paired_metrics_by_hand():
    data = run(scratch=[[0, 2, 4, 4, 4], [0, 4, 6, 6, 6]], warm=[[3, 1, 5, 5, 8], [5, 7, 7, 7, 7]])
    grid = to_grid(data)
    paired = paired_metrics(grid, grid.arms["warm"], grid.arms["scratch"], UNIT, 4.0)
    assert paired["jumpstart"].values == (3, 5)
    assert paired["jumpstart"].interval.estimate == 4
    assert paired["asymptotic_gain"].values == (pytest.approx(2), pytest.approx(1))
    # Areas (of 40 steps): cold 120/40 = 3 and 190/40 = 4.75; warm 165/40 and 270/40.
    assert paired["area_difference"].values == (pytest.approx(1.125), pytest.approx(2.0))
    assert paired["total_reward_difference"].values == paired["area_difference"].values
    assert paired["transfer_ratio"].values == (pytest.approx(1.125 / 3), pytest.approx(2 / 4.75))
    assert paired["transfer_ratio"].interval.estimate == pytest.approx(3.125 / 7.75)
    # Steps to 4, staying: cold 20 and 10, warm 20 (after the dip) and 0.
    assert paired["steps_saved"].values == (0, 10)
    absolute = absolute_metrics(grid, grid.arms["warm"], UNIT)
    assert absolute["maximum_dip"].values == (2, 0)
    assert absolute["initial_return"].values == (3, 5)
    assert absolute["final_return"].values == (6, 7)
    assert absolute["training_seconds"].values == (4, 4)
    assert set(paired) | set(absolute) == set(METRICS)
    assert set(paired) == {key for key, kind in METRICS.items() if kind.paired}


def test_metrics_with_the_source_counted_in():
    cold = [curve("scratch", seed, [0, 1, 2, 2, 2]) for seed in (0, 1)]
    warm = [
        curve("warm", seed, [2, 2, 2, 2, 2], source_steps=20, source_seconds=3.0, seconds=np.arange(5.0))
        for seed in (0, 1)
    ]
    grid = to_grid(RunData("x", curves=(*cold, *warm)))
    paired = paired_metrics(grid, grid.arms["warm"], grid.arms["scratch"], UNIT, 2.0)
    # Cold area: (10·.5 + 10·1.5 + 20·2) / 40 = 1.5; warm with source: 2 for half of the budget.
    assert paired["area_difference_with_source"].values == (pytest.approx(-0.5),) * 2
    assert paired["steps_saved"].values == (20, 20)
    assert paired["steps_saved_with_source"].values == (0, 0)
    times = times_to_threshold(grid, 2.0)["warm"]
    assert times["steps"].times == (0, 0)
    assert times["steps_with_source"].times == (20, 20)
    assert times["seconds"].times == (0, 0)
    assert times["seconds_with_source"].times == (3, 3)
    assert absolute_metrics(grid, grid.arms["warm"], UNIT)["training_seconds_with_source"].values == (7, 7)
    assert (times["steps"].horizon, times["steps_with_source"].horizon) == (40, 60)


def test_normalisation_rules():
    grid = to_grid(run(scratch=[[-100, -40, -20, -20, -20]], warm=[[-50, -10, -10, -10, -10]]))
    given = normalisation(grid, "scratch", -120.0)
    assert (given.floor, given.ceiling, given.low_gain) == (-120, -20, False)
    assert given(np.array([-120.0, -20, -70])).tolist() == [0, 1, 0.5]
    assert normalisation(grid, "scratch", None).floor == -100  # the untrained cold arm stands in
    assert "before training" in normalisation(grid, "scratch", None).floor_rule


def test_normalisation_where_the_cold_arm_learns_nothing():
    grid = to_grid(run(scratch=[[0, 0, -1, -1, -1]], warm=[[0, 50, 100, 100, 100]]))
    scale = normalisation(grid, "scratch", 0.0)
    assert scale.low_gain
    assert scale.ceiling == 101  # the span of all curves, upside up
    flat = to_grid(run(scratch=[[5, 5]], warm=[[5, 5]]))
    assert normalisation(flat, "scratch", 5.0).ceiling == 6


def test_the_sign_of_a_difference_survives_negative_returns():
    data = run(scratch=[[-900, -800, -700]] * 2, warm=[[-600, -500, -400]] * 2)
    grid = to_grid(data)
    scale = normalisation(grid, "scratch", -1000.0)
    paired = paired_metrics(grid, grid.arms["warm"], grid.arms["scratch"], scale, -700.0)
    assert paired["area_difference"].interval.estimate > 0
    assert paired["transfer_ratio"].interval.estimate == pytest.approx(300 / 200)


def test_without_step_0_jumpstart_and_dip_are_unknown():
    curves = [curve(arm, 0, [1, 2, 3], [100, 200, 300]) for arm in ("scratch", "warm")]
    grid = to_grid(RunData("x", curves=tuple(curves)))
    paired = paired_metrics(grid, grid.arms["warm"], grid.arms["scratch"], UNIT, 3.0)
    assert np.isnan(paired["jumpstart"].interval.estimate)
    assert np.isnan(absolute_metrics(grid, grid.arms["warm"], UNIT)["maximum_dip"].interval.estimate)
    assert any("not at 0" in note for note in grid.notes)


def test_only_common_seeds_are_paired():
    curves = [curve("scratch", seed, [0, 1]) for seed in (0, 1, 2)]
    curves += [curve("warm", seed, [seed, 1]) for seed in (2, 1, 5)]
    grid = to_grid(RunData("x", curves=tuple(curves)))
    paired = paired_metrics(grid, grid.arms["warm"], grid.arms["scratch"], UNIT, 1.0)
    assert paired["jumpstart"].seeds == (1, 2)
    assert paired["jumpstart"].values == (1, 2)
    lonely = to_grid(RunData("x", curves=(curve("scratch", 0, [0, 1]), curve("warm", 1, [0, 1]))))
    assert paired_metrics(lonely, lonely.arms["warm"], lonely.arms["scratch"], UNIT, 1.0) == {}


def test_differing_grids_are_interpolated_within_their_common_range():
    short = curve("scratch", 0, [0, 10, 20], [0, 100, 200])
    long = curve("warm", 0, [0, 15, 30, 45], [0, 150, 300, 450])
    grid = to_grid(RunData("x", curves=(short, long)))
    assert grid.steps[0] == 0
    assert grid.steps[-1] == 200
    assert grid.arms["warm"].returns[0] == pytest.approx(grid.steps / 10)
    assert any("end at different steps" in note for note in grid.notes)
    assert any("interpolated" in note for note in grid.notes)


def test_a_constant_curve_is_held_over_the_grid():
    held = curve("zero_shot", 0, [7], [0], constant=True)
    grid = to_grid(RunData("x", curves=(curve("scratch", 0, [0, 1, 2]), held)))
    assert grid.arms["zero_shot"].returns.tolist() == [[7, 7, 7]]
    assert grid.arms["zero_shot"].constant


def test_what_cannot_be_compared_is_left_out_with_a_note():
    curves = (
        curve("scratch", 0, [0, 1, 2, 3, 4]),
        curve("scratch", 0, [9, 9, 9, 9, 9]),
        curve("scratch", 1, [0, np.nan, 2, 3, 4]),
        curve("warm", 0, [1, 2]),
        curve("warm", 1, [1, 2, 3, 4, 5], complete=False),
        curve("warm", 2, [0, 1, 2, 3, 4]),
    )
    grid = to_grid(RunData("x", curves=curves))
    assert grid.arms["scratch"].seeds == (0, 1)
    assert grid.arms["warm"].seeds == (2,)
    for words in ("occurs twice", "no finite return", "far before the others", "hasn't finished"):
        assert any(words in note for note in grid.notes), words


def test_a_repeated_step_counts_once_with_its_last_value():
    grid = to_grid(RunData("x", curves=(curve("scratch", 0, [0, 1, 5, 2], [0, 10, 10, 20]),)))
    assert grid.steps.tolist() == [0, 10, 20]
    assert grid.arms["scratch"].returns.tolist() == [[0, 5, 2]]


def test_curves_without_a_common_range():
    grid = to_grid(RunData("x", curves=(curve("a", 0, [0, 1], [0, 10]), curve("b", 0, [0, 1], [11, 20]))))
    assert not grid.arms
    assert "share no range" in grid.notes[0]


def test_what_is_no_number_is_never_reached():
    assert crossing(np.array([1.0, 2.0]), float("nan")) is None
    assert crossing(np.array([1.0, float("nan")]), 0.0) is None
