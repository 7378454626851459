"""Every recipe of every task holds in its simulation."""

import numpy as np
import pytest

from warmstart.envs.errors import WarmstartError
from warmstart.envs.registration import TASK_IDS
from warmstart.envs.tasks import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization import Randomization
from warmstart.sim2real.recipes import LEVELS, randomize_terms, recipe


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


def test_wider_recipes_are_wider():
    task = Task.parse("HalfCheetah-v5")
    spans = []
    for level in LEVELS:
        terms = {term.name: term for term in randomize_terms(level, task)[0]}
        low, high = terms["friction"].distribution.bounds
        spans.append(high - low)
    assert spans == sorted(spans)


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
