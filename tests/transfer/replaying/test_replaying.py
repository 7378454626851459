"""Recorded steps: how they come into the target's spaces, what is imitated, what is drawn beside the own."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.transfer.conftest import build, disturb
from tests.transfer.methods.test_every_method import OURS
from warmstart.agents.checkpoints.checkpoint import checkpoint_of
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.source import read_source
from warmstart.transfer.replaying.datasets import read_minari, recorded
from warmstart.transfer.replaying.rlpd import MixedReplayBuffer
from warmstart.transfer.teaching.rollouts import roll
from warmstart.transfer.warm_start import warm_start

TASK = "InvertedPendulum-v5"


def context():
    return TransferContext(np.random.default_rng(0))


def dataset(monkeypatch, observations, actions):
    """A Minari of one's own with a single dataset."""
    n = len(actions)
    episode = SimpleNamespace(
        observations=observations,
        actions=actions,
        rewards=np.arange(n, dtype=float),
        terminations=np.arange(n) == n - 1,
        truncations=np.zeros(n, bool),
    )

    def load(name):
        if name != "mine-v0":
            raise FileNotFoundError
        return SimpleNamespace(iterate_episodes=lambda: [episode, episode])

    fake = SimpleNamespace(load_dataset=load, list_local_datasets=lambda: {"mine-v0": {}})
    monkeypatch.setitem(sys.modules, "minari", fake)


def test_rollouts_are_whole_deterministic_and_leave_the_generators(envs):
    source = read_source(disturb(build("ppo", envs(TASK), seed=1, classes=OURS)))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, two = roll(source, 100, seed=5), roll(source, 100, seed=5)
    assert torch.equal(torch.rand(1), expected)
    assert len(one) == 104  # thirteen steps of eight environments
    np.testing.assert_array_equal(one.actions, two.actions)
    going = ~(one.terminated | one.truncated)[:-1]
    going[12::13] = False  # where one environment's steps end and another's begin
    np.testing.assert_array_equal(one.next_observations[:-1][going], one.observations[1:][going])
    assert one.terminated.any()
    ended = np.flatnonzero(one.terminated)
    assert (np.abs(one.next_observations[ended, 1]) > 0.2).all()  # fallen, not the next one's upright start


def test_steps_of_another_body_come_into_place(envs):
    source = read_source(disturb(build("sac", envs("Hopper-v5"), seed=1, classes=OURS)))
    model = build("sac", envs("Walker2d-v5"), seed=2, classes=OURS)
    model.get_vec_normalize_env().obs_rms.mean = np.arange(17.0)
    found = recorded(None, 16, source, model, context())
    taken = roll(source, 16, int(np.random.default_rng(0).integers(2**31)))
    assert found.known.tolist() == [True] * 3 + [False] * 3
    np.testing.assert_allclose(found.taken.actions[:, :3], np.clip(taken.actions * 2, -1, 1), atol=1e-6)
    assert (found.taken.actions[:, 3:] == 0).all()
    np.testing.assert_allclose(found.taken.observations[:, :5], taken.observations[:, :5])
    assert (found.taken.observations[:, 5] == 5.0).all()  # the left thigh's angle, which Hopper hasn't


def test_minari_is_read_and_its_shapes_are_compared(monkeypatch, envs):
    dataset(monkeypatch, np.arange(16.0).reshape(4, 4), np.ones((3, 1), np.float32))
    found = read_minari("minari:mine-v0")
    assert len(found) == 6
    np.testing.assert_array_equal(found.next_observations[2], [12, 13, 14, 15])
    assert found.terminated.tolist() == [False, False, True] * 2
    for wrong, said in (
        ("mine-v0", "data: expected minari:ID"),
        ("minari:mine-v1", "Unknown Minari dataset on this machine.*mine-v0"),
    ):
        with pytest.raises(WarmstartError, match=said):
            read_minari(wrong)
    model = build("sac", envs("Reacher-v5"), classes=OURS)
    with pytest.raises(WarmstartError, match=r"its observations have the shape \(4,\), the target's \(10,\)"):
        warm_start(model, None, "rlpd", data="minari:mine-v0", seed=0)


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_cloning_needs_no_source_and_learns_the_recorded_actions(algorithm, monkeypatch, envs):
    observations = np.random.default_rng(0).normal(size=(301, 4)) * 0.3
    actions = (2.0 * observations[:-1, :1]).clip(-2.5, 2.5).astype(np.float32)
    dataset(monkeypatch, observations, actions)
    model = build(algorithm, envs(TASK), classes=OURS)
    report = warm_start(
        model,
        None,
        "clone",
        data="minari:mine-v0",
        seed=0,
        updates=600,
        critic_fit_steps=0,
        learning_rate=3e-3,
    )
    assert any("600 steps of minari:mine-v0" in note for note in report.notes)
    seen = model.get_vec_normalize_env().normalize_obs(observations[:-1])
    acted = model.predict(seen, deterministic=True)[0]
    assert np.abs(acted - actions).mean() < 0.15
    np.testing.assert_allclose(
        model.get_vec_normalize_env().obs_rms.mean, observations[:-1].mean(0), atol=1e-3
    )
    model.learn(64, reset_num_timesteps=False)


def test_half_of_a_batch_is_recorded(envs):
    source = read_source(disturb(build("sac", envs(TASK), seed=1, classes=OURS)))
    model = build("sac", envs(TASK), seed=2, classes=OURS, learning_starts=16)
    warm_start(model, source, "rlpd", data_steps=64, seed=0)
    model.learn(48, reset_num_timesteps=False)
    buffer = model.replay_buffer
    assert isinstance(buffer, MixedReplayBuffer)
    prior = buffer.prior
    prior.rewards[:] = 77.0
    for share, count in ((0.5, 16), (0.0, 0), (1.0, 32)):
        buffer.share = lambda share=share: share
        assert int((buffer.sample(32).rewards == 77.0).sum()) == count
    assert (prior.dones[:, 0] <= 1).all()
    assert np.abs(prior.actions).max() <= 1.0


def test_unfitting_options_are_refused(envs):
    model = build("sac", envs(TASK), classes=OURS)
    source = checkpoint_of(model, task=TASK)
    with pytest.raises(WarmstartError, match="critic_fit_steps: goes with start: carried"):
        warm_start(model, source, "rlpd", critic_fit_steps=5, seed=0)
    with pytest.raises(WarmstartError, match="widening_noise: goes with start: carried"):
        warm_start(model, source, "kickstart", widening_noise=0.1, seed=0)
