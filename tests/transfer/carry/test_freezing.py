"""Feature extraction, zero-shot, and that frozen means frozen: after training, and after save and load."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from tests.transfer.conftest import ALGORITHMS, assert_tensors, build, disturb, tensors
from warmstart.agents.algorithms import crossq, ppo, sac, td3, tqc
from warmstart.agents.algorithms.trainability import optimizers
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.freezing import freeze, frozen_names
from warmstart.transfer.warm_start import warm_start

OURS = {"ppo": ppo.PPO, "sac": sac.SAC, "td3": td3.TD3, "tqc": tqc.TQC, "crossq": crossq.CrossQ}
KINDS = {"plain": ALGORITHMS, "ours": OURS}
TASK = "InvertedPendulum-v5"
TRUNK = {
    "ppo": ("mlp_extractor.policy_net.", "mlp_extractor.value_net."),
    "sac": ("actor.latent_pi.", "critic.qf0.0", "critic.qf0.2", "critic.qf1.0", "critic.qf1.2"),
    "tqc": ("actor.latent_pi.", "critic.qf0.0", "critic.qf0.2", "critic.qf1.0", "critic.qf1.2"),
    "crossq": ("actor.latent_pi.", *(f"critic.qf{n}.{k}." for n in (0, 1) for k in (0, 1, 3, 4, 6))),
    "td3": ("actor.mu.0", "actor.mu.2", "critic.qf0.0", "critic.qf0.2", "critic.qf1.0", "critic.qf1.2"),
}
HEADS = {
    "ppo": ("action_net.", "value_net."),
    "sac": ("actor.mu.", "actor.log_std."),
    "td3": ("actor.mu.4.",),
    "tqc": ("actor.mu.", "actor.log_std."),
    "crossq": ("actor.mu.", "actor.log_std."),
}
PAIRS = [(name, kind) for name in ALGORITHMS for kind in KINDS if (name, kind) != ("crossq", "plain")]


def pair(algorithm, envs, kind="plain"):
    source = disturb(build(algorithm, envs(TASK), seed=1))
    settings = {} if algorithm == "ppo" else {"learning_starts": 10}
    return source, build(algorithm, envs(TASK, n_envs=2), seed=2, classes=KINDS[kind], **settings)


@pytest.mark.parametrize(("algorithm", "kind"), PAIRS)
def test_frozen_trunk_after_training_and_after_save_and_load(algorithm, kind, envs, tmp_path):
    source, target = pair(algorithm, envs, kind)
    report = warm_start(target, source, "feature_extraction", seed=0)
    assert report.steps == 0
    learnable = dict(target.policy.named_parameters())
    trunk = {name for name in learnable if name.startswith(TRUNK[algorithm])}
    assert trunk == frozen_names(target)
    assert {entry.name for entry in report.entries if entry.frozen} == trunk
    before, original = tensors(target), tensors(source)
    for name in before:
        if name in trunk:
            assert torch.equal(before[name], original[name])
        if name.startswith(HEADS[algorithm]):
            assert not torch.equal(before[name], original[name])
            assert report.entry(name).action == "reinitialised"

    target.learn(64, callback=report.callback)
    target.save(tmp_path / "model.zip")
    loaded = type(target).load(tmp_path / "model.zip", env=target.env)
    assert frozen_names(loaded) == trunk
    if algorithm != "ppo":
        loaded.learning_starts = 0
    loaded.learn(64)
    for model in (target, loaded):
        after = tensors(model)
        for name in trunk:
            assert torch.equal(before[name], after[name]), name
        assert any(not torch.equal(before[n], after[n]) for n in before if n.startswith(HEADS[algorithm]))


def test_new_layers_are_drawn_as_sb3_draws_them(envs):
    source, target = pair("ppo", envs)
    own = target.policy.log_std.detach().clone()
    warm_start(target, source, "feature_extraction", seed=0)
    weight = target.policy.action_net.weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(1) * 0.01**2)
    value = target.policy.value_net.weight
    torch.testing.assert_close(value @ value.T, torch.eye(1))
    assert not target.policy.action_net.bias.any()
    assert torch.equal(target.policy.log_std, own)

    source, target = pair("sac", envs)
    warm_start(target, source, "feature_extraction", seed=0)
    assert 0.2 < target.actor.mu.weight.abs().max() <= 0.25  # 1/√16
    assert target.learning_starts == 10
    assert_tensors(dict(target.critic.state_dict()), dict(target.critic_target.state_dict()))


@pytest.mark.parametrize("trunk", ["frozen", "trained", "new"])
def test_critic_trunk(trunk, envs):
    source, target = pair("ppo", envs)
    report = warm_start(target, source, "feature_extraction", critic_trunk=trunk, seed=0)
    name = "mlp_extractor.value_net.0.weight"
    assert (name in frozen_names(target)) == (trunk == "frozen")
    assert report.entry(name).action == ("reinitialised" if trunk == "new" else "copied")
    assert torch.equal(tensors(target)[name], tensors(source)[name]) == (trunk != "new")


@pytest.mark.parametrize(("algorithm", "kind"), PAIRS)
def test_zero_shot_never_changes(algorithm, kind, envs, tmp_path):
    source, target = pair(algorithm, envs, kind)
    report = warm_start(target, source, "zero_shot")
    assert report.steps == 0
    assert all(entry.frozen for entry in report.entries)
    statistics = target.get_vec_normalize_env().obs_rms
    mean, count = statistics.mean.copy(), statistics.count
    before, learnable = tensors(target), dict(target.policy.named_parameters())
    online = {name for name in learnable if "_target" not in name}
    for name in online:
        assert torch.equal(before[name], tensors(source)[name]), name
    target.learn(128)
    assert_tensors(tensors(target), before)
    target.save(tmp_path / "model.zip")
    loaded = type(target).load(tmp_path / "model.zip", env=target.env)
    for model in (target, loaded):
        assert frozen_names(model) == online
        assert not any(group["lr"] for _, o in optimizers(model) for group in o.param_groups)
    loaded.learn(128)
    assert_tensors(tensors(loaded), before)
    assert frozen_names(loaded) == online
    if algorithm == "sac":
        assert torch.equal(target.log_ent_coef, source.log_ent_coef)
    np.testing.assert_array_equal(statistics.mean, mean)
    assert statistics.count == count


def test_frozen_needs_known_names(envs):
    model = build("ppo", envs(TASK))
    with pytest.raises(WarmstartError, match=r"Did you mean 'action_net.weight'"):
        freeze(model, ["action_nett.weight"])


def test_batch_norm_is_refused_where_it_would_drift(envs):
    class Normed(ActorCriticPolicy):
        def _build_mlp_extractor(self):
            super()._build_mlp_extractor()
            self.mlp_extractor.policy_net.insert(1, nn.BatchNorm1d(16))

    model = ALGORITHMS["ppo"](
        Normed, envs(TASK), n_steps=32, batch_size=16, policy_kwargs={"net_arch": [16, 16]}, device="cpu"
    )
    with pytest.raises(WarmstartError, match=r"batch norm.*warmstart\.PPO"):
        freeze(model, ["mlp_extractor.policy_net.0.weight", "mlp_extractor.policy_net.1.weight"])


def test_batch_renormalisation_is_refused_where_it_would_drift(envs):
    source, target = pair("crossq", envs)
    with pytest.raises(WarmstartError, match=r"batch norm.*warmstart\.CrossQ, which holds them still"):
        warm_start(target, source, "zero_shot")


def test_freezing_twice_adds_up(envs, tmp_path):
    for classes in KINDS.values():
        model = build("ppo", envs(TASK), classes=classes)
        freeze(model, ["action_net.weight"])
        freeze(model, ["value_net.bias"])
        model.save(tmp_path / "model.zip")
        assert frozen_names(type(model).load(tmp_path / "model.zip")) == {
            "action_net.weight",
            "value_net.bias",
        }
