"""Selecting, checking and applying physical parameters, to one model and to many simulations."""

import gymnasium
import mujoco
import numpy as np
import pytest

from tests.envs.physics.models import CONTEXTS, everything, hopper, same
from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.tasks.contexts import parse_context


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("gravity", ["option.gravity"]),
        ("option.gravity", ["option.gravity"]),
        ("torso.mass", ["body.torso.mass"]),
        ("body.torso.mass", ["body.torso.mass"]),
        ("mass", [f"body.{name}.mass" for name in ("torso", "thigh", "leg", "foot")]),
        ("t*.mass", ["body.torso.mass", "body.thigh.mass"]),
        ("geom.f*.friction", ["geom.floor.friction", "geom.foot_geom.friction"]),
        ("range", [f"joint.{name}_joint.range" for name in ("thigh", "leg", "foot")]),
        ("thigh_joint.range", ["joint.thigh_joint.range"]),
        ("motor", [f"actuator.{name}_joint.gear" for name in ("thigh", "leg", "foot")]),
        ("foot_joint.motor", ["actuator.foot_joint.gear"]),
        ("le?_joint.damping", ["joint.leg_joint.damping"]),
        ("foot_geom.size", ["geom.foot_geom.size"]),
    ],
)
def test_select(parameters: Parameters, selector: str, expected: list[str]) -> None:
    assert [parameter.name for parameter in parameters.select(selector)] == expected


def test_a_task_can_declare_short_names() -> None:
    parameters = Parameters(hopper(), {"load": "torso.mass", "legs": ("thigh.mass", "leg.mass")})
    assert [p.name for p in parameters.select("legs")] == ["body.thigh.mass", "body.leg.mass"]
    model = hopper()
    parameters.apply(model, parse_context("load=x2,mass=x3"))  # the more specific wins
    np.testing.assert_allclose(model.body_mass[1:3] / hopper().body_mass[1:3], [2, 3])


def test_every_parameter_has_a_unit_a_nominal_and_bounds_around_it(parameters: Parameters) -> None:
    for name in parameters.names:
        (parameter,) = parameters.select(name)
        assert parameter.size == len(parameter.low) == len(parameter.high) >= 1
        if not name.endswith(".forcerange"):
            assert np.all(np.array(parameter.low) <= parameter.nominal)
            assert np.all(np.array(parameter.nominal) <= parameter.high)
        assert parameter.unit or name.endswith((".friction", ".gain"))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("mass=x2,torso.mass=x3", [3, 2, 2, 2]),
        ("torso.mass=x3,mass=x2", [3, 2, 2, 2]),
        ("t*.mass=x4,mass=x2", [4, 4, 2, 2]),
        ("torso.mass=x3,t*.mass=x4", [3, 4, 1, 1]),
        ("mass=x2,mass=x3", [3, 3, 3, 3]),
        ("body.torso.mass=x5,torso.mass=x6", [6, 1, 1, 1]),
    ],
)
def test_the_more_specific_change_wins_then_the_later(
    parameters: Parameters, text: str, values: list[float]
) -> None:
    model = hopper()
    parameters.apply(model, parse_context(text))
    np.testing.assert_allclose(model.body_mass[1:] / hopper().body_mass[1:], values, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gravty=1", "Unknown physical parameter 'gravty'. Did you mean 'gravity'"),
        ("torso.mas=1", "Unknown physical parameter 'torso.mas'. Did you mean 'torso.mass'"),
        ("body.tors.mass=1", "Did you mean 'body.torso.mass'"),
        ("trso.mass=1", "Did you mean 'torso.mass'"),
        ("torso.mass=-1", "a mass must be positive"),
        ("mass=x0", "a mass must be positive"),
        ("torso.mass=1e6", "out of bounds: expected 0.00366519 to 3665.19 (nominal 3.665"),
        ("gravity=9.81", "points up; write -9.81"),
        ("gravity=x-1", "points up; write -9.81"),
        ("gravity=[1,2]", "option.gravity has 3 component(s) [x,y,z], found 2"),
        ("wind=3", "option.wind takes a vector [x,y,z], found one number"),
        ("wind=[3,0,0]", "there is no medium; add density"),
        ("torso.com=0.1", "takes a vector [x,y,z] in the body's frame"),
        ("friction=-1", "out of bounds"),
        ("damping=-1", "joint.rootx.damping: found -1 N s/m, which is out of bounds: expected 0 to 1000"),
        ("thigh_joint.range=[0,-1]", "the first limit must be smaller than the second"),
        ("range=x-1", "the first limit must be smaller than the second"),
        ("range=1", "takes a vector [low,high]"),
        ("forcerange=[0.5,-0.5]", "the first limit must be smaller than the second"),
        ("forcerange=x0.5", "has no limit in the model that forcerange=x0.5 could scale"),
        ("forcerange=[-2,2]", "the motor's force, before its gear, stays within [-1, 1] anyway"),
        ("thigh_joint.springref=1", "the joint has no spring; add its stiffness"),
        ("stiffness=x2", "the nominal value is 0, and scaled it stays 0"),
        ("timestep=0.003", "write timestep=0.002666666667 (3 per control step)"),
        ("timestep=0.5", "out of bounds"),
        ("floor.size=x2", "its shape is plane"),
        ("rootx.range=x2", "the joint has no limits in the model"),
        ("size=x2", "Unknown physical parameter 'size'"),
    ],
)
def test_errors_say_what_is_wrong_and_what_to_do(text: str, message: str) -> None:
    parameters = Parameters(hopper(), frame_skip=4)
    with pytest.raises(WarmstartError) as error:
        parameters.check(parse_context(text))
    assert message in str(error.value)


def test_friction_that_can_have_no_effect_is_refused() -> None:
    cheetah = Parameters(gymnasium.make("HalfCheetah-v5").unwrapped.model)
    with pytest.raises(WarmstartError, match=r"takes the larger friction.*'floor' is 0.4; write friction=x…"):
        cheetah.check(parse_context("bfoot.friction=0.2"))
    cheetah.check(parse_context("bfoot.friction=0.6"))
    cheetah.check(parse_context("bfoot.friction=0.2,floor.friction=0.1"))
    cheetah.check(parse_context("friction=x2"))
    pendulum = Parameters(gymnasium.make("InvertedPendulum-v5").unwrapped.model)
    with pytest.raises(WarmstartError, match="can touch anything"):
        pendulum.check(parse_context("friction=x2"))
    with pytest.raises(WarmstartError, match="frictionless"):
        Parameters(gymnasium.make("Pusher-v5").unwrapped.model).check(parse_context("table.friction=2"))


@pytest.mark.parametrize(
    ("task_id", "text", "why"),
    [
        ("Reacher-v5", "target.mass=x2", "nothing pushes or pulls on it"),
        ("Reacher-v5", "link0.size=x2", "never touches another geom"),
        ("Swimmer-v5", "gravity=-1", "it pulls on no joint"),
        ("Pusher-v5", "gravity=x0.5", "the nominal value is 0"),
        ("InvertedPendulum-v5", "cart.com+=[0.1,0,0]", "only slides"),
    ],
)
def test_changes_that_nothing_would_show_are_refused(task_id: str, text: str, why: str) -> None:
    parameters = Parameters(gymnasium.make(task_id).unwrapped.model)
    with pytest.raises(WarmstartError, match=why):
        parameters.check(parse_context(text))


def test_the_control_period_stays_fixed(parameters: Parameters) -> None:
    assert parameters.frame_skip((), 4) == 4
    assert parameters.frame_skip(parse_context("timestep=0.001"), 4) == 8
    assert parameters.frame_skip(parse_context("timestep=x2"), 4) == 2
    with pytest.raises(WarmstartError, match=r"control period of 0.008 s"):
        parameters.frame_skip(parse_context("timestep=0.003"), 4)


def test_another_model_is_refused(parameters: Parameters) -> None:
    with pytest.raises(WarmstartError, match="nbody=5, found nbody=8"):
        parameters.apply(gymnasium.make("HalfCheetah-v5").unwrapped.model, ())


def test_nothing_compounds_and_the_nominal_comes_back(parameters: Parameters) -> None:
    model, nominal = hopper(), hopper()
    contexts = [parse_context(text) for text in CONTEXTS]
    once = []
    for context in contexts:
        fresh = hopper()
        parameters.apply(fresh, context)
        once.append(everything(fresh))
    for turn in range(1000):
        parameters.apply(model, contexts[turn % len(contexts)])
    for context, expected in zip(contexts, once, strict=True):
        parameters.apply(model, context)
        found = everything(model)
        assert [name for name in found if not np.array_equal(found[name], expected[name])] == []
    parameters.apply(model, ())
    assert same(model, nominal)


def test_set_const_runs_only_where_something_is_derived(
    parameters: Parameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = mujoco.mj_setConst
    monkeypatch.setattr(mujoco, "mj_setConst", lambda *args: (calls.append(1), original(*args))[1])
    model = hopper()
    for text, expected in (
        ("gravity=x0.5,friction=x2,damping=x2,range=x0.5,forcerange=[-1e-3,1e-3]", 0),
        ("mass=x2", 1),
        ("mass=x2,gravity=x0.5", 0),
        ("", 1),
        ("gear=x2", 1),
        ("armature=x2", 1),
        ("torso.com+=[0,0,.1]", 1),
        ("thigh_joint.ref=.1", 1),
    ):
        calls.clear()
        parameters.apply(model, parse_context(text))
        assert len(calls) == expected, text
