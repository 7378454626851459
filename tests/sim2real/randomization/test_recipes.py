"""Every recipe of every task holds in its simulation."""

from itertools import pairwise

import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.registration import TASK_IDS
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization.randomization import Randomization
from warmstart.sim2real.randomization.recipes import LEVELS, randomize_terms, ranges, recipe, recipe_tasks


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("task_id", TASK_IDS)
def test_every_recipe_runs_and_varies_what_it_names(task_id, level):
    task = Task.parse(task_id)
    env = make_vec(task, 1, n_threads=1)
    source = Randomization(randomize_terms(level, task)[0], 0).expanded(env.parameters)
    env.close()
    env = make_vec(task, 16, seed=0, context_source=source, n_threads=1)
    env.reset(seed=0)
    values = env.context_values()
    assert values.shape[1] >= 3
    nominal = make_vec(task, 1, context_source=source, n_threads=1).context_values()
    moving = values.std(axis=0) > 0
    assert moving[nominal[0] != 0].all(), "what isn't zero in the model differs between episodes"
    for _ in range(5):
        observations, *_ = env.step(np.zeros(env.action_space.shape, np.float32))
    assert np.isfinite(observations).all()
    assert env.n_diverged == 0
    env.close()


@pytest.mark.parametrize("task_id", recipe_tasks())
def test_wider_recipes_are_wider(task_id):
    """Every parameter that two levels share, in its own unit: heavy sets some masses, medium scales them."""
    spans = [_spans(Task.parse(task_id), level) for level in LEVELS]
    for narrow, wide in pairwise(spans):
        assert narrow.keys() <= wide.keys()
        for name in narrow:
            assert narrow[name] < wide[name], name


def _spans(task, level):
    """Distance between the ends of what each parameter's first component may be."""
    env = make_vec(task, 1, n_threads=1)
    parameters = env.parameters
    env.close()
    source = Randomization(randomize_terms(level, task)[0], 0).expanded(parameters)
    found = {}
    for (selector, operation), low, high in zip(source.terms, *source.bounds, strict=True):
        for parameter in parameters.select(selector):
            nominal = parameter.nominal[0]
            if nominal != 0:
                found[parameter.name] = (high - low) * (abs(nominal) if operation == "scale" else 1)
    return found


def test_recipes_as_short_texts():
    found = ranges(Task.parse("Hopper-v5"), "heavy")
    assert found["body.*.mass"] == "x0.6:x1.5 each"
    assert found["friction"] == "x0.33:x2 log_uniform"
    assert found["torso.mass"] == "0.1:3"


def test_what_is_drawn_of_a_recipe_is_in_force():
    task = Task.parse("Hopper-v5")
    env = make_vec(task, 1, n_threads=1)
    for written in ("heavy", {"recipe": "medium", "torso.mass": "x0.5:x2"}):
        names = Randomization(randomize_terms(written, task)[0], 0).expanded(env.parameters).names
        assert "torso.mass" in names
        assert "body.torso.mass" not in names
        assert "body.foot.mass" in names
    env.close()


def test_terms_on_top_of_a_recipe():
    task = Task.parse("Hopper-v5@gravity=x0.5")
    terms = randomize_terms({"recipe": "light", "friction": "x0.1:x0.2", "wind": "x1:x1"}, task)[0]
    named = {term.name: term for term in terms}
    assert named["friction"].distribution.bounds == (0.1, 0.2)
    assert "wind" in named
    assert "gear" in named
    assert recipe(task, "light") == recipe(Task.parse("warmstart/Hopper-v5"), "light")


@pytest.mark.parametrize(
    ("task", "level", "said"),
    [
        ("Hopper-v5", "hevy", "Did you mean 'heavy'"),
        ("CartPole-v1", "light", "There is no recipe for CartPole-v1: write terms such as"),
    ],
)
def test_mistakes_are_named(task, level, said):
    with pytest.raises(WarmstartError, match=said):
        randomize_terms(level, Task.parse(task))


def test_what_is_neither_a_recipe_nor_terms_is_refused():
    with pytest.raises(
        WarmstartError, match=r"Expected a recipe \(light, medium, heavy\) or terms .* found 3"
    ):
        randomize_terms(3, Task.parse("Hopper-v5"))
