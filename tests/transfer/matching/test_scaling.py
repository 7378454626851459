"""What a source's action is in the target's numbers."""

import numpy as np
import pytest
from gymnasium import spaces

from warmstart.envs.simulation.layouts import Dimension, Layout
from warmstart.transfer.matching.by_name import match
from warmstart.transfer.matching.scaling import action_scaling

TORQUE = Dimension("shoulder.torque", "N m", -1.0, 1.0, 150.0)
ANGLE = Dimension("shoulder.target_angle", "rad", -0.5, 1.5, 1.0)
LINK = Dimension("elbow.torque", "N m", -1.0, 1.0, 100.0)


def pair(target):
    return match(
        Layout((TORQUE, LINK)), Layout((target, LINK)), (2, 2), {target.name: "shoulder.torque"}, "action"
    )


def box(*dimensions):
    low, high = np.array([(d.low, d.high) for d in dimensions], dtype=np.float32).T
    return spaces.Box(low, high)


@pytest.mark.parametrize("squashed", [False, True])
def test_units_that_differ_are_never_rescaled_into_each_other(squashed):
    matching = pair(ANGLE)
    found = action_scaling(matching, box(TORQUE, LINK), box(ANGLE, LINK), squashed)
    assert found.outputs.trivial
    assert found.inputs.trivial
    assert found.notes == (), "nothing is called equal"
    assert matching.notes("action") == (
        "shoulder.target_angle [rad] takes the weights of shoulder.torque [N m], unscaled, since their "
        "units differ.",
    )
    assert not matching.same_unit(0, 0)
    assert matching.ratios.tolist() == [1.0, 1.0]


def test_an_unknown_unit_is_not_taken_for_a_torque():
    site = Dimension("thruster.control", "", -1.0, 1.0, 30.0)
    assert action_scaling(pair(site), box(TORQUE, LINK), box(site, LINK), False).outputs.trivial


def test_equal_units_are_rescaled():
    weaker = Dimension("hip.torque", "N m", -1.0, 1.0, 75.0)
    found = action_scaling(pair(weaker), box(TORQUE, LINK), box(weaker, LINK), False)
    np.testing.assert_array_equal(found.outputs.factor, [2.0, 1.0])
