"""How agents see: frozen and stacked, in any environment, and in checkpoints."""

import json

import numpy as np
import pytest
import torch

from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.encoders.encoder import EncoderConfig, make_encoder
from warmstart.agents.evaluation import evaluate
from warmstart.agents.extractors.seams import encoder_seams
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.observing.base import ENCODER_FILE, EncodedFrames, StackedFrames
from warmstart.agents.settings.config import PPOConfig, SACConfig
from warmstart.agents.settings.encoder_training import EncoderTraining
from warmstart.core.errors import WarmstartError
from warmstart.envs.vector import make_vec

PPO = PPOConfig(n_envs=2, n_steps=16, batch_size=16, n_epochs=1, net_arch=(8,))


def fitted(task, **settings):
    """A small random encoder, its readout fitted on frames of a task."""
    env = make_vec(task, 4, seed=0)
    env.reset(seed=0)
    frames = []
    for _ in range(8):
        seen = env.step(env.action_space.sample())[0]
        frames.append(seen["pixels"] if isinstance(seen, dict) else seen)
    env.close()
    config = EncoderConfig(architecture="drq", features=6, **settings)
    encoder = make_encoder(config, frames[0].shape[1:])
    encoder.fit(torch.from_numpy(np.concatenate(frames)))
    return encoder


@pytest.mark.usefixtures("opengl", "box2d")
@pytest.mark.parametrize(
    "task",
    [
        "InvertedPendulum-v5:obs=pixels,size=24",
        "InvertedPendulum-v5:obs=pixels+state,size=24",
        "CarRacing-v3:obs=pixels,size=24",
        "CartPole-v1:obs=pixels,size=24",
        "CartPole-v1:obs=pixels+state,size=24",
    ],
)
def test_ppo_learns_from_features_in_any_environment(task, tmp_path):
    vision = EncodedFrames(fitted(task))
    env = make_training_env(PPO, task, 0, vision=vision)
    state = 4 if "state" in task else 0
    assert env.observation_space.shape == (2 * 6 + state,)
    assert env.observation_space.dtype == np.float32
    model = build_agent(PPO, env, 0).learn(32)
    path = save_checkpoint(model, tmp_path / "agent", task=task)
    policy = load_checkpoint(path).policy()
    assert policy.vision.encoder.hash == vision.encoder.hash
    if "CarRacing" in task:
        task += ",time_limit=5"
    mine, loaded = (evaluate(p, task, episodes=2, seed=3) for p in (Policy.from_model(model), policy))
    np.testing.assert_array_equal(mine.returns, loaded.returns)


@pytest.mark.usefixtures("opengl")
def test_the_replay_buffer_of_sac_holds_features():
    task = "InvertedPendulum-v5:obs=pixels,size=24"
    config = SACConfig(n_envs=2, buffer_size=64, learning_starts=16, batch_size=8, net_arch=(8,))
    env = make_training_env(config, task, 0, vision=EncodedFrames(fitted(task, frames=3)))
    model = build_agent(config, env, 0).learn(40)
    assert model.replay_buffer.observations.shape == (32, 2, 24)
    assert model.replay_buffer.observations.dtype == np.float32


@pytest.mark.usefixtures("opengl")
def test_stacks_reach_a_trained_encoder_and_come_back_from_a_checkpoint(tmp_path):
    task = "InvertedPendulum-v5:obs=pixels+state,size=24"
    encoder = make_encoder(EncoderConfig(architecture="drq", features=6), (24, 24))
    env = make_training_env(PPO, task, 0, vision=StackedFrames(2))
    assert env.observation_space["pixels"].shape == (6, 24, 24)
    settings = EncoderTraining(encoder="drq:features=6", train="fine_tuned")
    model = build_agent(PPO, env, 0, seams=encoder_seams(settings, encoder, "ppo", env.observation_space))
    assert env.norm_obs_keys == ["state"], "images aren't standardised, the state is"
    model.learn(32)
    path = save_checkpoint(model, tmp_path / "agent", task=task)
    assert not (path / ENCODER_FILE).exists()
    loaded = load_checkpoint(path)
    assert loaded.vision == StackedFrames(2)
    assert evaluate(loaded.policy(), task, episodes=2).lengths.min() > 0


@pytest.mark.usefixtures("opengl")
def test_a_checkpoint_without_its_encoder_is_refused(tmp_path):
    task = "InvertedPendulum-v5:obs=pixels,size=24"
    env = make_training_env(PPO, task, 0, vision=EncodedFrames(fitted(task)))
    path = save_checkpoint(build_agent(PPO, env, 0), tmp_path / "agent", task=task)
    assert json.loads((path / "checkpoint.json").read_text())["vision"]["kind"] == "frozen"
    fitted(task, seed=5).save(path / ENCODER_FILE)
    with pytest.raises(WarmstartError, match="not the encoder that the checkpoint was trained with"):
        load_checkpoint(path)
    (path / ENCODER_FILE).unlink()
    with pytest.raises(WarmstartError, match=r"encoder\.safetensors is missing"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": "staged"}, "needs unfreeze_at"),
        ({"random_shift": 4}, "this one is frozen"),
        ({"train": "fine_tuned", "adapter_rank": -1}, "at least 0, found -1"),
        ({"train": "fine_tuned", "encoder_learning_rate": -0.1}, "at least 0"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(settings, message):
    with pytest.raises(WarmstartError, match=message):
        EncoderTraining(**settings)
