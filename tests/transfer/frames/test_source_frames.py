"""Frames of source tasks: what is shown, who acts, and that policies see what they were trained on."""

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO

from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import make_encoder
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.observing.base import EncodedFrames, StackedFrames
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization.randomization import Randomization, read_terms
from warmstart.transfer.frames.acting import is_numbers, pixel_task, scattered_frames, source_frames
from warmstart.transfer.pretraining.pretraining import PretrainingConfig
from warmstart.transfer.pretraining.tasks import SourceTasks

pytestmark = pytest.mark.usefixtures("opengl")
TASK = Task.parse("InvertedPendulum-v5:obs=pixels+state,size=32")


def _silent(name):
    return lambda done, total: None


def test_a_task_is_asked_for_frames_and_state():
    assert pixel_task(Task.parse("Reacher-v5@light=x0.5")) == Task.parse(
        "Reacher-v5:obs=pixels+state@light=x0.5"
    )
    assert pixel_task(Task.parse("InvertedPendulum-v5:obs=pixels,size=32")) == TASK
    assert not is_numbers(spaces.Box(0, 255, (8, 8, 1), np.uint8))
    assert not is_numbers(spaces.Dict({}))
    assert is_numbers(spaces.Discrete(3))


def test_frames_are_drawn_again_from_the_same_seed_whatever_the_threads():
    first, dimensions = source_frames(TASK, 6, 4, np.random.default_rng(1), n_threads=1)
    second, _ = source_frames(TASK, 6, 4, np.random.default_rng(1), n_threads=2)
    np.testing.assert_array_equal(first.frames, second.frames)
    assert first.tasks == (str(TASK),)
    assert [d.name for d in dimensions][:2] == ["slider.position", "hinge.angle"]
    looks = Randomization(read_terms({"light": "x0.2:x0.3"})[0], 0)
    dark, _ = source_frames(TASK, 6, 4, np.random.default_rng(1), context_source=looks)
    np.testing.assert_array_equal(dark.state, first.state)
    assert dark.frames.mean() < 0.7 * first.frames.mean()


def test_scattered_frames_are_windows_of_many_environments():
    seen = []
    found, _ = scattered_frames(
        TASK, 50, 2, np.random.default_rng(2), progress=lambda done, total: seen.append((done, total))
    )
    assert found.starts.shape == (10, 10)
    assert found.starts[::2].all()
    assert not found.starts[1::2].any()
    moved = np.abs(found.state[1::2, :, 0] - found.state[::2, :, 0])
    assert 0 < moved.max() < 0.3, "frames of a window are one step apart"
    assert seen[-1][0] == seen[-1][1]


def _checkpoint(path, vision, obs):
    env = make_vec(TASK.with_options(obs=obs) if vision else "InvertedPendulum-v5", 2, seed=0, n_threads=1)
    wrapped = as_sb3(env if vision is None else vision.wrap(env))
    model = PPO("MlpPolicy", wrapped, n_steps=16, batch_size=16, seed=0, device="cpu")
    save_checkpoint(model, path, task="InvertedPendulum-v5")
    wrapped.close()
    return load_checkpoint(path)


def _frozen():
    encoder = make_encoder(EncoderConfig("nature_cnn", features=8, frames=3, input_size=48), (32, 32))
    encoder.fit(source_frames(TASK, 10, 5, np.random.default_rng(0))[0].draw(encoder.config.fit_frames, 0))
    return EncodedFrames(encoder)


@pytest.mark.parametrize("kind", ["state", "frozen", "frozen and state", "stacked"])
def test_policies_of_every_kind_act_as_in_their_own_task(tmp_path, kind):
    vision = {"state": None, "stacked": StackedFrames(2)}.get(kind, _frozen() if "frozen" in kind else None)
    obs = "pixels+state" if kind == "frozen and state" else "pixels"
    checkpoint = _checkpoint(tmp_path / "agent", vision, obs)
    found, _ = source_frames(TASK, 30, 3, np.random.default_rng(0), checkpoint=checkpoint, random_share=0.0)
    assert found.starts[1:].any(), "episodes end while it looks"
    policy = checkpoint.policy()
    own = make_vec(TASK.with_options(obs=obs) if vision else "InvertedPendulum-v5", 3, n_threads=1)
    env = policy.wrap(own)
    observations, _ = env.reset(seed=int(np.random.default_rng(0).integers(2**31)))
    acted = [[], [], []]
    for _ in range(30):
        actions = policy(observations)
        observations, _, terminations, truncations, _ = env.step(actions)
        for index, action in enumerate(actions):
            acted[index] += [action] + [np.array([np.nan])] * bool(terminations[index] | truncations[index])
    env.close()
    expected = np.stack([rows[:29] for rows in acted], axis=1)
    np.testing.assert_array_equal(found.actions[:29], expected)


def test_a_policy_of_another_task_is_refused(tmp_path):
    checkpoint = _checkpoint(tmp_path / "agent", None, "state")
    for task, said in (
        ("Hopper-v5:size=32", "has actions"),
        ("InvertedDoublePendulum-v5:size=32", "observes"),
    ):
        with pytest.raises(WarmstartError, match=said):
            source_frames(pixel_task(Task.parse(task)), 4, 2, np.random.default_rng(0), checkpoint=checkpoint)


def test_several_tasks_need_frames_of_one_size():
    settings = PretrainingConfig(steps=32, n_envs=4)
    light, dark = TASK.with_context("light=x2"), TASK.with_context("light=x0.2")
    both = SourceTasks((light, dark), settings)
    data = both.training_frames(_silent)
    assert data.frames.shape == (8, 8, 32, 32, 3)
    assert data.tasks == (str(light), str(dark))
    assert data.frames[:, :4].mean() > 2 * data.frames[:, 4:].mean()
    other = SourceTasks((light, dark.with_options(size=48)), settings)
    with pytest.raises(WarmstartError, match="the same option size"):
        _ = other.frame_size
