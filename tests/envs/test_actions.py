"""Choices in place of continuous actions."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from warmstart.core.errors import WarmstartError
from warmstart.envs.describe import describe
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.vector import make_vec


@pytest.mark.parametrize(
    ("task", "space", "values"),
    [
        ("MountainCarContinuous-v0:action_bins=3", spaces.Discrete(3), [[-1.0, 0.0, 1.0]]),
        ("InvertedPendulum-v5:action_bins=5", spaces.Discrete(5), [[-3.0, -1.5, 0.0, 1.5, 3.0]]),
        ("Reacher-v5:action_bins=2", spaces.MultiDiscrete([2, 2]), [[-1.0, 1.0], [-1.0, 1.0]]),
    ],
)
def test_choices_stand_for_evenly_spaced_values(task, space, values):
    env = make_vec(task, 2, seed=0)
    assert env.single_action_space == space
    np.testing.assert_allclose(env.action_values, values)
    assert str(env.task) == task
    assert env.action_space.sample().shape[0] == 2
    found = describe(task)
    assert (found.action_space, found.action_layout) == (space, env.action_layout)
    assert found.observation_layout == env.observation_layout
    env.close()


def test_a_step_is_that_of_the_values_that_were_chosen():
    binned = make_vec("Reacher-v5:action_bins=3@body0.mass=x2", 3, seed=0)
    plain = make_vec("Reacher-v5@body0.mass=x2", 3, seed=0)
    np.testing.assert_array_equal(binned.reset(seed=5)[0], plain.reset(seed=5)[0])
    chosen = np.array([[0, 1], [2, 0], [1, 1]])
    ours, theirs = binned.step(chosen), plain.step(np.array([[-1, 0], [1, -1], [0, 0]], np.float32))
    for mine, other in zip(ours[:4], theirs[:4], strict=True):
        np.testing.assert_array_equal(mine, other)
    binned.close()
    plain.close()


def test_choices_of_several_joints_are_named_by_them():
    names = describe("Hopper-v5:action_bins=2").action_layout.names
    assert names[:3] == (
        "thigh_joint.torque.choice[0]",
        "thigh_joint.torque.choice[1]",
        "leg_joint.torque.choice[0]",
    )


def test_sb3_and_gymnasium_get_choices_too():
    env = as_sb3(make_vec("Pendulum-v1:action_bins=4", 2, seed=0))
    assert env.action_space == spaces.Discrete(4)
    env.reset()
    assert env.step(np.array([0, 3]))[1].shape == (2,)
    env.close()
    made = gymnasium.make_vec("warmstart/Hopper-v5", num_envs=2, action_bins=3)
    assert made.single_action_space == spaces.MultiDiscrete([3, 3, 3])
    made.close()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("Hopper-v5:action_bins=1", "expected action_bins from 2 to 256, found 1"),
        ("Hopper-v5:action_bins=true", "expected action_bins from 2 to 256, found"),
        ("CartPole-v1:action_bins=3", r"continuous actions with bounds, and these are Discrete\(2\)"),
    ],
)
def test_what_cannot_be_chosen_is_refused(task, message):
    with pytest.raises(WarmstartError, match=message):
        make_vec(task, 1)
    with pytest.raises(WarmstartError, match=message):
        describe(task)
