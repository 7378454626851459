"""Robustness maps: cells are evaluations, and what is said of them."""

import numpy as np
import pytest

from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.evaluation import evaluate
from warmstart.agents.loading import load_checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.experiments.report.robustness_figure import draw_maps
from warmstart.sim2real import robustness
from warmstart.sim2real.randomization.randomization import read_terms
from warmstart.sim2real.robustness import RobustnessMap, Sweep, robustness_map, trained_on, usual_threshold

MASS, FRICTION = Sweep.parse("torso.mass=x0.5:x2:3"), Sweep.parse("friction=x0.6:x1.4:2")


@pytest.fixture(scope="module")
def hopper(tmp_path_factory):
    env = as_sb3(make_vec("Hopper-v5", 2, seed=0, n_threads=1))
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0, device="cpu")
    path = tmp_path_factory.mktemp("hopper") / "checkpoint"
    save_checkpoint(model, path)
    return load_checkpoint(path)


def test_sweeps_are_read():
    assert Sweep("torso.mass", "scale", (0.5, 1.0, 2.0)) == MASS
    assert Sweep.parse("camera.azimuth=-=10:+=10:5").values == (-10, -5, 0, 5, 10)
    assert Sweep.parse("joint.*.damping=0:2:3") == Sweep("joint.*.damping", "set", (0.0, 1.0, 2.0))
    assert MASS.nominal == 1
    assert Sweep.parse("gravity=-=1:+=1:3").nominal == 0
    assert Sweep.parse("gravity=1:2:3").nominal is None


@pytest.mark.parametrize(
    ("sweep", "drawn", "span"),
    [
        (MASS, {"torso.mass": "x0.8:x1.2"}, (0.8, 1.2)),
        (MASS, {"torso.mass": "x0.5:x2", "body.*.mass": {"range": "x0.9:x1.1", "each": True}}, (0.5, 2)),
        (MASS, {"mass": "x0.9:x1.1"}, (0.9, 1.1)),
        (MASS, {"leg.mass": "x0.9:x1.1"}, None),
        (Sweep.parse("body.*.mass=x0.5:x2:3"), {"torso.mass": "x0.5:x1.1", "mass": "x0.9:x1.2"}, (0.9, 1.1)),
        (Sweep.parse("body.*.mass=x0.5:x2:3"), {"torso.mass": "x0.5:x1.1"}, None),
        (Sweep.parse("joint.*_joint.damping=x0.5:x2:3"), {"damping": "x0.9:x1.2"}, (0.9, 1.2)),
        (Sweep.parse("gear=100:300:3"), {"gear": "x0.5:x1.2"}, (100, 240)),
        (Sweep.parse("gear=x0.5:x2:3"), {"gear": "100:300"}, (0.5, 1.5)),
        (Sweep.parse("gear=x0.5:x2:3"), {"gear": "-=50:+=100"}, (0.75, 1.5)),
    ],
)
def test_the_trained_range_is_the_one_in_force(sweep, drawn, span):
    terms, _ = read_terms(drawn)
    (found,) = trained_on([sweep], terms, Task.parse("Hopper-v5"))
    assert found == (None if span is None else pytest.approx(span))


@pytest.mark.parametrize(
    "text", ["torso.mass", "torso.mass=x0.5:x2", "torso.mass=x0.5:x2:1", "a=x1:x1:3", "a=x2:x1:3", "a=1:x2:3"]
)
def test_what_is_no_sweep_is_refused(text):
    with pytest.raises(WarmstartError, match=r"sweep|range|all scale"):
        Sweep.parse(text)


def test_cells_are_evaluations_in_their_context(hopper, monkeypatch):
    task = Task.parse("Hopper-v5@gravity=x0.9")
    whole = robustness_map("it", hopper, task, [MASS, FRICTION], episodes=3, seed=7, n_threads=1)
    assert whole.returns.shape == (3, 2, 3)
    there = task.with_context("torso.mass=x2,friction=x0.6")
    # the networks round otherwise in batches of another size
    np.testing.assert_allclose(whole.returns[2, 0], evaluate(hopper.policy(), there, 3, 7).returns, 1e-6)
    monkeypatch.setattr(robustness, "ENVS", 6)
    seen = []
    parts = robustness_map(
        "it", hopper, task, [MASS, FRICTION], episodes=3, seed=7, n_threads=1,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    np.testing.assert_allclose(whole.returns, parts.returns, 1e-6)
    assert seen == [(2, 6), (4, 6), (6, 6)]


def test_figures_of_a_map_by_hand():
    returns = np.array([[10.0, 20, 30], [40, 50, 60]])[..., None] + np.array([-1.0, 1.0])
    sweeps = (FRICTION, MASS)
    found = RobustnessMap("it", sweeps, returns)
    assert found.worst == (10, (0.6, 0.5))
    assert found.worst_share(0.5) == 20
    assert found.worst_share() == 10
    assert found.area_above(30) == pytest.approx(4 / 6)
    plain = found.to_json(30)
    assert plain["means"] == [[10, 20, 30], [40, 50, 60]]
    assert plain["worst_at"] == [0.6, 0.5]
    assert usual_threshold(100) == 80
    assert usual_threshold(-10) == -12


def test_pictures_of_one_and_two_sweeps_and_several_policies():
    heat = RobustnessMap("a", (MASS, FRICTION), np.arange(12.0).reshape(3, 2, 2))
    figure = draw_maps([heat, heat], "Hopper-v5", 5.0, [[(0.8, 1.2), None], [None, None]])
    titles = [axes.get_title() for axes in figure.axes[:2]]
    assert titles == ["a\n50% good, worst 0.5"] * 2
    assert len(figure.axes[0].patches) > len(figure.axes[1].patches), "the first is framed"
    many = draw_maps([heat] * 6, "Hopper-v5", 5.0)
    assert many.get_size_inches()[1] > figure.get_size_inches()[1], "four in a row, then the next"
    assert [axes.get_visible() for axes in many.axes[:8]] == [True] * 6 + [False] * 2
    line = RobustnessMap("b", (MASS,), np.arange(6.0).reshape(3, 2))
    figure = draw_maps([line], "Hopper-v5", 2.0, [[(0.8, 1.2)]])
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [0.5, 1, 2])
    with pytest.raises(WarmstartError, match="of the same sweeps"):
        draw_maps([heat, line], "Hopper-v5", 2.0)


def test_a_task_that_is_not_mujocos_is_mapped_over_its_attributes(tmp_path):
    env = as_sb3(make_vec("CartPole-v1", 2, seed=0))
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0, device="cpu")
    save_checkpoint(model, tmp_path / "checkpoint")
    sweeps = [Sweep.parse("length=x0.5:x2:2"), Sweep.parse("gravity=x0.5:x2:2")]
    task = Task.parse("CartPole-v1")
    found = robustness_map("it", load_checkpoint(tmp_path / "checkpoint"), task, sweeps, episodes=2)
    assert found.means.shape == (2, 2)
    assert trained_on(sweeps, read_terms({"length": "x0.5:x2"})[0], task) == (None, None)


def test_mistakes_are_named(hopper):
    task = Task.parse("Hopper-v5")
    with pytest.raises(WarmstartError, match="one or two parameters, found 3"):
        robustness_map("it", hopper, task, [MASS] * 3)
    with pytest.raises(WarmstartError, match=r"Did you mean 'torso\.mass'"):
        robustness_map("it", hopper, task, [Sweep.parse("torso.mas=x1:x2:2")], n_threads=1)
    with pytest.raises(
        WarmstartError, match=r"torso\.mass and body\.torso\.mass both mean body\.torso\.mass"
    ):
        robustness_map("it", hopper, task, [MASS, Sweep.parse("body.torso.mass=x0.5:x2:3")])
