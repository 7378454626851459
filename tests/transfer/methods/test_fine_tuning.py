"""Fine-tuning: what is carried, the critic's fit, and the traps of stable-baselines3."""

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from tests.transfer.conftest import ALGORITHMS, assert_tensors, build, disturb, tensors
from warmstart.agents.algorithms import crossq, ppo, sac, td3, tqc
from warmstart.agents.algorithms.trainability import optimizers
from warmstart.agents.checkpoints.checkpoint import checkpoint_of
from warmstart.agents.settings.config import PPOConfig, SACConfig
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.methods.critic import fit_critic
from warmstart.transfer.methods.fine_tuning import FineTune, fit_within
from warmstart.transfer.methods.schedules import ScaledSchedule
from warmstart.transfer.table import make_method
from warmstart.transfer.warm_start import warm_start

OURS = {"ppo": ppo.PPO, "sac": sac.SAC, "td3": td3.TD3, "tqc": tqc.TQC, "crossq": crossq.CrossQ}
KINDS = {"plain": ALGORITHMS, "ours": OURS}
TASK = "InvertedPendulum-v5"


class Steps(BaseCallback):
    """Records where it was called, and the learning rates there."""

    def __init__(self):
        super().__init__()
        self.steps, self.rates = [], []

    def _on_step(self):
        self.steps.append(self.num_timesteps)
        return True

    def _on_rollout_end(self):
        self.rates.append(self.model.lr_schedule(1.0))


def pair(algorithm, envs, kind="plain", **settings):
    """Return a disturbed source and a fresh target of the same spaces."""
    source = disturb(build(algorithm, envs(TASK), seed=1))
    return source, build(algorithm, envs(TASK, n_envs=2), seed=2, classes=KINDS[kind], **settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_tensor_is_the_sources_bit_for_bit(algorithm, kind, envs):
    source, target = pair(algorithm, envs, kind)
    report = warm_start(target, source, critic_fit_steps=0, normalizer_count=10_000)
    assert_tensors(tensors(target), tensors(source))
    assert {report.entry(name).action for name in target.policy.state_dict()} == {"copied"}
    theirs, ours = source.get_vec_normalize_env(), target.get_vec_normalize_env()
    np.testing.assert_array_equal(ours.obs_rms.mean, theirs.obs_rms.mean)
    np.testing.assert_array_equal(ours.obs_rms.var, theirs.obs_rms.var)
    assert (ours.obs_rms.count, ours.ret_rms.count) == (10_000, 10_000)
    assert (ours.ret_rms.mean, ours.ret_rms.var) == (3.0, 40.0)
    assert report.entry("normalizer.count").action == "capped"
    if algorithm in ("sac", "tqc", "crossq"):
        assert torch.equal(target.log_ent_coef, source.log_ent_coef)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_fit_moves_only_the_critic_and_is_counted(algorithm, kind, envs):
    source, target = pair(algorithm, envs, kind)
    if algorithm in ("sac", "tqc", "crossq"):
        with torch.no_grad():
            source.log_ent_coef.fill_(-2.0)
    schedule, callback = target.lr_schedule, Steps()
    report = warm_start(target, source, critic_fit_steps=100, critic_updates=5, callback=callback)

    used = 128 if algorithm == "ppo" else 100  # whole rollouts of 32 steps in 2 environments
    assert report.steps == target.num_timesteps == used
    assert callback.steps == list(range(2, used + 1, 2))
    before, after = tensors(source), tensors(target)
    critics = {n for n in before if "value_net" in n or n.startswith("critic")}
    for name in before:
        assert torch.equal(before[name], after[name]) == (name not in critics), name
    if algorithm in ("sac", "tqc", "crossq"):
        assert target.log_ent_coef.item() == -2.0
        assert not target.ent_coef_optimizer.state
    for _, optimizer in optimizers(target):
        assert not optimizer.state
    assert all(parameter.grad is None for parameter in target.policy.parameters())
    assert target.lr_schedule is schedule
    assert target._current_progress_remaining == 1.0

    target.learn(64, reset_num_timesteps=False, callback=report.callback)
    assert target.num_timesteps == used + 64
    after = tensors(target)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith(("mlp_extractor.policy_net", "actor.")) for name in moved)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_budget_of_the_fit_is_kept(algorithm, envs):
    _, target = pair(algorithm, envs)
    assert fit_critic(target, 10_000, max_steps=70, updates=1) == (64 if algorithm == "ppo" else 70)
    assert fit_critic(target, 10_000, max_steps=0) == 0
    assert fit_critic(target, 0) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ["sac", "td3", "tqc", "crossq"])
@pytest.mark.parametrize("fit", [0, 20])
def test_acts_as_the_source_from_the_first_step(algorithm, kind, fit, envs, monkeypatch):
    source, target = pair(algorithm, envs, kind, learning_starts=1_000)
    report = warm_start(target, source, critic_fit_steps=fit, critic_updates=1, seed=0)

    def refuse():
        raise AssertionError("an action was drawn uniformly at random")

    monkeypatch.setattr(target.action_space, "sample", refuse)
    taken = []
    inner = target.env.step_async
    monkeypatch.setattr(target.env, "step_async", lambda actions: (taken.append(actions), inner(actions)))
    target.learn(4, reset_num_timesteps=False, callback=report.callback)
    if algorithm == "td3" and fit == 0:
        first = target.replay_buffer.observations[0]
        expected, _ = source.predict(source.get_vec_normalize_env().normalize_obs(first))
        np.testing.assert_allclose(taken[0], expected, rtol=1e-4, atol=1e-5)


def test_callback_that_returns_false_ends_the_fit(envs):
    class Stop(BaseCallback):
        def _on_step(self):
            return self.num_timesteps < 10

    for algorithm in ALGORITHMS:
        _, target = pair(algorithm, envs)
        critic = tensors(target)
        assert fit_critic(target, 100, Stop()) == 10
        assert_tensors(tensors(target), critic)


class Countdown(gymnasium.Env):
    """Pays 1 for each of ten steps and ends: the value of step t is 1 + γ + … + γ^(9 − t)."""

    observation_space = gymnasium.spaces.Box(-1, 1, (10,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._observe(), {}

    def step(self, action):
        self.t += 1
        return self._observe(), 1.0, self.t == 10, False, {}

    def _observe(self):
        return np.eye(11, 10, dtype=np.float32)[self.t]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_fit_finds_the_returns_of_the_frozen_policy(algorithm):
    env = DummyVecEnv([Countdown])
    kwargs = {"ent_coef": 0.0} if algorithm in ("sac", "tqc", "crossq") else {}
    if algorithm == "ppo":
        kwargs = {"n_steps": 200, "batch_size": 50, "n_epochs": 20}
    model = build(algorithm, env, gamma=0.8, widths=(32, 32), **kwargs)
    if algorithm != "ppo":
        model.tau = 0.05
    fit_critic(model, 1_000, updates=600, learning_rate=3e-3)
    observations = torch.eye(10)
    expected = np.array([sum(0.8**k for k in range(10 - t)) for t in range(10)])
    with torch.no_grad():
        if algorithm == "ppo":
            found = model.policy.predict_values(observations)
        else:
            actions = (
                model.actor(observations, deterministic=True)
                if algorithm != "td3"
                else model.actor(observations)
            )
            q = model.critic(observations, actions)
            found = q.mean(dim=(1, 2)) if algorithm == "tqc" else torch.stack(q).mean(dim=0)
    np.testing.assert_allclose(found.numpy().ravel(), expected, atol=0.25 if algorithm != "crossq" else 0.5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_learning_rate_rises_and_the_schedule_comes_back(algorithm, envs, tmp_path):
    _, target = pair(
        algorithm, envs, learning_rate=1e-3, **({} if algorithm == "ppo" else {"train_freq": 32})
    )
    source = disturb(build(algorithm, envs(TASK), seed=1))
    report = warm_start(target, source, critic_fit_steps=64, critic_updates=1, warm_up_steps=256)
    base, callback = target.lr_schedule, Steps()
    target.learn(192, reset_num_timesteps=False, callback=[report.callback, callback])
    np.testing.assert_allclose(callback.rates, [0.25e-3, 0.5e-3, 0.75e-3], rtol=1e-6)
    assert isinstance(target.lr_schedule, ScaledSchedule)
    target.save(tmp_path / "model.zip")
    assert type(target).load(tmp_path / "model.zip", env=target.env).lr_schedule(1.0) == 1e-3
    target.learn(128, reset_num_timesteps=False, callback=[report.callback, callback])
    np.testing.assert_allclose(callback.rates[3:], [1e-3, 1e-3], rtol=1e-6)
    assert target.lr_schedule is base


def test_optimizers_forget_their_moments(envs):
    for algorithm in ALGORITHMS:
        source, target = pair(algorithm, envs)
        target.learning_starts = 0
        target.learn(64)
        assert any(optimizer.state for _, optimizer in optimizers(target))
        warm_start(target, source, critic_fit_steps=0)
        assert not any(optimizer.state for _, optimizer in optimizers(target))
        if algorithm == "sac":
            assert not target.ent_coef_optimizer.state
            assert target.ent_coef_optimizer.param_groups[0]["params"][0] is target.log_ent_coef


def test_two_phases_are_one_call(envs):
    source, together = pair("ppo", envs)
    apart = build("ppo", envs(TASK, n_envs=2), seed=2)
    for target in (together, apart):
        target.set_random_seed(5)
    report = warm_start(together, source, critic_fit_steps=64, seed=0)
    apart.set_random_seed(5)
    method = FineTune(critic_fit_steps=64)
    again = method.initialise(apart, checkpoint_of(source), TransferContext(np.random.default_rng(0)))
    again.steps = method.prepare(apart)
    assert again == report
    assert again.callback.steps == report.callback.steps


def test_linear_schedule_counts_the_fit_as_part_of_training(envs):
    source = disturb(build("ppo", envs(TASK), seed=1))
    target = build("ppo", envs(TASK, n_envs=2), seed=2, learning_rate=lambda progress: 1e-3 * progress)
    report = warm_start(target, source, critic_fit_steps=64, warm_up_steps=0)
    assert report.callback is None
    callback = Steps()
    target.learn(128 - report.steps, reset_num_timesteps=False, callback=callback)
    assert target._current_progress_remaining == 0.0
    assert target.num_timesteps == 128


def test_five_lines_for_a_plain_sb3_model(envs, tmp_path):
    disturb(build("ppo", envs(TASK, plain=True), seed=1)).save(tmp_path / "source")
    model = PPO(
        "MlpPolicy", envs(TASK, plain=True), n_steps=32, batch_size=16, policy_kwargs={"net_arch": [16, 16]}
    )
    with pytest.raises(ValueError, match="trust_normalizer"):
        warm_start(model, tmp_path / "source.zip")
    model = PPO(
        "MlpPolicy", envs(TASK, plain=True, norm_obs=False), n_steps=32, batch_size=16,
        policy_kwargs={"net_arch": [16, 16]},
    )  # fmt: skip
    report = warm_start(model, tmp_path / "source.zip", critic_fit_steps=64)
    model.learn(64, callback=report.callback, reset_num_timesteps=False)
    assert report.copied
    assert model.num_timesteps == 128
    assert isinstance(model, PPO)
    assert not isinstance(model, SAC | TD3)


@pytest.mark.parametrize(
    ("config", "budget", "steps"),
    [
        (PPOConfig(n_envs=8, n_steps=64), 8_192, 2_048),
        (PPOConfig(n_envs=8, n_steps=64), 1_000, 512),  # a quarter is less than one rollout
        (PPOConfig(n_envs=8, n_steps=64), 512, 0),  # one rollout would leave nothing to learn
        (PPOConfig(n_envs=8, n_steps=64), 65_536, None),  # the default stays
        (SACConfig(n_envs=3), 4_000, 999),
        (SACConfig(n_envs=1), 8_000, None),
    ],
)
def test_a_fit_by_default_leaves_something_to_learn(config, budget, steps):
    method, note = fit_within(FineTune(), budget, config)
    assert method.critic_fit_steps == steps
    assert bool(note) == (steps is not None)


def test_a_fit_that_was_asked_for_is_refused_if_it_takes_everything():
    config = PPOConfig(n_envs=8, n_steps=64)
    for asked in (1_024, 1_000, 5_000):  # 1,000 are two rollouts
        with pytest.raises(WarmstartError, match=r"critic_fit_steps .* all of target_steps \(1,024\)"):
            fit_within(FineTune(critic_fit_steps=asked), 1_024, config)
    for method in (FineTune(critic_fit_steps=512), FineTune(critic_fit_steps=0), make_method("zero_shot")):
        assert fit_within(method, 1_024, config) == (method, "")
