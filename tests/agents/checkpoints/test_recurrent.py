"""Zips of RecurrentPPO: they act as sb3-contrib's do, and say why they start no other agent."""

import contextlib
from typing import Any

import gymnasium
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3

from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.checkpoints.policy import Policy, RecurrentPolicy
from warmstart.agents.evaluation import Evaluator, evaluate
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.sb3_files.written import write_sb3_zip
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study
from warmstart.transfer.warm_start import warm_start

TASK = "InvertedPendulum-v5"
KWARGS: list[dict[str, Any]] = [
    {},
    {"lstm_hidden_size": 12, "n_lstm_layers": 2, "enable_critic_lstm": False, "shared_lstm": True},
]


@pytest.fixture(params=KWARGS, ids=["usual", "shared"])
def model(request: Any) -> Any:
    made = sb3_contrib.RecurrentPPO(
        "MlpLstmPolicy",
        TASK,
        n_steps=32,
        batch_size=16,
        policy_kwargs={"net_arch": [8], **({"lstm_hidden_size": 16} | request.param)},
        device="cpu",
        seed=0,
    )
    return made.learn(64)


def played(model: Any, seed: int) -> tuple[float, int]:
    """An episode as sb3-contrib plays it."""
    env = gymnasium.make(TASK)
    observation, _ = env.reset(seed=seed)
    state, start, total, length = None, np.ones(1, bool), 0.0, 0
    while True:
        action, state = model.predict(observation, state, start, deterministic=True)
        observation, reward, terminated, truncated, _ = env.step(action)
        total, length, start = total + float(reward), length + 1, np.zeros(1, bool)
        if terminated or truncated:
            return total, length


def test_it_remembers_within_an_episode_and_not_beyond(model: Any, tmp_path: Any) -> None:
    model.save(tmp_path / "recurrent.zip")
    found = load_checkpoint(tmp_path / "recurrent.zip")
    assert found.algorithm == "recurrent_ppo"
    again = load_checkpoint(save_checkpoint(found, tmp_path / "ours"))
    assert again.fingerprint() == found.fingerprint()
    for checkpoint in (found, again):
        result = evaluate(checkpoint.policy(), TASK, episodes=3, seed=5)
        expected = [played(model, seed) for seed in (5, 6, 7)]
        np.testing.assert_allclose(result.returns, [total for total, _ in expected])
        assert result.lengths.tolist() == [length for _, length in expected]


def test_a_model_evaluated_as_it_is_remembers_too(model: Any, tmp_path: Any) -> None:
    model.save(tmp_path / "recurrent.zip")
    expected = evaluate(
        load_checkpoint(tmp_path / "recurrent.zip").policy(), TASK, episodes=3, seed=5
    ).returns
    policy = Policy.from_model(model)
    with contextlib.closing(Evaluator(Task.parse(TASK), 3, 5)) as evaluator:
        for _ in range(2):
            np.testing.assert_allclose(evaluator.run(policy).returns, expected)
            policy = load_checkpoint(tmp_path / "recurrent.zip").policy()


def test_environments_begin_anew_one_by_one(model: Any, tmp_path: Any) -> None:
    model.save(tmp_path / "recurrent.zip")
    policy = load_checkpoint(tmp_path / "recurrent.zip").policy()
    assert isinstance(policy, RecurrentPolicy)
    observations = np.random.default_rng(0).normal(size=(4, 2, 4))
    together = []
    for step, each in enumerate(observations):
        if step == 2:
            policy.reset(np.array([False, True]))
        together.append(policy.predict(each))
    state = None
    for step, each in enumerate(observations):
        starts = np.array([step == 0, step in (0, 2)])
        expected, state = model.predict(each, state, starts, deterministic=True)
        np.testing.assert_allclose(together[step], expected, rtol=1e-5)
    first = policy.predict(observations[0, 0])  # one in place of two: another loop
    np.testing.assert_allclose(first, model.predict(observations[0, 0], deterministic=True)[0], rtol=1e-5)


def test_an_environment_that_is_reset_alone_begins_anew_alone(model: Any, tmp_path: Any) -> None:
    model.save(tmp_path / "recurrent.zip")
    policy = load_checkpoint(tmp_path / "recurrent.zip").policy()
    env = policy.wrap(make_vec(TASK, 2, 0, n_threads=1))
    observations, _ = env.reset(seed=0)
    first = policy.predict(observations)
    env.reset(options={"reset_mask": np.array([False, True])})
    again = policy.predict(observations)
    np.testing.assert_allclose(again[1], first[1], rtol=1e-5)
    assert not np.allclose(again[0], first[0], rtol=1e-5, atol=0)
    env.close()


def test_what_cant_be_carried_is_said(model: Any, tmp_path: Any) -> None:
    model.save(tmp_path / "recurrent.zip")
    target = stable_baselines3.PPO("MlpPolicy", TASK, n_steps=8, batch_size=8, device="cpu")
    with pytest.raises(WarmstartError, match="neither the LSTM nor what reads it can be carried over"):
        warm_start(target, tmp_path / "recurrent.zip", source_task=TASK)
    study = Study(name="s", source=str(tmp_path / "recurrent.zip"), target=TASK, target_steps=64, seeds=1)
    with pytest.raises(WarmstartError, match="source: The source is a policy of RecurrentPPO"):
        make_plan(study)
    with pytest.raises(WarmstartError, match="recurrent_ppo can be read, not written"):
        write_sb3_zip(load_checkpoint(tmp_path / "recurrent.zip"), tmp_path / "out.zip")
