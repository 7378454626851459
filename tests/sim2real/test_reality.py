"""Realities: what they give, what they hide, how they are sealed; and the gap to them."""

import numpy as np
import pytest

from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.evaluation import evaluate
from warmstart.agents.loading import load_checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.gap import measure_gap, merge_gaps, random_return
from warmstart.sim2real.identification.settings import RecordingSettings
from warmstart.sim2real.randomization.recipes import randomize_terms
from warmstart.sim2real.reality import Reality, load_reality, reality_names, seal_reality

WORN = """name: mine
task: Hopper-v5  # believed
context: torso.mass=x1.3,timestep=x0.5
integrator: Euler
imperfections: {noise: 0.1, action_delay: 1}
disturbances: {push: {force: 0.1}}
seed: 3
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(WORN)
    return path


@pytest.fixture(scope="module")
def hopper(tmp_path_factory):
    env = as_sb3(make_vec("Hopper-v5", 2, seed=0, n_threads=1))
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0, device="cpu")
    path = tmp_path_factory.mktemp("hopper") / "checkpoint"
    save_checkpoint(model, path)
    return load_checkpoint(path)


@pytest.mark.parametrize("name", reality_names())
def test_every_reality_is_sealed_runs_and_differs_from_its_task(name, request):
    if "camera" in name:
        request.getfixturevalue("opengl")
    reality = load_reality(name)
    assert reality.name == name
    assert reality.description
    assert not reality.imperfections.is_off
    assert reality.context
    env, plain = reality.make(2, 0, n_threads=1), make_vec(reality.task, 2, 0, n_threads=1)
    assert env.observation_space == plain.observation_space
    env.reset(seed=0)
    plain.reset(seed=0)
    action = np.full(env.action_space.shape, 0.3, np.float32)
    for _ in range(5):
        there, here = env.step(action), plain.step(action)
    assert (there[0] != here[0]).any()
    assert np.isfinite(there[1]).all()
    assert env.interactions == 10
    env.close()
    plain.close()


def test_there_are_realities_for_the_robots_that_were_promised():
    tasks = {load_reality(name).task.id for name in reality_names()}
    robots = ("HalfCheetah", "Hopper", "Walker2d", "Ant", "InvertedPendulum", "Reacher")
    assert tasks == {f"{robot}-v5" for robot in robots}
    assert any(load_reality(name).task.option("obs") == "pixels" for name in reality_names())


def test_a_reality_gives_what_a_robot_gives_and_nothing_else(mine):
    reality = seal_reality(mine)
    env = reality.make(3, seed=0, n_threads=1)
    observations, infos = env.reset(seed=0)
    assert observations.shape == (3, 11)
    assert infos == {}
    public = {name for name in dir(env) if not name.startswith("_")}
    assert not public & {
        "sim",
        "parameters",
        "set_context",
        "contexts",
        "context_values",
        "simulations",
        "env",
        "state_dict",
        "load_state_dict",
    }
    with pytest.raises(AttributeError):
        env.interactions = 0
    assert str(env.task) == "Hopper-v5"
    for _ in range(200):
        *_, ended, _, infos = env.step(np.ones((3, 3), np.float32))
        assert set(infos) <= {"final_obs", "_final_obs", "final_info", "_final_info"}
        if ended.any():
            assert not infos["final_info"]
            break
    with pytest.raises(WarmstartError, match="begins its episodes itself: expected no options"):
        env.reset(options={"state": 1})
    env.close()


def test_a_recording_is_of_the_true_robot_with_measurement_noise(mine):
    reality = seal_reality(mine)
    recorded, steps = reality.record(RecordingSettings(seconds=4, noise_std=0), seed=1)
    assert steps == 500
    recorded.check(reality.task)
    again, _ = reality.record(RecordingSettings(seconds=4, noise_std=0), seed=1)
    np.testing.assert_array_equal(recorded[0].qpos, again[0].qpos)
    own, _ = reality.record(RecordingSettings(seconds=4), seed=1)
    error = np.concatenate([seen.qpos - true.qpos for seen, true in zip(own, recorded, strict=True)])
    np.testing.assert_allclose(error.std(axis=0), 0.1, rtol=0.15, err_msg="the reality's own noise")
    shared, _ = reality.record(RecordingSettings(seconds=4, noise_std=0.01), seed=1)
    error = np.concatenate([seen.qpos - true.qpos for seen, true in zip(shared, recorded, strict=True)])
    spread = np.ptp(np.concatenate([item.qpos for item in recorded]), axis=0)
    np.testing.assert_allclose(error.std(axis=0), 0.01 * spread, rtol=0.15)


def test_a_recording_takes_as_much_of_the_controls_as_is_asked_for(mine):
    recorded, _ = seal_reality(mine).record(RecordingSettings(seconds=2, amplitude=0.2))
    ctrl = np.concatenate([item.ctrl for item in recorded])
    assert 0.15 < np.abs(ctrl).max() <= 0.2 + 1e-6


def test_a_recording_that_is_too_short_is_refused(mine):
    with pytest.raises(
        WarmstartError, match=r"at least 0\.032 s to record \(4 steps of 0\.008 s\), found 0\.01 s"
    ):
        seal_reality(mine).record(RecordingSettings(seconds=0.01))


def test_a_reality_trains_an_agent_and_counts_its_steps(mine):
    env = seal_reality(mine).make(2, seed=0, n_threads=1)
    env.reset(seed=0)
    for _ in range(7):
        env.step(np.ones((2, 3), np.float32))
    assert env.interactions == 14
    PPO("MlpPolicy", as_sb3(env), n_steps=8, batch_size=8, seed=0, device="cpu").learn(32)
    assert env.interactions == 14 + 32
    env.close()


def test_a_reality_that_differs_in_nothing_is_not_sealed(tmp_path):
    path = tmp_path / "same.yaml"
    path.write_text("name: same\ntask: Hopper-v5\n")
    with pytest.raises(WarmstartError, match="differs in nothing from Hopper-v5: expected a context"):
        seal_reality(path)


def test_an_edited_reality_is_noticed(mine):
    with pytest.raises(WarmstartError, match="isn't sealed: write its hash into it with `warmstart seal"):
        load_reality(mine)
    sealed = seal_reality(mine)
    assert "# believed" in mine.read_text(), "comments stay"
    assert load_reality(mine) == sealed
    text = mine.read_text()
    mine.write_text(text + "# a comment changes nothing\n")
    assert load_reality(mine).sha256 == sealed.sha256
    mine.write_text(text.replace("x1.3", "x1.2"))
    with pytest.raises(WarmstartError, match="was edited after it was sealed"):
        load_reality(mine)
    assert seal_reality(mine).sha256 != sealed.sha256
    assert mine.read_text().count("sha256") == 1
    assert load_reality(mine).context.startswith("torso.mass=x1.2")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seed: 3", "sed: 3", "Did you mean 'seed'"),
        ("seed: 3", "seed: -1", "line 7: seed: expected a number at least 0, found -1"),
        ("name: mine", "name: 3", "line 1: name: expected text, found 3"),
        ("x1.3", "x-1", "torso.mass"),
        ("Euler", "Oiler", "Did you mean 'Euler'"),
        ("noise: 0.1", "noize: 0.1", "Did you mean 'noise'"),
        ("force: 0.1", "force: -1", r"line 6: disturbances.push.force\[0\]: expected a number at least 0"),
        ("timestep=x0.5", "timestep=x0.7", "control period"),
        ("task: Hopper-v5", "task: Hopper-v5:obs=pixels", r"mine\.yaml: .*[Ff]rames"),
    ],
)
def test_mistakes_in_a_file_are_named(old, new, said, mine):
    mine.write_text(WORN.replace(old, new))
    with pytest.raises(WarmstartError, match=said):
        seal_reality(mine)
    assert "sha256" not in mine.read_text()


def test_unknown_names():
    with pytest.raises(WarmstartError, match="Did you mean 'cheetah-worn'"):
        load_reality("cheeta-worn")
    with pytest.raises(WarmstartError, match=r"There is no reality at nowhere/x\.yaml"):
        load_reality("nowhere/x.yaml")
    with pytest.raises(WarmstartError, match="'task' is missing"):
        read(Reality, {"name": "a"})


def test_the_gap_is_made_of_evaluations(hopper):
    reality = load_reality("hopper-worn")
    terms, correlations = randomize_terms("light", Task.parse("Hopper-v5"))
    gap = measure_gap("it", hopper, reality, terms, correlations, episodes=4, seed=5, n_threads=1)
    policy = hopper.policy()
    np.testing.assert_array_equal(gap.nominal, evaluate(policy, "Hopper-v5", 4, 5).returns)
    np.testing.assert_array_equal(gap.reality, evaluate(policy, reality, 4, 5).returns)
    assert gap.in_range.shape == (1, 256)
    assert gap.worst == pytest.approx(np.sort(gap.in_range[0])[:25].mean())
    assert gap.kept(0.0) == pytest.approx(gap.reality.mean() / gap.nominal.mean())
    assert gap.kept(3.0) == pytest.approx((gap.reality.mean() - 3) / (gap.nominal.mean() - 3))
    assert np.isnan(gap.kept(gap.nominal.mean() + 1))
    assert gap.kept(0.0, 4.9 * gap.nominal.mean()) == gap.kept(0.0)
    assert np.isnan(gap.kept(0.0, 5.1 * gap.nominal.mean())), "less than a fifth of a good return"
    assert gap.diverged == 0
    chance, steps = random_return(reality, 4, seed=5)
    assert chance == random_return(reality, 4, seed=5)[0]
    assert 0 < chance < 100 < steps * 4
    assert gap.interactions > 0
    both = merge_gaps("both", [gap, gap])
    assert both.nominal.shape == (8,)
    assert both.interactions == 2 * gap.interactions
    assert gap.distance(gap) == 0
    again = measure_gap("it", hopper, reality, terms, correlations, episodes=4, seed=5, n_threads=1)
    np.testing.assert_array_equal(gap.in_range, again.in_range)
    bare = measure_gap("it", hopper, reality, episodes=2, n_threads=1).to_json()
    assert bare["in_range"] is None
    assert np.isnan(bare["worst_10_percent"])
