"""A description says what an environment of the task has."""

from typing import Any

import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.describe import describe
from warmstart.envs.robots.table import GYMNASIUM_TASKS
from warmstart.envs.vector import make_vec

TASKS = (
    *GYMNASIUM_TASKS,
    "Hopper-v5:time_limit=7,frame_skip=2@gravity=x0.5",
    "Ant-v5:without=[hip_4],include_cfrc_ext_in_observation=false",
    "InvertedPendulum-v5:obs=pixels,size=[16,24]",
    "InvertedPendulum-v5:obs=pixels+state",
    "CartPole-v1",
)


@pytest.mark.parametrize("task", TASKS)
def test_it_agrees_with_the_environment(task: str) -> None:
    found, env = describe(task), make_vec(task, 1, 0, n_threads=1)
    made: Any = env
    assert found.observation_space == env.single_observation_space
    assert found.action_space == env.single_action_space
    assert found.observation_layout == made.observation_layout
    assert found.action_layout == made.action_layout
    names = None if found.parameters is None else found.parameters.names
    assert names == (None if made.parameters is None else made.parameters.names)
    if hasattr(made, "sim"):
        assert found.period == made.sim.dt[0] == 1 / (found.control_rate or 0)
        assert found.time_limit == made.robot.time_limit
    else:
        assert found.period is found.control_rate is None
        assert found.time_limit == 500
    env.close()


@pytest.mark.parametrize("task", ["Hoper-v5", "Hopper-v5:gaol=2", "Hopper-v5@torso.mess=2"])
def test_mistakes_are_those_of_the_environment(task: str) -> None:
    with pytest.raises(WarmstartError) as made:
        make_vec(task, 1, 0)
    with pytest.raises(WarmstartError) as described:
        describe(task)
    assert str(described.value) == str(made.value)
