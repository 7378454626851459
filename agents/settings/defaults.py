"""The values that an agent gets unless told otherwise. Imports no torch.

PPO's stand in a table of their own (`warmstart.agents.settings.ppo`). The off-policy algorithms start from RL
Zoo's published sets (DLR-RM/rl-baselines3-zoo, ``hyperparams/{sac,td3,tqc}.yml``); what differs says why.
"""

from collections.abc import Mapping
from dataclasses import replace

from warmstart.agents.settings.config import (
    AlgorithmConfig,
    CrossQConfig,
    OffPolicyConfig,
    SACConfig,
    TD3Config,
    TQCConfig,
    config_class,
)
from warmstart.agents.settings.ppo import PPO_PIXEL_TASKS, PPO_PIXELS, PPO_TASKS, PPO_USUAL
from warmstart.core.bounds import State
from warmstart.envs.frames.options import sees_pixels
from warmstart.envs.tasks.task import Task

SAC_MUJOCO = SACConfig(learning_starts=10_000)
"""Zoo's set for all MuJoCo tasks."""

PENDULUM_OFF_POLICY: State = {"learning_starts": 1_000, "buffer_size": 100_000}
"""The pendulums are learned within 10,000 steps, where Zoo's warm-up for the walkers would only end."""

PENDULUMS = ("InvertedPendulum-v5", "InvertedDoublePendulum-v5", "Reacher-v5")

SAC_TASKS: dict[str, SACConfig] = {
    "Swimmer-v5": replace(SAC_MUJOCO, gamma=0.9999),
    **{name: replace(SAC_MUJOCO, **PENDULUM_OFF_POLICY) for name in PENDULUMS},
    "Pendulum-v1": SACConfig(learning_rate=1e-3),
}

TD3_MUJOCO = TD3Config(learning_starts=10_000)
"""Zoo's set for all MuJoCo tasks: 400 × 300 networks, noise of 0.1, one gradient step per step."""

TD3_TASKS: dict[str, TD3Config] = {
    "Swimmer-v5": replace(TD3_MUJOCO, gamma=0.9999),
    **{name: replace(TD3_MUJOCO, **PENDULUM_OFF_POLICY) for name in PENDULUMS},
}

SAC_PIXELS = SACConfig(learning_starts=1_000, buffer_size=30_000)
"""For tasks observed in frames: 30,000 transitions of three stacked 84-pixel frames are 3.8 GB; with features
a hundred times as many would fit."""

TD3_PIXELS = TD3Config(learning_starts=1_000, buffer_size=30_000)
"""The same for TD3."""

TQC_MUJOCO = TQCConfig(learning_starts=10_000)
"""Zoo's set for all MuJoCo tasks."""

TQC_TASKS: dict[str, TQCConfig] = {
    "Swimmer-v5": replace(TQC_MUJOCO, gamma=0.9999),
    **{name: replace(TQC_MUJOCO, **PENDULUM_OFF_POLICY) for name in PENDULUMS},
}

CROSSQ_MUJOCO = CrossQConfig(learning_starts=5_000)
"""sb3-contrib's values with the warm-up of the paper's code (1902.05605)."""

CROSSQ_TASKS: dict[str, CrossQConfig] = {
    "Swimmer-v5": replace(CROSSQ_MUJOCO, gamma=0.9999),
    **{name: replace(CROSSQ_MUJOCO, **PENDULUM_OFF_POLICY) for name in PENDULUMS},
}

Table = tuple[AlgorithmConfig, Mapping[str, AlgorithmConfig]]
"""What most tasks get, and what some get by name."""
STATES: dict[str, Table] = {
    "ppo": (PPO_USUAL, PPO_TASKS),
    "sac": (SAC_MUJOCO, SAC_TASKS),
    "td3": (TD3_MUJOCO, TD3_TASKS),
    "tqc": (TQC_MUJOCO, TQC_TASKS),
    "crossq": (CROSSQ_MUJOCO, CROSSQ_TASKS),
}
"""By algorithm, for tasks that are observed as states."""
PIXELS: dict[str, Table] = {
    "ppo": (PPO_PIXELS, PPO_PIXEL_TASKS),
    "sac": (SAC_PIXELS, {}),
    "td3": (TD3_PIXELS, {}),
    "tqc": (TQCConfig(learning_starts=1_000, buffer_size=30_000), {}),
}
"""The same for tasks that are observed in frames."""


SIMBA: State = {
    "network": "simba",
    "normalize_obs": True,
    "net_arch": (128,),
    "critic_net_arch": (256, 256),
    "weight_decay": 0.01,
}
"""What the simba network changes."""


def default_config(algorithm: str, task: Task | str, network: str = "plain") -> AlgorithmConfig:
    """The configuration that an agent gets unless told otherwise.

    Args:
        algorithm: One of `ALGORITHMS`.
        task: What is trained in. Of its options only the kind of observation matters, its physical context
            doesn't: a cold and a warm arm train with the same values.
        network: ``simba`` for values that go with its networks; off-policy algorithms only.

    Raises:
        WarmstartError: If the algorithm is unknown or not supported.
    """
    usual, tasks, name = _table(algorithm, task)
    config = tasks.get(name, usual)
    return replace(config, **SIMBA) if network == "simba" and isinstance(config, OffPolicyConfig) else config


def untuned(algorithm: str, task: Task | str) -> str:
    """Say that no values were tuned for a task, or nothing where some were.

    Raises:
        WarmstartError: If the algorithm is unknown or not supported.
    """
    task = Task.parse(task) if isinstance(task, str) else task
    _, tasks, name = _table(algorithm, task)
    mujoco = config_class(algorithm).algorithm != "ppo" and name in PPO_TASKS and name.endswith("-v5")
    if name in tasks or (
        mujoco and not sees_pixels(task)
    ):  # the usual off-policy values are those for MuJoCo
        return ""
    seen = " in frames" if sees_pixels(task) else ""
    return f"No values were tuned for {name}{seen} with {algorithm.lower()}: its usual ones are taken."


def _table(algorithm: str, task: Task | str) -> tuple[AlgorithmConfig, Mapping[str, AlgorithmConfig], str]:
    """The usual values, those of tasks, and under which name a task's stand."""
    task = Task.parse(task) if isinstance(task, str) else task
    cls = config_class(algorithm)
    tables = PIXELS if sees_pixels(task) and cls.algorithm in PIXELS else STATES
    return *tables[cls.algorithm], task.id.removeprefix("warmstart/")
