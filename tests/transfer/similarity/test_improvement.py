"""The step that is tried: its arithmetic by hand, its length, its sign where it is certain, who has none."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import kl_divergence

from tests.transfer.conftest import build, disturb
from tests.transfer.methods.test_every_method import OURS
from warmstart.envs.tasks.task import Task
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.source import read_source
from warmstart.transfer.similarity.improvement import (
    STEP,
    Sampler,
    distribution,
    improvement,
    lambda_returns,
    step,
    used,
    worth,
)
from warmstart.transfer.similarity.playing import Played, play, teacher_for

TASK = "InvertedPendulum-v5:time_limit=100"


def teacher(algorithm, envs, task=TASK):
    model = disturb(build(algorithm, envs(task), seed=1, classes=OURS))
    return teacher_for(read_source(model), Task.parse(task), TransferContext(np.random.default_rng(0)))


def test_advantages_and_returns_by_hand() -> None:
    running = np.array([[1, 1], [1, 1], [1, 0]], bool)  # the first runs out of time, the second falls
    empty, ended = np.zeros((3, 2, 1)), np.array([False, True])
    played = Played(np.zeros(2), empty, empty, np.array([[1.0, 1], [2, 2], [9, 9]]), running, ended)
    values = np.array([[10.0, 10], [20, 20], [40, 40]])
    assert used(played).astype(int).tolist() == [[1, 1], [1, 1], [0, 0]]
    advantages, returns = lambda_returns(played, values, 0.5)
    # δ: 1 + 10 − 10 and 2 + 20 − 20 before the time limit, 1 + 10 − 10 and 2 − 20 before the fall; γλ = .475
    np.testing.assert_allclose(advantages, [[1 + 0.475 * 2, 1 - 0.475 * 18], [2, -18], [0, 0]])
    np.testing.assert_allclose(returns, [[11.95, 2.45], [22, 2], [0, 0]])


def bandit(envs, reward):
    """A played task in which an action earns something at once and changes nothing."""
    asked = teacher("ppo", envs)
    sampler, rng = Sampler(asked), np.random.default_rng(0)
    torch.manual_seed(0)
    for _ in range(200):
        sampler(rng.normal(size=(8, 4)))
    chosen = torch.stack(sampler.chosen).numpy()
    plain, steps = np.zeros((200, 8, 1)), np.ones((200, 8), bool)
    return (
        asked,
        sampler,
        Played(np.zeros(8), plain, plain, reward(chosen[..., 0], rng), steps, np.ones(8, bool)),
    )


def gained(envs, reward):
    asked, sampler, played = bandit(envs, reward)
    folds = [worth(asked.policy.module, sampler, played, np.arange(8) % 2 == fold, 0.0, 0) for fold in (0, 1)]
    return np.concatenate(folds)


def test_the_sign_where_improvement_is_certain(envs) -> None:
    found = gained(envs, lambda actions, _: actions)
    # a Gaussian that moves by δ has the divergence δ² / 2σ²: at best each of 200 steps earns σ √(2 · STEP)
    module = teacher("ppo", envs).policy.module
    std = distribution(module, torch.zeros(1, 4)).stddev.item()
    best = 200 * std * math.sqrt(2 * STEP)
    assert 0.7 * best < found.mean() < 1.1 * best
    assert (found > 0).all()


def test_nothing_is_gained_where_actions_earn_nothing(envs) -> None:
    noise = gained(envs, lambda actions, rng: rng.normal(size=actions.shape))
    assert abs(noise.mean()) < 3 * noise.std(ddof=1) / math.sqrt(8)
    assert np.abs(gained(envs, lambda actions, _: np.ones_like(actions))).max() < 1e-6


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "tqc", "crossq"])
def test_the_step_is_as_long_as_said_and_changes_no_policy(algorithm, envs) -> None:
    asked = teacher(algorithm, envs)
    before = {name: value.clone() for name, value in asked.policy.module.state_dict().items()}
    sampler = Sampler(asked)
    torch.manual_seed(0)
    played = play(Task.parse(TASK), sampler, 4, seed=0)
    low, high = -3.0, 3.0
    assert (played.actions >= low).all()
    assert (played.actions <= high).all()
    assert played.actions.std() > 0
    inputs, chosen = torch.stack(sampler.inputs).flatten(0, 1), torch.stack(sampler.chosen).flatten(0, 1)
    stepped = step(asked.policy.module, inputs, chosen, np.random.default_rng(0).normal(size=len(chosen)))
    pair = [distribution(module, inputs) for module in (asked.policy.module, stepped)]
    assert kl_divergence(*pair).sum(1).mean().item() == pytest.approx(STEP, rel=0.01)
    for name, value in asked.policy.module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    found, steps = improvement(asked, Task.parse(TASK), 20.0, 0.99, 4, seed=0)
    assert found.low < found.value < found.high
    assert steps == played.steps
    again, _ = improvement(asked, Task.parse(TASK), 20.0, 0.99, 4, seed=0)
    assert again == found
    wider, _ = improvement(asked, Task.parse(TASK), 40.0, 0.99, 4, seed=0)
    assert wider.value == pytest.approx(found.value / 2)


def test_discrete_actions_have_a_step_too(envs) -> None:
    task = "CartPole-v1"
    found, steps = improvement(teacher("ppo", envs, task), Task.parse(task), 20.0, 0.99, 8, seed=0)
    assert math.isfinite(found.value)
    assert steps > 8


@pytest.mark.parametrize(
    ("algorithm", "gain", "episodes", "said"),
    [
        ("td3", 1.0, 8, "left out for TD3, whose policy is deterministic"),
        ("ppo", 0.0, 8, "no better than chance in its own task"),
        ("ppo", 1.0, 3, "fewer than 4 episodes"),
    ],
)
def test_who_has_none_says_why(algorithm, gain, episodes, said, envs) -> None:
    found, steps = improvement(teacher(algorithm, envs), Task.parse(TASK), gain, 0.99, episodes, seed=0)
    assert math.isnan(found.value)
    assert said in found.meaning
    assert steps == 0
