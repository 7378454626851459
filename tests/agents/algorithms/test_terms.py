"""Loss terms in closed form: hand-computed values, and the same update by autograd and without it."""

import math

import gymnasium
import numpy as np
import pytest
import torch

from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.algorithms.sac import SAC
from warmstart.agents.algorithms.seams import Experience, GuideActions, LossBatch, Seams
from warmstart.agents.algorithms.td3 import TD3
from warmstart.agents.algorithms.terms import ActionTargets, ActionTerm, ParameterPenalty, divergence


class ToConstant(ActionTerm):
    """Pulls every action to 0.5, and leaves the last out."""

    name = "constant"

    def __init__(self, coefficient):
        self.weight = coefficient

    def coefficient(self, model):
        return self.weight

    def targets(self, model, observations):
        size = (len(observations), model.action_space.shape[0])
        weight = torch.ones(size)
        weight[:, 1:] = 0
        return ActionTargets(torch.full(size, 0.5), torch.full(size, -1.0), weight)


class ToConstantByAutograd(ToConstant):
    """The same, which the update can't know."""

    def loss(self, model, batch):
        return super().loss(model, batch) * 1.0


class PenaltyByAutograd(ParameterPenalty):
    """The same, which the update can't know."""

    def loss(self, model, batch):
        return super().loss(model, batch) * 1.0


def trained(terms, task="Reacher-v5", steps=128, **settings):
    torch.set_num_threads(1)
    env = gymnasium.make(task)
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=64,
        batch_size=16,
        n_epochs=2,
        seed=0,
        seams=Seams(loss_terms=terms),
        **settings,
    )
    for term in terms:
        if isinstance(term, ParameterPenalty):
            named = dict(model.policy.named_parameters())
            term.anchor(
                model, {name: torch.full_like(p, 2.0) for name, p in named.items() if "policy" in name}
            )
    model.learn(steps)
    return model


def states(model):
    return model.policy.state_dict()


def test_the_fast_update_takes_the_same_steps_as_autograd() -> None:
    fast = trained((ToConstant(0.7), ParameterPenalty("pull", 0.1)))
    slow = trained((ToConstantByAutograd(0.7), PenaltyByAutograd("pull", 0.1)))
    without = trained(())
    assert fast._update is not None
    assert slow._update is None
    for name, value in states(fast).items():
        torch.testing.assert_close(value, states(slow)[name], rtol=1e-4, atol=1e-5)
    assert not torch.equal(states(fast)["action_net.weight"], states(without)["action_net.weight"])
    for key in ("constant", "pull"):
        logged, same = (m.logger.name_to_value[f"train/{key}"] for m in (fast, slow))
        assert logged == pytest.approx(same, rel=1e-3)


def test_coefficients_of_zero_change_no_bit() -> None:
    found = trained((ToConstant(0.0), ParameterPenalty("pull", 0.0)))
    assert found._update is not None
    for name, value in states(trained(())).items():
        assert torch.equal(value, states(found)[name]), name


@pytest.mark.parametrize("cls", [PPO, SAC, TD3])
def test_a_penalty_is_half_the_weighted_squared_distance(cls) -> None:
    model = cls("MlpPolicy", gymnasium.make("Pendulum-v1"), seed=0)
    name = "action_net.bias" if cls is PPO else ("actor.mu.bias" if cls is SAC else "actor.mu.4.bias")
    parameter = dict(model.policy.named_parameters())[name]
    term = ParameterPenalty("pull", 3.0)
    term.anchor(model, {name: torch.tensor([2.0])})
    with torch.no_grad():
        parameter += 0.5
    batch = LossBatch(torch.zeros(1, 3), torch.zeros(1, 1), 0)
    assert term.loss(model, batch).item() == pytest.approx(3.0 / 2 * 2.0 * 0.25)
    parameter.requires_grad_(False)
    assert term.loss(model, batch).item() == 0.0


def test_divergences_by_hand() -> None:
    observations = torch.zeros(2, 3)
    targets = ActionTargets(torch.full((2, 1), 0.5), torch.full((2, 1), math.log(0.5)), torch.ones(2, 1))
    model = PPO("MlpPolicy", gymnasium.make("Pendulum-v1"), seed=0)
    with torch.no_grad():
        model.policy.action_net.weight.zero_()
    # KL(N(.5, .5²) ‖ N(0, 1)) = log 2 + (.25 + .25) / 2 − 1/2
    assert divergence(model, observations, targets).item() == pytest.approx(
        math.log(2) + 0.25 - 0.5, abs=1e-6
    )
    sac = SAC("MlpPolicy", gymnasium.make("Pendulum-v1"), seed=0)
    with torch.no_grad():
        for layer, bias in ((sac.actor.mu, 0.0), (sac.actor.log_std, math.log(2.0))):
            layer.weight.zero_()
            layer.bias.fill_(bias)
    # KL(N(.5, .5²) ‖ N(0, 2²)) = log 4 + (.25 + .25) / 8 − 1/2
    assert divergence(sac, observations, targets).item() == pytest.approx(
        math.log(4) + 0.0625 - 0.5, abs=1e-6
    )
    td3 = TD3("MlpPolicy", gymnasium.make("Pendulum-v1"), seed=0)
    with torch.no_grad():
        td3.actor.mu[-2].weight.zero_()
        td3.actor.mu[-2].bias.zero_()
    assert divergence(td3, observations, targets).item() == pytest.approx(0.125)
    cart = PPO("MlpPolicy", gymnasium.make("CartPole-v1"), seed=0)
    with torch.no_grad():
        cart.policy.action_net.weight.zero_()
    logits = torch.log(torch.tensor([[0.9, 0.1]]))
    aim = ActionTargets(logits, logits, torch.ones(1, 1))
    expected = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert divergence(cart, torch.zeros(1, 4), aim).item() == pytest.approx(expected, abs=1e-6)


class Guide(Experience):
    """Acts in the first steps of every episode; PPO doesn't learn from it."""

    def __init__(self, learn):
        self.learn = learn

    def guide(self, observations, episode_steps, step):
        mask = episode_steps < 20
        return GuideActions(np.full((len(mask), 2), 0.9, np.float32), mask, learn=self.learn)


@pytest.mark.parametrize("terms", [(), (ToConstantByAutograd(0.0),)])
def test_steps_of_a_guide_are_left_out_of_the_loss(terms) -> None:
    env = gymnasium.make("Reacher-v5")
    kwargs = {"n_steps": 60, "batch_size": 15, "n_epochs": 1, "seed": 0}
    model = PPO("MlpPolicy", env, seams=Seams(experience=Guide(learn=False), loss_terms=terms), **kwargs)
    seen = []
    inner = model._minibatches

    def watched(rows):
        for batch in inner(rows):
            seen.append(batch.actions)
            yield batch

    model._minibatches = watched
    model.learn(60)
    # an episode has 50 steps: 20 of the first and 10 of the second are the guide's
    assert int((~model._left_out).sum()) == 30
    if terms:
        assert torch.cat(seen).shape[0] == 30
        assert not (torch.cat(seen) == 0.9).all(1).any()
    assert model._n_updates == 1
    only = PPO("MlpPolicy", env, seams=Seams(experience=Guide(learn=False)), **{**kwargs, "n_steps": 15})
    before = {name: value.clone() for name, value in states(only).items()}
    only.learn(15)
    assert all(torch.equal(value, before[name]) for name, value in states(only).items())


def test_fast_and_slow_leave_out_the_same() -> None:
    def run(terms):
        seams = Seams(experience=Guide(learn=False), loss_terms=terms)
        model = PPO(
            "MlpPolicy",
            gymnasium.make("Reacher-v5"),
            n_steps=60,
            batch_size=30,
            n_epochs=1,
            seed=0,
            seams=seams,
        )
        return model.learn(120)

    fast, slow = run(()), run((ToConstantByAutograd(0.0),))
    for name, value in states(fast).items():
        torch.testing.assert_close(value, states(slow)[name], rtol=1e-3, atol=2e-4)
