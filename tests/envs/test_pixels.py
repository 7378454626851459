import gc
import threading
from itertools import pairwise

import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.robots.table import GYMNASIUM_TASKS
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization.randomization import Randomization, read_terms

pytestmark = pytest.mark.usefixtures("opengl", "box2d")


def play(text, n=3, steps=4, seed=5, **kwargs):
    """Observations of a few random steps, the first one's included."""
    env = make_vec(text, n, seed=seed, **kwargs)
    rng = np.random.default_rng(0)
    seen = [env.reset(seed=seed)[0]]
    low, high = env.single_action_space.low, env.single_action_space.high
    seen += [env.step(rng.uniform(low, high, (n, len(low))).astype(np.float32))[0] for _ in range(steps)]
    env.close()
    return seen


@pytest.mark.parametrize("task", GYMNASIUM_TASKS)
def test_every_task_shows_frames_in_which_it_moves(task):
    frames = play(f"{task}:obs=pixels,size=[48,64]", steps=6)
    assert frames[0].shape == (3, 48, 64, 3)
    assert frames[0].dtype == np.uint8
    assert all(frame.std() > 5 for frame in frames[0]), "there is nothing to be seen"
    changed = [(a != b).any(axis=(1, 2, 3)) for a, b in pairwise(frames)]
    assert np.all(np.any(changed, axis=0)), "an environment that acts has to look different"


def test_frames_depend_neither_on_threads_nor_on_other_environments():
    one = play("HalfCheetah-v5:obs=pixels", n=5, n_threads=1)
    two = play("HalfCheetah-v5:obs=pixels", n=5, n_threads=2)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    env = make_vec("HalfCheetah-v5:obs=pixels", 1, seed=7)
    np.testing.assert_array_equal(env.reset(seed=7)[0][0], one[0][2])  # environment i has the seed 5 + i


def test_pixels_and_state_belong_together():
    seen = play("Reacher-v5:obs=pixels+state")
    states = play("Reacher-v5")
    for both, state in zip(seen, states, strict=True):
        np.testing.assert_array_equal(both["state"], state)
        assert both["pixels"].shape == (3, 84, 84, 3)


@pytest.mark.parametrize("kind", ["pixels", "pixels+state"])
def test_the_final_frame_is_that_of_the_ended_episode(kind):
    """All environments end in the same step, so nothing tells them apart but the order of events."""
    longer = play(f"HalfCheetah-v5:obs={kind}", steps=3)
    env = make_vec(f"HalfCheetah-v5:obs={kind},time_limit=3", 3, seed=5)
    rng = np.random.default_rng(0)
    first, _ = env.reset(seed=5)
    for _ in range(3):
        observations, _, _, truncations, infos = env.step(rng.uniform(-1, 1, (3, 6)).astype(np.float32))
    assert truncations.all()
    part = (lambda o: o["pixels"]) if kind == "pixels+state" else (lambda o: o)
    final = np.stack([part(o) for o in infos["final_obs"]])
    np.testing.assert_array_equal(final, part(longer[-1]))
    assert (part(observations) != final).any()
    assert np.abs(part(observations).astype(int) - part(first)).mean() < 20, "a new episode starts upright"


def test_a_fall_shows_the_fallen_robot_and_then_the_next_episode():
    env = make_vec("InvertedPendulum-v5:obs=pixels", 2, seed=0)
    env.reset(seed=0)
    for _ in range(50):
        frames, _, terminations, _, infos = env.step(np.array([[3.0], [0.0]], np.float32))
        if terminations[0]:
            break
    assert terminations.tolist() == [True, False]
    assert infos["final_obs"][1] is None
    assert (infos["final_obs"][0] != frames[0]).mean() > 0.01


def test_the_state_of_a_pixel_environment_can_be_saved():
    env, other = (make_vec("Hopper-v5:obs=pixels+state@light=x0.7", 2, seed=1) for _ in range(2))
    env.reset(seed=1)
    actions = np.full((2, 3), 0.3, np.float32)
    env.step(actions)
    other.reset(seed=9)
    other.load_state_dict(env.state_dict())
    for _ in range(3):
        a, b = env.step(actions)[0], other.step(actions)[0]
        np.testing.assert_array_equal(a["pixels"], b["pixels"])
        np.testing.assert_array_equal(a["state"], b["state"])


def visual_names(env):
    heads = ("camera.", "light.", "material.", "background")
    return [n for n in env.parameters.names if n.startswith(heads) or n.endswith(".color")]


@pytest.mark.parametrize("task", ["HalfCheetah-v5:obs=pixels", "HalfCheetah-v5:obs=pixels,camera=track"])
def test_every_visual_parameter_changes_the_picture_and_not_the_physics(task):
    env = make_vec(task, 1, seed=0)
    names = visual_names(env)
    assert len(names) > 12
    plain, _ = env.reset(seed=0)
    state = env.simulations.state.copy()
    for name in names:
        (parameter,) = env.parameters.select(name)
        values = {"texture": 4.0, "direction": (0.7, 0.2, -0.5)}.get(name.rpartition(".")[2])
        if values is None:
            values = tuple(
                v + 0.3 if v + 0.3 <= h else v - 0.3
                for v, h in zip(parameter.nominal, parameter.high, strict=True)
            )
            if parameter.unit == "deg":
                values = tuple(v + 10 for v in parameter.nominal)
        text = str(values).replace(" ", "").replace("(", "[").replace(")", "]").replace(",]", "]")
        env.set_context(f"{name}={text}" if parameter.size > 1 else f"{name}={np.ravel(values)[0]}")
        changed, _ = env.reset(seed=0)
        assert (changed != plain).any(), f"{name}={text} changes nothing"
        np.testing.assert_array_equal(env.simulations.state, state)
    env.set_context("")
    np.testing.assert_array_equal(env.reset(seed=0)[0], plain)


def test_environments_differ_in_what_they_show():
    env = make_vec("HalfCheetah-v5:obs=pixels", 3, seed=[4, 4, 4])
    env.set_context(["light=x0.3", "", "texture=1"])
    dark, plain, white = env.reset(seed=[4, 4, 4])[0].astype(float)
    assert dark.mean() < 0.6 * plain.mean() < plain.mean() < white.mean()
    assert env.contexts[0][0].selector == "light"
    assert "light.light_0.diffuse[0]" in env.context_names


def test_the_background_has_the_colour_asked_for():
    env = make_vec("InvertedPendulum-v5:obs=pixels@background=[0.2,0.5,0.8]", 1, seed=0)
    corner = env.reset()[0][0, 2, 2]
    np.testing.assert_allclose(corner, [51, 128, 204], atol=2)


def test_visuals_are_randomized_like_physics():
    source = Randomization(read_terms({"light": "x0.3:x1.5", "camera.azimuth": "-=20:+=20"})[0], seed=0)
    env = make_vec("Reacher-v5:obs=pixels,time_limit=1", 4, seed=[0] * 4, context_source=source)
    frames = env.reset(seed=[0] * 4)[0]
    assert len({frame.tobytes() for frame in frames}) == 4
    again = env.step(np.zeros((4, 2), np.float32))[0]
    assert (again != frames).any()


def test_physics_that_can_be_seen_are_drawn():
    thick = make_vec("Hopper-v5:obs=pixels@torso_geom.size=[0.2,0.2]", 1, seed=0).reset(seed=0)[0]
    plain = make_vec("Hopper-v5:obs=pixels", 1, seed=0).reset(seed=0)[0]
    assert (thick != plain).mean() > 0.01


def test_full_frames_have_what_lean_ones_leave_out():
    lean, full = (
        make_vec(f"HalfCheetah-v5:obs=pixels,visuals={kind}", 1, seed=0).reset(seed=0)[0]
        for kind in ("lean", "full")
    )
    assert (lean != full).mean() > 0.1


def test_visual_parameters_are_unknown_to_models_without_a_camera():
    env = make_vec("Hopper-v5", 1)
    assert not visual_names(env)
    assert isinstance(env.parameters, Parameters)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Reacher-v5:obs=pixel", "Did you mean 'pixels'"),
        ("Reacher-v5:size=64", "observes its state; add obs=pixels"),
        ("Reacher-v5:obs=pixels,size=4", "8 to 1024 pixels"),
        ("Reacher-v5:obs=pixels,size=[84,84,3]", r"\[height,width\]"),
        ("Reacher-v5:obs=pixels,visuals=leen", "Did you mean 'lean'"),
        ("Hopper-v5:obs=pixels,camera=trak", "Did you mean 'track'"),
        ("Hopper-v5:obs=pixels,camera=7", "expected a camera below 1|Expected a camera below 1"),
        ("Reacher-v5@light=x0.5", "light is a visual parameter.*obs=pixels"),
        ("Reacher-v5:obs=pixels@texture=2", "'texture' means material.*this model has none"),
        ("HalfCheetah-v5:obs=pixels@texture=9", "0 to 5"),
        ("HalfCheetah-v5:obs=pixels@texture=1.5", "whole number: 0 own, 1 plain"),
        ("HalfCheetah-v5:obs=pixels@light.direction=[0,0,0]", "vector other than 0"),
        ("HalfCheetah-v5:obs=pixels@floor.color=[2,0,0]", "out of bounds"),
        ("HalfCheetah-v5:obs=pixels@light=x1", None),
        ("CartPole-v1:obs=pixels,camera=side", "batched MuJoCo tasks"),
        ("CarRacing-v3:obs=pixels+state", "observes images and has no state"),
    ],
)
def test_mistakes_are_explained(text, message):
    if message is None:
        make_vec(text).close()
        return
    with pytest.raises(WarmstartError, match=message):
        make_vec(text)


def painters():
    return [thread for thread in threading.enumerate() if thread.name == "painter" and thread.is_alive()]


@pytest.mark.parametrize("close", [True, False])
def test_threads_end_with_their_environment(close):
    gc.collect()
    before = len(painters())
    env = make_vec("Reacher-v5:obs=pixels,size=16", 4, n_threads=2, render_mode="rgb_array")
    env.reset()
    env.render()
    assert len(painters()) == before + 3
    if close:
        env.close()
    del env
    gc.collect()
    assert len(painters()) == before


def test_frames_survive_the_end_of_other_environments():
    """Freeing one OpenGL context must not take another one's textures along."""
    env = make_vec("HalfCheetah-v5:obs=pixels", 2, seed=0)
    first, _ = env.reset(seed=0)
    for _ in range(3):
        other = make_vec("HalfCheetah-v5:obs=pixels@texture=3", 2, seed=1)
        other.reset(seed=1)
        del other
        gc.collect()
        np.testing.assert_array_equal(env.reset(seed=0)[0], first)
