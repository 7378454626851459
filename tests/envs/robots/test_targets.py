"""Every named target task is sound: it parses, prints back and applies to its model."""

import functools
import re

import gymnasium
import mujoco
import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.robots.table import named_targets
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec

TARGETS = {name: (target, Task.parse(target.changes)) for name, target in named_targets().items()}


@functools.cache
def parameters_of(task_id: str) -> tuple[mujoco.MjModel, Parameters]:
    model = gymnasium.make(task_id).unwrapped.model
    return model, Parameters(model)


@pytest.mark.parametrize("name", TARGETS)
def test_every_target(name: str) -> None:
    target, task = TARGETS[name]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", target.name)
    assert target.name == name
    assert target.description.endswith(".")
    assert target.source
    assert str(task) == target.changes
    assert Task.parse(name) == task
    assert task != task.nominal() or task.options
    if task.id.startswith("CartPole"):  # attributes of the environment, not of a model
        environment = gymnasium.make(task.id).unwrapped
        assert all(isinstance(getattr(environment, change.selector), float) for change in task.context)
        return
    model, parameters = parameters_of(task.id)
    parameters.check(task.context)
    changed = mujoco.MjModel.__copy__(model)
    parameters.apply(changed, task.context)
    data = mujoco.MjData(changed)
    mujoco.mj_step(changed, data, 10)
    assert np.isfinite(data.qpos).all()


def test_no_two_targets_are_the_same_task() -> None:
    assert len({task for _, task in TARGETS.values()}) == len(TARGETS) > 100


def test_targets_of_one_environment() -> None:
    texts = [target.changes for target, _ in TARGETS.values()]
    for task_id in ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5"):
        contexts = {text.partition("@")[2] for text in texts if text.startswith(task_id)}
        odrl = {f"{q}=x{f}" for q in ("gravity", "friction") for f in ("0.1", "0.5", "2", "5")}
        assert contexts >= odrl | {"range=x0.8", "range=x0.5", "range=x0.2"}
    for task_id in ("InvertedPendulum-v5", "Reacher-v5", "Swimmer-v5", "Humanoid-v5", "CartPole-v1"):
        assert any(text.startswith(task_id) for text in texts)


def test_published_extremes() -> None:
    assert str(Task.parse("hopper-heavy-torso")) == "Hopper-v5@torso.mass=x3"
    assert str(Task.parse("hopper-rrls-thigh-high")) == "Hopper-v5@thigh.mass=4"
    assert str(Task.parse("halfcheetah-light-back-thigh")) == "HalfCheetah-v5@bthigh.mass=x0.1"
    assert str(Task.parse("inverted-pendulum-heavy-pole")) == "InvertedPendulum-v5@pole.mass=31"


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(WarmstartError, match="Did you mean 'hopper-heavy-torso'"):
        make_vec("hopper-heavy-torzo")
