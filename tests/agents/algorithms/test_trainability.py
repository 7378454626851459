"""Which parameters train, when and how fast."""

from typing import Any

import pytest
import torch

from tests.agents.algorithms.models import ALGORITHMS, TRUNK, build, moved, tensors
from tests.agents.conftest import gym_env
from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.algorithms.sac import SAC
from warmstart.agents.algorithms.seams import (
    Seams,
)
from warmstart.agents.algorithms.td3 import TD3
from warmstart.agents.algorithms.trainability import Piecewise, Rule, Trainability, fresh_optimizers
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read, to_plain


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_frozen_parameters_keep_every_bit_also_after_saving(cls: Any, tmp_path: Any) -> None:
    model = build(cls, Seams(trainability=Trainability.frozen(TRUNK[cls])))
    before = tensors(model)
    model.learn(64)
    frozen = {n for n in before if n.startswith(TRUNK[cls].rstrip("*"))}
    assert frozen
    changed = moved(model, before)
    assert not frozen & changed
    assert changed
    model.save(tmp_path / "model.zip")
    again = cls.load(tmp_path / "model.zip", env=gym_env("Hopper-v5", 2), device="cpu")
    again.learn(64)
    assert not frozen & moved(again, before)
    assert set(again.policy.state_dict()) - moved(again, tensors(model)) >= frozen


@pytest.mark.parametrize("cls", [SAC, TD3])
def test_target_of_a_frozen_critic_stands_still(cls: Any) -> None:
    model = build(cls, Seams(trainability=Trainability.frozen("critic.qf0.*")))
    before = tensors(model)
    model.learn(64)
    assert not {n for n in moved(model, before) if "qf0" in n}
    assert {n for n in moved(model, before) if n.startswith("critic_target.qf1")}


def critic_first(steps: int) -> Trainability:
    """Train only the critic until so many environment steps; a shared extractor waits as well."""
    wait = Piecewise(((0, 0.0), (steps, 1.0)))
    return Trainability((Rule("@actor", wait), Rule("@shared", wait)))


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_critic_first_then_the_actor(cls: Any) -> None:
    model = build(cls, Seams(trainability=critic_first(96)))
    before = tensors(model)
    actor = {
        n for n in before if n.startswith(("actor", "action_net", "log_std", "mlp_extractor.policy_net"))
    }
    model.learn(64)
    assert not actor & moved(model, before)
    assert moved(model, before)
    if cls is SAC:
        assert model.log_ent_coef.item() == 0.0
    model.learn(96, reset_num_timesteps=False)
    assert actor & moved(model, before)


def test_shared_extractor_waits_while_the_critic_is_fitted() -> None:
    """With a Dict the extractor's class has no parameters, so a small one of ours is shared."""
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

    class Extractor(BaseFeaturesExtractor):
        def __init__(self, space: Any) -> None:
            super().__init__(space, 8)
            self.net = torch.nn.Sequential(torch.nn.Linear(11, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)  # type: ignore[no-any-return]

    kwargs = {"features_extractor_class": Extractor, "net_arch": [16]}
    model = build(PPO, Seams(trainability=critic_first(64), policy_kwargs=kwargs))
    before = tensors(model)
    model.learn(32)
    shared = {n for n in before if "features_extractor" in n}
    assert shared
    changed = moved(model, before)
    assert not shared & changed
    assert {n for n in changed if n.startswith("value_net")}
    model.learn(64, reset_num_timesteps=False)
    assert shared & moved(model, before)


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_groups_keep_their_own_learning_rate(cls: Any) -> None:
    warm = Piecewise(((0, 0.1), (100, 1.0)), "linear")
    rules = Trainability((Rule("*", warm), Rule("@critic", 0.5)))
    model = build(cls, Seams(trainability=rules), learning_rate=1e-2)
    model.learn(64)
    optimizers = [model.policy.optimizer] if cls is PPO else [model.actor.optimizer, model.critic.optimizer]
    rates = {round(group["lr"], 9) for optimizer in optimizers for group in optimizer.param_groups}
    steps = model.num_timesteps
    expected = 1e-2 * warm(steps)
    assert any(rate == pytest.approx(expected, rel=0.1) for rate in rates)
    assert 5e-3 in rates


def test_discriminative_rates_scale_adams_first_step() -> None:
    """Adam's first step is the learning rate, whatever the gradient."""
    rules = Trainability((Rule("value_net.*", 0.1),))
    model = build(PPO, Seams(trainability=rules), n_epochs=1, batch_size=32, learning_rate=1e-3)
    before = tensors(model)
    model.learn(32)
    step = {n: (v - before[n]).abs().max().item() for n, v in model.policy.state_dict().items()}
    assert step["value_net.bias"] == pytest.approx(1e-4, rel=0.02)
    assert step["action_net.bias"] == pytest.approx(1e-3, rel=0.05)


def test_a_rule_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(WarmstartError, match=r"mlp_extractor\.policy_net"):
        build(PPO, Seams(trainability=Trainability.frozen("mlp_extractor.polcy_net.0.weight")))


def test_piecewise_and_json() -> None:
    hold = Piecewise(((10, 0.0), (20, 1.0)))
    assert [hold(s) for s in (0, 10, 19, 20, 99)] == [0, 0, 0, 1, 1]
    line = Piecewise(((0, 0.0), (10, 1.0)), "linear")
    assert line(5) == 0.5
    rules = Trainability((Rule("a.*", 0.25), Rule("@actor", line)))
    assert read(Trainability, to_plain(rules)) == rules
    with pytest.raises(WarmstartError, match="ascending"):
        Piecewise(((5, 1.0), (2, 1.0)))


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_fresh_optimizers_forget_their_moments(cls: Any) -> None:
    model = build(cls)
    model.learn(64)
    optimizer = model.policy.optimizer if cls is PPO else model.actor.optimizer
    assert optimizer.state_dict()["state"]
    fresh_optimizers(model)
    optimizer = model.policy.optimizer if cls is PPO else model.actor.optimizer
    assert not optimizer.state_dict()["state"]
    model.learn(32, reset_num_timesteps=False)
