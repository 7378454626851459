"""Hyperparameters tuned per task. Imports no torch.

The start is RL Zoo's published set (DLR-RM/rl-baselines3-zoo, ``hyperparams/{ppo,sac,td3}.yml``, tuned for MuJoCo
v2 to v4 with one environment). What differs says why.
"""

from dataclasses import replace
from typing import Any

from warmstart.agents.config import AlgorithmConfig, PPOConfig, SACConfig, TD3Config, config_class
from warmstart.envs.tasks import Task

ZOO_NET: dict[str, Any] = {
    "log_std_init": -2.0,
    "ortho_init": False,
    "activation": "relu",
    "net_arch": (256, 256),
}
"""Zoo's networks for the tasks it tuned."""

PPO_MUJOCO = PPOConfig(n_envs=64, n_steps=128, batch_size=1024, n_epochs=10)
"""SB3's defaults over 64 environments.

Zoo has one environment, 512 steps and batches of 32 to 64. A batched simulation is several times faster per step
with many environments, and so is a large minibatch per sample; 8,192 transitions per rollout in eight minibatches
take the place of 512 in eight. The larger batch carries a larger learning rate.
"""

PPO_TASKS: dict[str, PPOConfig] = {
    "HalfCheetah-v5": PPO_MUJOCO,
    "Hopper-v5": PPO_MUJOCO,
    "Walker2d-v5": PPO_MUJOCO,
    "Ant-v5": PPO_MUJOCO,
}

SAC_MUJOCO = SACConfig(learning_starts=10_000)
"""Zoo's set for all MuJoCo tasks."""

SAC_TASKS: dict[str, SACConfig] = {
    "Swimmer-v5": replace(SAC_MUJOCO, gamma=0.9999),
}

TD3_MUJOCO = TD3Config(learning_starts=10_000, batch_size=256)
TD3_TASKS: dict[str, TD3Config] = {}


def default_config(algorithm: str, task: Task | str) -> AlgorithmConfig:
    """The configuration an agent gets unless told otherwise."""
    task = Task.parse(task) if isinstance(task, str) else task
    name = task.id.removeprefix("warmstart/")
    config_class(algorithm)
    if algorithm.lower() == "ppo":
        return PPO_TASKS.get(name, PPO_MUJOCO)
    if algorithm.lower() == "sac":
        return SAC_TASKS.get(name, SAC_MUJOCO)
    return TD3_TASKS.get(name, TD3_MUJOCO)
