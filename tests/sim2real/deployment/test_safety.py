"""Limits of commands against numbers by hand, and what isn't a limit."""

import math

import numpy as np
import pytest

from tests.sim2real.deployment.exported import contract_of
from warmstart.sim2real.deployment.runtime.contract import DeploymentError, Dimension, Signal
from warmstart.sim2real.deployment.runtime.safety import Limits, Watchdog, bad_number, read_limits

SEEN = Signal("observation", (2,), "float32", (Dimension("hip.angle", "rad"), Dimension("knee.angle", "rad")))
ACTION = Signal(
    "action",
    (3,),
    "float32",
    (
        Dimension("hip.target_angle", "rad", -2.0, 2.0),
        Dimension("knee.target_angle", "rad", 0.0, 4.0),
        Dimension("wheel.torque", "N m"),
    ),
)
CONTRACT = contract_of(SEEN, ACTION, 10.0, joints={"hip": 0.5, "knee": 1.0})
AT = {"observation": np.array([0.25, 3.0], np.float32)}


def applied(limits, action, last=None):
    last = None if last is None else np.array(last)
    return read_limits(limits, CONTRACT).apply(np.array(action, float), last, AT, 0.1).tolist()


def test_the_contracts_range_always_holds():
    assert applied(Limits(), [-5, 5, 1e9]) == [-2, 4, 1e9]


def test_a_narrower_range_in_units_and_in_shares():
    assert applied(Limits(("hip*=-1:1.5", "knee*=x0.5", "wheel.torque=-3:3")), [9, 9, -9]) == [1.5, 3, -3]
    assert applied(Limits(("*_angle=x0.5", "hip*=-2:2")), [-9, -9, 0]) == [-2, 1, 0]


def test_a_target_stays_near_what_is_measured():
    limits = Limits(relative_limit=("*.target_angle=0.5",))
    assert applied(limits, [2, 2, 7]) == [0.75, 2.5, 7]
    assert applied(limits, [-2, 3.2, 7]) == [-0.25, 3.2, 7]


def test_a_command_changes_as_fast_as_its_rate_allows():
    limits = Limits(rate_limit=("*=5",))  # half a unit in a step of 0.1 s
    assert applied(limits, [2, 0, -9], [1, 1, 1]) == [1.5, 0.5, 0.5]
    assert applied(limits, [2, 0.2, -9]) == [0.5, 0.2, -0.5]  # the first is compared with the safe stop's


def test_the_rate_holds_where_limits_disagree():
    limits = Limits(relative_limit=("hip*=0.1",), rate_limit=("hip*=1",))
    assert applied(limits, [2, 2, 0], [1, 2, 0])[0] == pytest.approx(0.9)  # on its way to 0.35


@pytest.mark.parametrize(
    ("stop", "last", "command"),
    [
        ("zero", [1, 1, 1], [0, 0, 0]),
        ("hold", [1, 1, 1], [1, 1, 1]),
        ("zero", None, [0, 0, 0]),
    ],
)
def test_what_a_safe_stop_commands(stop, last, command):
    limits = read_limits(Limits(stop=stop), CONTRACT)
    assert limits.stopping(None if last is None else np.array(last, float), 0.1).tolist() == command


def test_a_safe_stop_keeps_to_the_rate():
    limits = read_limits(Limits(rate_limit=("*=2",)), CONTRACT)
    assert limits.stopping(np.array([1.0, 0.1, -1.0]), 0.1).tolist() == pytest.approx([0.8, 0, -0.8])


def test_default_positions_are_commanded_where_all_are_known():
    targets = Signal("action", (2,), "float32", ACTION.dimensions[:2])
    contract = contract_of(SEEN, targets, 10.0, joints=CONTRACT.joints)
    assert read_limits(Limits(stop="default"), contract).rest.tolist() == [0.5, 1.0]
    with pytest.raises(DeploymentError, match=r"No default position to stop at is known of wheel\.torque"):
        read_limits(Limits(stop="default"), CONTRACT)


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        (Limits(("ankle=x0.5",)), "--limit ankle=x0.5: no action is called so; they are hip.target_angle, "),
        (Limits(("hip*",)), r"--limit hip\*: expected NAME=VALUE"),
        (Limits(("hip*=x2",)), r"--limit hip.target_angle=x2: expected a share up to x1 of a range"),
        (
            Limits(("wheel*=x0.5",)),
            "wheel.torque=x0.5: expected a share up to x1 of a range, which is -inf to inf",
        ),
        (Limits(("hip*=-3:1",)), "hip.target_angle=-3:1: expected LOW:HIGH within -2:2"),
        (Limits(("hip*=1:0",)), "expected LOW:HIGH within -2:2"),
        (Limits(("hip*=a:b",)), "expected a number of -inf or more, found 'a'|expected a number"),
        (Limits(rate_limit=("*=-1",)), "--rate-limit hip.target_angle=-1: expected a number of 0 or more"),
        (Limits(rate_limit=("*=nan",)), "expected a number of 0 or more, found 'nan'"),
        (
            Limits(relative_limit=("wheel*=1",)),
            "of wheel.torque needs its measured position: it is no target",
        ),
        (Limits(stop="fall"), "Expected to stop by zero, hold, default, found 'fall'"),
    ],
)
def test_what_is_no_limit_is_refused(limits, problem):
    with pytest.raises(DeploymentError, match=problem):
        read_limits(limits, CONTRACT)


def test_a_relative_limit_needs_its_measurement():
    contract = contract_of(Signal("observation", (1,), "float32", SEEN.dimensions[:1]), ACTION, 10.0)
    with pytest.raises(DeploymentError, match=r"knee\.angle or knee\.position isn't observed"):
        read_limits(Limits(relative_limit=("knee*=1",)), contract)


@pytest.mark.parametrize(("period", "seconds"), [(0.002, 0.1), (0.05, 0.5)])
def test_a_watchdogs_default_is_a_tenth_of_a_second_or_ten_steps(period, seconds):
    assert Watchdog().seconds("stale_after", period) == seconds
    assert Watchdog(stale_after=0.03).seconds("stale_after", period) == 0.03


def test_a_watchdog_without_time_is_refused():
    with pytest.raises(DeploymentError, match="--pause-after: expected seconds above 0, found 0"):
        Watchdog(pause_after=0).check()


def test_the_first_number_that_isnt_finite_is_named():
    assert bad_number({"observation": np.array([1, math.inf], np.float32)}, CONTRACT) == "knee.angle"
    assert bad_number(AT, CONTRACT) == ""


def test_a_measured_position_leads_no_command_beyond_its_range():
    angle = Dimension("hinge.target_angle", "rad", -1.0, 1.0)
    seen = Signal("observation", (1,), "float32", (Dimension("hinge.angle", "rad"),))
    contract = contract_of(seen, Signal("action", (1,), "float32", (angle,)), 100.0)
    limits = read_limits(Limits(relative_limit=("*=0.2",)), contract)
    values = {"observation": np.array([1.5], np.float32)}
    assert limits.apply(np.array([0.0]), None, values, 0.01).tolist() == [1.0]
    narrow = read_limits(Limits(limit=("*=-0.3:0.3",), relative_limit=("*=0.2",)), contract)
    assert narrow.apply(np.array([0.0]), None, {"observation": np.array([0.9])}, 0.01).tolist() == [0.3]
