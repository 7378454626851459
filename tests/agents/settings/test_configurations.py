"""Configurations, tuned defaults, building agents, threads."""

import dataclasses
import json
import logging
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecNormalize

from tests.agents.conftest import DictTask, gym_env, vectorise
from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.normalization import FastVecNormalize
from warmstart.agents.settings.config import ALGORITHMS, PPOConfig, SACConfig, TD3Config, config_from_json
from warmstart.agents.settings.defaults import STATES, default_config, untuned
from warmstart.core.bounds import SettingError
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import replaced
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study

TABLES: dict[str, Any] = {name: tasks for name, (_, tasks) in STATES.items()}
CASES = [(name, task) for name, table in TABLES.items() for task in table]


@pytest.mark.parametrize(("algorithm", "task"), CASES)
def test_every_tuned_default_builds_an_agent(
    algorithm: str, task: str, request: pytest.FixtureRequest
) -> None:
    if task.startswith(("LunarLander", "BipedalWalker")):
        request.getfixturevalue("box2d")
    config = default_config(algorithm, task)
    assert config_from_json(json.loads(json.dumps(config.to_json()))) == config
    small = {"n_envs": 2} | ({} if algorithm == "ppo" else {"buffer_size": 10})
    if algorithm == "ppo":
        small |= {"batch_size": 2}
    config = dataclasses.replace(config, **small)  # type: ignore[arg-type]
    env = make_training_env(config, task, seed=1)
    agent = build_agent(config, env, seed=1)
    assert agent.gamma == config.gamma
    assert isinstance(env, VecNormalize) == config.normalize
    env.close()


def test_the_context_does_not_change_the_defaults() -> None:
    assert default_config("ppo", "HalfCheetah-v5@gravity=x0.5") == default_config("PPO", "HalfCheetah-v5")


@pytest.mark.parametrize("name", ["a2c", "DQN", "trpo", "ddpg", "MaskablePPO"])
def test_other_algorithms_are_refused_by_name(name: str) -> None:
    with pytest.raises(WarmstartError, match=f"{name} is not supported, only ppo, sac, td3"):
        default_config(name, "CartPole-v1")


def test_unknown_names_and_values_are_errors() -> None:
    with pytest.raises(WarmstartError, match="Did you mean 'ppo'"):
        default_config("ppo2", "CartPole-v1")
    with pytest.raises(WarmstartError, match="Did you mean 'learning_rate'"):
        config_from_json({"algorithm": "sac", "learnin_rate": 1.0})
    with pytest.raises(WarmstartError, match="gamma: expected a number from 0 to 1, found 2"):
        PPOConfig(gamma=2)
    with pytest.raises(WarmstartError, match="minibatch of one"):
        PPOConfig(n_envs=5, n_steps=5, batch_size=12)
    with pytest.raises(WarmstartError, match="stochastic"):
        TD3Config(use_sde=True)


@pytest.mark.parametrize("cls", ALGORITHMS.values())
def test_configurations_written_with_a_retired_setting_are_read(cls: Any) -> None:
    assert config_from_json(cls().to_json() | {"compile": "auto"}) == cls()
    with pytest.raises(SettingError, match="Unknown setting 'compile'"):
        replaced(cls(), {"compile": False})


@pytest.mark.parametrize("cls", ALGORITHMS.values())
def test_every_field_is_explained(cls: Any) -> None:
    import inspect

    source = "".join(inspect.getsource(base) for base in cls.__mro__ if base.__module__ == cls.__module__)
    for field in dataclasses.fields(cls):
        declarations = source.split(f"    {field.name}: ")[1:]
        assert any('"""' in text.split("\n")[1] for text in declarations), field.name


def test_algorithm_and_action_space_have_to_fit() -> None:
    for config in (SACConfig(n_envs=1), TD3Config(n_envs=1)):
        with pytest.raises(
            WarmstartError, match=r"takes Box actions, the environment has Discrete\(2\): use ppo"
        ):
            build_agent(config, gym_env("CartPole-v1", 1), 0)
    with pytest.raises(WarmstartError, match="no VecNormalize around"):
        build_agent(PPOConfig(n_envs=1), gym_env("Hopper-v5", 1), 0)
    with pytest.raises(WarmstartError, match="use_sde takes continuous"):
        build_agent(
            PPOConfig(use_sde=True, normalize_obs=False, normalize_reward=False), gym_env("CartPole-v1", 1), 0
        )


def test_dict_observations_and_the_device(caplog: pytest.LogCaptureFixture) -> None:
    config = PPOConfig(n_envs=2, n_steps=16, batch_size=16, normalize_obs=False, normalize_reward=False)
    with caplog.at_level(logging.INFO):
        agent = build_agent(config, vectorise(DictTask, 2), 0)
    assert agent.device.type == "cpu"
    assert "gains nothing from a GPU" in caplog.text
    agent.learn(32)


def test_settings_reach_the_agent() -> None:
    config = SACConfig(
        n_envs=2,
        learning_rate=2e-3,
        learning_rate_decay="linear",
        ent_coef_init=0.3,
        random_steps=0,
        net_arch=(12,),
        critic_net_arch=(14, 15),
        n_critics=3,
        buffer_size=64,
    )
    env = make_training_env(config, "Hopper-v5", 0)
    agent: Any = build_agent(config, env, 0)
    assert agent.log_ent_coef.exp().item() == pytest.approx(0.3)
    assert agent.lr_schedule(0.5) == pytest.approx(1e-3)
    assert agent.random_steps == 0
    shapes = {name: tuple(value.shape) for name, value in agent.policy.state_dict().items()}
    assert shapes["actor.latent_pi.0.weight"] == (12, 11)
    assert shapes["critic.qf2.2.weight"] == (15, 14)
    agent.learn(10)
    td3 = TD3Config(n_envs=1, action_noise=0.25, buffer_size=8)
    noisy: Any = build_agent(td3, make_training_env(td3, "Hopper-v5", 0), 0)
    assert np.allclose(noisy.action_noise._sigma, 0.25)
    plain = PPOConfig(n_envs=2, n_steps=8, batch_size=16)
    assert isinstance(make_training_env(plain, "Hopper-v5", 0), FastVecNormalize)


@pytest.mark.parametrize(
    ("cls", "settings", "said"),
    [
        (PPOConfig, {"policy_kwargs": {"clip_mean": 2.0}}, "Unknown entry of policy_kwargs 'clip_mean'"),
        (TD3Config, {"policy_kwargs": {"use_expln": True}}, "Unknown entry of policy_kwargs 'use_expln'"),
        (PPOConfig, {"policy_kwargs": {"squash_output": True}}, "squash_output needs use_sde"),
    ],
)
def test_arguments_that_the_algorithms_policy_lacks_are_refused(cls, settings, said) -> None:
    with pytest.raises(WarmstartError, match=said):
        cls(**settings)


def test_a_configuration_without_further_arguments_is_written_as_before() -> None:
    """So that the hashes of trials that were made before there were any stay."""
    assert "policy_kwargs" not in PPOConfig().to_json()
    more = PPOConfig(use_sde=True, policy_kwargs={"full_std": False})
    assert more.to_json()["policy_kwargs"] == {"full_std": False}


def test_what_has_no_tuned_values_is_said() -> None:
    assert untuned("ppo", "Taxi-v3") == "No values were tuned for Taxi-v3 with ppo: its usual ones are taken."
    assert untuned("sac", "Ant-v5@gravity=x0.5") == untuned("ppo", "CartPole-v1") == ""
    assert "InvertedPendulum" not in untuned("sac", "InvertedPendulum-v5")
    assert "HalfCheetah-v5 in frames with sac" in untuned("sac", "warmstart/HalfCheetah-v5:obs=pixels")
    assert untuned("sac", "BipedalWalker-v3").startswith("No values were tuned for BipedalWalker-v3 with sac")
    made = make_plan(Study(name="ice", target="FrozenLake-v1", target_steps=64, seeds=1, arms=["scratch"]))
    assert any("No values were tuned for FrozenLake-v1" in note for note in made.notes)
    assert "Hopper-v5 in frames with ppo" in untuned("ppo", "Hopper-v5:obs=pixels")
    again = {"name": "sac"}
    made = make_plan(
        Study(name="w", target="BipedalWalker-v3", target_steps=64, algorithm=again, arms=["scratch"])
    )
    assert any("BipedalWalker-v3 with sac" in note for note in made.notes)


def test_what_is_no_number_on_a_scale_isnt_standardised(caplog: pytest.LogCaptureFixture) -> None:
    config = dataclasses.replace(default_config("ppo", "FrozenLake-v1"), n_envs=2, n_steps=8, batch_size=8)
    with caplog.at_level(logging.INFO, "warmstart"):
        env = make_training_env(config, "FrozenLake-v1", 0)
    assert "Discrete(16) of FrozenLake-v1 isn't standardised" in caplog.text
    assert isinstance(env, VecNormalize)
    assert not env.norm_obs
    build_agent(config, env, 0).learn(16)
    env.close()
