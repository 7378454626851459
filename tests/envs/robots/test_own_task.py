"""The documented example of a task of one's own, as it stands under docs/."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.robots.base import MujocoTask
from warmstart.envs.robots.table import register_task
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization.recipes import recipe

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "own_task.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("own_task", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["own_task"] = module
    spec.loader.exec_module(module)
    return module


def test_the_example_runs_and_prints_what_it_says(example: ModuleType) -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=True)
    values = [float(line.split()[-1]) for line in done.stdout.splitlines()]
    assert len(values) == 4
    assert values[1] > 1.5 * values[0], "the controller beats random actions"
    assert values[2] < values[1], "a weaker motor makes it harder"


def test_it_is_a_task_like_any_other(example: ModuleType) -> None:
    env: Any = make_vec("example/Crane-v0:goal=0.5,time_limit=20@load.mass=x2", 3, 0)
    observations, _ = env.reset()
    assert observations.shape == (3, 4)
    assert env.observation_layout.names == (
        "slide.position",
        "swing.angle",
        "slide.velocity",
        "swing.velocity",
    )
    assert env.action_layout.names == ("slide.force",)
    assert env.context_names == ("body.load.mass",)
    np.testing.assert_allclose(env.context_values()[:, 0], 2.1)
    for _ in range(20):
        *_, truncations, infos = env.step(np.zeros((3, 1)))
    assert truncations.all()
    assert infos["final_info"]["distance"].shape == (3,)
    env.close()


def test_its_targets_and_recipes_are_like_those_of_any_other(example: ModuleType) -> None:
    assert str(Task.parse("crane-heavy-load")) == "example/Crane-v0@load.mass=x3"
    assert recipe(Task.parse("crane-weak-drive"), "light") == {
        "load.mass": {"range": "x0.9:x1.1", "each": True},
        "drive.gear": "x0.95:x1.05",
    }
    with pytest.raises(WarmstartError, match="Two target tasks are called 'crane-heavy-load'"):
        register_task("example/Other-v0", example.Crane)


def test_sb3_trains_on_it(example: ModuleType) -> None:
    from stable_baselines3 import PPO

    model = PPO(
        "MlpPolicy", as_sb3(make_vec("example/Crane-v0", 4, 0)), n_steps=32, batch_size=64, n_epochs=1
    )
    model.learn(256)
    assert model.num_timesteps == 256


def test_an_option_it_does_not_have_names_the_nearest(example: ModuleType) -> None:
    with pytest.raises(WarmstartError, match=r"gaol.*goal"):
        make_vec("example/Crane-v0:gaol=2")
    with pytest.raises(WarmstartError, match=r"goal.*expected a number, found 'far'"):
        make_vec("example/Crane-v0:goal=far")


def test_an_id_belongs_to_one_class(example: ModuleType) -> None:
    class Other(MujocoTask):
        pass

    register_task("example/Crane-v0", example.Crane)
    with pytest.raises(WarmstartError, match="belongs to Crane"):
        register_task("example/Crane-v0", Other)
    with pytest.raises(WarmstartError, match="subclass of MujocoTask"):
        register_task("example/Other-v0", int)  # type: ignore[arg-type]
