"""Selecting, checking and applying physical parameters, to one model and to many simulations."""

import copy
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.batch import BatchParameters
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.simulation.fields import ModelFields
from warmstart.envs.simulation.steppers import BatchStepper
from warmstart.envs.tasks.contexts import Change, Context, parse_context

CONTEXTS = (
    "",
    "gravity=x0.5,torso.mass=x1.5,friction=x2",
    "mass=x0.7,thigh.com+=[0.01,0,0.02],damping=x3,armature+=0.1,gear=x0.8",
    "range=x0.6,stiffness=5,thigh_joint.ref=-0.2,foot_joint.springref=0.1",
    "foot_geom.size=x1.2,forcerange=[-0.5,0.4],gain=x0.9,frictionloss=0.2,viscosity=0.01,density=2,wind=[1,0,0]",
)


def hopper() -> mujoco.MjModel:
    return gymnasium.make("Hopper-v5").unwrapped.model


@pytest.fixture
def parameters() -> Parameters:
    return Parameters(hopper())


def everything(model: mujoco.MjModel) -> dict[str, Any]:
    """All arrays and options of a model."""
    fields = {name: getattr(model, name, None) for name in dir(model) if not name.startswith("_")}
    found = {name: value.copy() for name, value in fields.items() if isinstance(value, np.ndarray)}
    for owner in (model.opt, model.stat):
        names = (name for name in dir(owner) if not name.startswith("_"))
        found |= {
            f"{name}": np.array(getattr(owner, name)) for name in names if not callable(getattr(owner, name))
        }
    return found


def same(one: mujoco.MjModel, other: mujoco.MjModel) -> bool:
    mine, yours = everything(one), everything(other)
    return all(np.array_equal(mine[name], yours[name]) for name in mine)


def states(model: mujoco.MjModel, steps: int = 100) -> np.ndarray:
    data = mujoco.MjData(model)
    data.qpos[:] = [0, 1.2, 0.1, -0.2, -0.3, 0.1]
    data.ctrl[:] = [0.3, -0.4, 0.5]
    found = []
    for _ in range(steps):
        mujoco.mj_step(model, data)
        found.append(np.concatenate((data.qpos, data.qvel)))
    return np.array(found)


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


def backends(model: mujoco.MjModel, nsim: int) -> dict[str, tuple[Any, Any]]:
    """Both kinds of per-simulation fields, each with a function that returns simulation i's model."""
    stepper, models = BatchStepper(model, nsim), [copy.copy(model) for _ in range(nsim)]
    return {
        "batch": (stepper, lambda index: stepper.materialize(index)[0]),
        "models": (ModelFields(models), models.__getitem__),
    }


@pytest.mark.parametrize("backend", ["batch", "models"])
def test_simulations_equal_the_single_model_bit_for_bit(parameters: Parameters, backend: str) -> None:
    contexts = [parse_context(text) for text in CONTEXTS]
    fields, get_model = backends(hopper(), 2 * len(contexts))[backend]
    batch = BatchParameters(parameters, fields)
    rng = np.random.default_rng(0)
    given: list[Context] = [()] * fields.nsim
    for _ in range(20):
        ids = rng.permutation(fields.nsim)[: rng.integers(1, fields.nsim)]
        for i in ids:
            given[i] = contexts[rng.integers(len(contexts))]
        batch.apply(ids, [given[i] for i in ids])
    for i, context in enumerate(given):
        single = hopper()
        parameters.apply(single, context)
        assert np.array_equal(states(get_model(i)), states(single)), context


def test_a_batch_steps_as_the_single_models_do(parameters: Parameters) -> None:
    contexts = [parse_context(text) for text in CONTEXTS]
    batch = BatchStepper(hopper(), len(contexts), 2)
    BatchParameters(parameters, batch).apply(range(len(contexts)), contexts)
    batch.reset()
    batch.bind("qpos")[...] = [0, 1.2, 0.1, -0.2, -0.3, 0.1]
    batch.bind("qvel")[...] = 0
    batch.bind("ctrl")[...] = [0.3, -0.4, 0.5]
    batch.step(nstep=100)
    for i, context in enumerate(contexts):
        single = hopper()
        parameters.apply(single, context)
        assert np.array_equal(batch.bind("qpos")[i], states(single)[-1, :6])


TERMS = (
    ("mass", "scale"),
    ("torso.mass", "scale"),
    ("friction", "scale"),
    ("gravity", "add"),
    ("damping", "scale"),
    ("range", "scale"),
    ("frictionloss", "set"),
    ("gear", "scale"),
)


@pytest.mark.parametrize("backend", ["batch", "models"])
def test_binding_equals_the_context_with_the_same_numbers(parameters: Parameters, backend: str) -> None:
    fields, get_model = backends(hopper(), 6)[backend]
    batch = BatchParameters(parameters, fields)
    binding = batch.bind(TERMS)
    rng = np.random.default_rng(1)
    for _ in range(1000 // 50):
        values = rng.uniform(0.5, 1.5, size=(6, len(TERMS)))
        binding.apply(np.arange(6), values)
    for i in range(6):
        context = tuple(Change(name, op, v) for (name, op), v in zip(TERMS, values[i], strict=True))
        single = hopper()
        parameters.apply(single, context)
        assert np.array_equal(states(get_model(i)), states(single))
    batch.apply(range(6), [()] * 6)
    assert all(same(get_model(i), hopper()) for i in range(6))


def test_binding_varies_about_the_context(parameters: Parameters) -> None:
    batch = BatchParameters(parameters, ModelFields([hopper(), hopper()]))
    binding = batch.bind([("gravity", "scale"), ("mass", "scale")])
    batch.apply([0], [parse_context("gravity=x0.5,torso.mass=x2")])
    for _ in range(5):
        binding.apply([1, 0], np.array([[0.5, 1.0], [2.0, 3.0]]))
    np.testing.assert_allclose(batch.values(["gravity"])[:, 2], [-9.81, -9.81 / 2])
    nominal = hopper().body_mass[1:3]
    np.testing.assert_allclose(batch.values(["torso.mass", "thigh.mass"]), [nominal * [6, 3], nominal])
    binding.apply([0], np.ones((1, 2)))
    assert batch.values(["gravity", "mass"])[0].tolist() == [0, 0, -9.81 / 2, *batch.base(*_all(batch))[0]]


def _all(batch: BatchParameters) -> tuple[np.ndarray, np.ndarray]:
    columns = [batch.parameters.columns[p.name].start for p in batch.parameters.select("mass")]
    return np.array([0]), np.array(columns)


def test_identity_values_leave_the_model_as_it_is(parameters: Parameters) -> None:
    models = [hopper()]
    batch = BatchParameters(parameters, ModelFields(models))
    terms = [(name, "scale") for name in ("mass", "friction", "damping", "range", "gear", "gravity", "gain")]
    batch.bind(terms).apply([0], np.ones((1, len(terms))))  # type: ignore[arg-type]
    assert same(models[0], hopper())


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([("mas", "scale")], "Unknown physical parameter 'mas'"),
        ([("timestep", "scale")], "can't vary between episodes"),
        ([("torso.com", "add")], "takes a vector [x,y,z] in the body's frame, and a term gives one number"),
        ([("stiffness", "scale")], "Varying stiffness (scale) would have no effect"),
        ([("wind", "scale")], "would have no effect"),
        ([("floor.size", "scale")], "its shape is plane"),
    ],
)
def test_terms_that_cannot_vary_are_refused(parameters: Parameters, terms: Any, message: str) -> None:
    batch = BatchParameters(parameters, ModelFields([hopper()]))
    with pytest.raises(WarmstartError) as error:
        batch.bind(terms).apply([0], np.full((1, len(terms)), 1.1))
    assert message in str(error.value)


def test_a_term_may_vary_what_only_the_context_brings(parameters: Parameters) -> None:
    batch = BatchParameters(parameters, ModelFields([hopper()]))
    binding = batch.bind([("stiffness", "scale"), ("wind", "scale")])
    batch.apply([0], [parse_context("stiffness=5,density=1.2,wind=[2,0,0]")])
    binding.apply([0], np.array([[2.0, 3.0]]))
    assert batch.values(["stiffness", "wind"])[0].tolist() == [10.0] * 6 + [6.0, 0.0, 0.0]


def test_bound_values_out_of_bounds_are_refused_and_change_nothing(parameters: Parameters) -> None:
    models = [hopper(), hopper()]
    batch = BatchParameters(parameters, ModelFields(models))
    for term, value, message in (
        (("mass", "scale"), -1.0, "body.torso.mass: found -3.66"),
        (("gravity", "set"), 9.81, "points up"),
        (("range", "scale"), -0.5, "the first limit must be smaller"),
        (("friction", "scale"), np.inf, "friction"),
    ):
        with pytest.raises(WarmstartError, match=message):
            batch.bind([term]).apply([0, 1], np.array([[1.0], [value]]))  # type: ignore[list-item]
        assert all(same(model, hopper()) for model in models)
    with pytest.raises(WarmstartError, match=r"shape \(1, 1\) \(simulations, terms\), found \(2, 1\)"):
        batch.bind([("mass", "scale")]).apply([0], np.ones((2, 1)))


def test_what_is_not_a_number_leaves_the_context_in_force(parameters: Parameters) -> None:
    batch = BatchParameters(parameters, ModelFields([hopper(), hopper()]))
    batch.apply([0], [parse_context("mass=x2")])
    nominal = batch.values(["mass"])[1].copy()
    binding = batch.bind([("mass", "scale")])
    binding.apply([0, 1], np.array([[3.0], [3.0]]))
    binding.apply([0, 1], np.array([[np.nan], [np.nan]]))
    np.testing.assert_array_equal(batch.values(["mass"]), [2 * nominal, nominal])


def test_a_failing_context_changes_nothing(parameters: Parameters) -> None:
    models = [hopper(), hopper()]
    batch = BatchParameters(parameters, ModelFields(models))
    with pytest.raises(WarmstartError, match="must be positive"):
        batch.apply([0, 1], [parse_context("mass=x2"), parse_context("mass=-1")])
    with pytest.raises(WarmstartError, match="a context for each of 2 simulations, found 1"):
        batch.apply([0, 1], [()])
    assert all(same(model, hopper()) for model in models)


def test_state_can_be_saved_and_restored(parameters: Parameters) -> None:
    models = [hopper(), hopper()]
    batch = BatchParameters(parameters, ModelFields(models))
    batch.apply([1], [parse_context(CONTEXTS[1])])
    batch.bind([("mass", "scale")]).apply([0, 1], np.array([[1.2], [0.9]]))
    restored = [hopper(), hopper()]
    other = BatchParameters(parameters, ModelFields(restored))
    other.load_state_dict(batch.state_dict())
    assert all(same(a, b) for a, b in zip(models, restored, strict=True))
    other.apply([0, 1], [(), ()])
    assert same(restored[1], hopper())
