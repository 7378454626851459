"""Parameters of many simulations: contexts and terms, bound, written and restored."""

import copy
from typing import Any

import mujoco
import numpy as np
import pytest

from tests.envs.physics.models import CONTEXTS, hopper, same, states
from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.batch import BatchParameters
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.simulation.fields import ModelFields
from warmstart.envs.simulation.steppers import BatchStepper
from warmstart.envs.tasks.contexts import Change, Context, parse_context


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
