"""Every named target task is sound: it parses, prints back and applies to its model."""

import functools
import re

import gymnasium
import mujoco
import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.tasks.targets import TARGETS, NamedTarget, find_target, targets
from warmstart.envs.tasks.task import Task


@functools.cache
def parameters_of(task_id: str) -> tuple[mujoco.MjModel, Parameters]:
    model = gymnasium.make(task_id).unwrapped.model
    return model, Parameters(model)


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.name)
def test_every_target(target: NamedTarget) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", target.name)
    assert target.description.endswith(".")
    assert target.source
    assert (
        Task.parse(str(target.task))
        == target.task
        == Task.parse(target.name)
        == find_target(target.name).task
    )
    assert target.task != target.task.nominal() or target.task.options
    if target.task.id.startswith("CartPole"):  # attributes of the environment, not of a model
        environment = gymnasium.make(target.task.id).unwrapped
        assert all(isinstance(getattr(environment, change.selector), float) for change in target.task.context)
        return
    model, parameters = parameters_of(target.task.id)
    parameters.check(target.task.context)
    changed = mujoco.MjModel.__copy__(model)
    parameters.apply(changed, target.task.context)
    data = mujoco.MjData(changed)
    mujoco.mj_step(changed, data, 10)
    assert np.isfinite(data.qpos).all()


def test_no_two_targets_are_the_same_task() -> None:
    tasks = [target.task for target in targets()]
    assert len(set(tasks)) == len(tasks)


def test_targets_of_one_environment() -> None:
    for task_id in ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5"):
        contexts = {str(target.task).partition("@")[2] for target in targets(task_id)}
        odrl = {f"{q}=x{f}" for q in ("gravity", "friction") for f in ("0.1", "0.5", "2", "5")}
        assert contexts >= odrl | {"range=x0.8", "range=x0.5", "range=x0.2"}
    for task_id in ("InvertedPendulum-v5", "Reacher-v5", "Swimmer-v5", "Humanoid-v5", "CartPole-v1"):
        assert targets(task_id)
    assert targets("Unknown-v0") == ()
    assert len(targets()) == len(TARGETS) > 100


def test_published_extremes() -> None:
    assert str(find_target("hopper-heavy-torso").task) == "Hopper-v5@torso.mass=x3"
    assert str(find_target("hopper-rrls-thigh-high").task) == "Hopper-v5@thigh.mass=4"
    assert str(find_target("halfcheetah-light-back-thigh").task) == "HalfCheetah-v5@bthigh.mass=x0.1"
    assert str(find_target("inverted-pendulum-heavy-pole").task) == "InvertedPendulum-v5@pole.mass=31"


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(WarmstartError, match="Did you mean 'hopper-heavy-torso'"):
        find_target("hopper-heavy-torzo")
