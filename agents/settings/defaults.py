"""Hyperparameters tuned per task. Imports no torch.

The start is RL Zoo's published set (DLR-RM/rl-baselines3-zoo, ``hyperparams/{ppo,sac,td3}.yml``, tuned for
MuJoCo v2 to v4 with one environment). What differs says why.
"""

from collections.abc import Mapping
from dataclasses import replace

from warmstart.agents.settings.config import (
    AlgorithmConfig,
    CrossQConfig,
    OffPolicyConfig,
    PPOConfig,
    SACConfig,
    TD3Config,
    TQCConfig,
    config_class,
)
from warmstart.core.bounds import State
from warmstart.envs.frames.options import sees_pixels
from warmstart.envs.tasks.task import Task

PPO_MUJOCO = PPOConfig(
    n_envs=64, n_steps=32, batch_size=512, n_epochs=10, learning_rate=6e-4, learning_rate_decay="linear"
)
"""For MuJoCo tasks that Zoo trains with SB3's defaults (Ant, Pusher).

Zoo has one environment, 512 or 2048 steps and batches of 32 to 64. Simulation and update cost several times
less per step with 64 environments and larger batches, so 2,048 transitions per rollout are 64 × 32, in
four minibatches; with four to sixteen times fewer gradient steps the learning rate is larger than Zoo's.
"""

PPO_SMALL = PPOConfig(
    n_envs=16, n_steps=128, batch_size=64, n_epochs=10, learning_rate=3e-4, learning_rate_decay="linear"
)
"""SB3's own values at 16 environments, with a learning rate that falls: eight times as many gradient steps as
``PPO_MUJOCO``. Hopper and Walker2d stand still with fewer, and with Zoo's discounting (γ .999, λ .99).

What else is in their rows keeps them from falling back late in training. Returns at 1,000,000 steps of the
seeds 1000, 1001 and 1002, as tried one by one (`benchmarks/tuning.py` has the space):

| | Hopper | Walker2d |
|---|---|---|
| as here | 3,592, 989 | 4,173, 1,705 |
| ``target_kl`` .03 | **3,437, 3,509, 3,559** | slow |
| ``adam_betas`` .99, .99 | 1,152, 2,183, 2,667 | **3,853, 4,613, 4,761** |
| 32 environments, batch 128 | 3,515, 2,840, 2,249 | 2,900, 800 |
"""

CHEETAH = replace(PPO_MUJOCO, gamma=0.98, gae_lambda=0.92, log_std_init=-1.0)
"""Zoo's discounting. Zoo's 256 × 256 ReLU networks, log σ = -2, clip range of 0.1 and weights go with its
20 passes over small batches. SB3's 64 × 64 tanh networks and weights with log σ = -1 and ten passes cost a
third and did no worse in 600,000 steps (one seed: 6,600 against 5,500)."""

PPO_TASKS: dict[str, PPOConfig] = {
    "HalfCheetah-v5": CHEETAH,
    "Hopper-v5": replace(PPO_SMALL, target_kl=0.03),
    "Walker2d-v5": replace(PPO_SMALL, adam_betas=(0.99, 0.99)),
    "Ant-v5": replace(PPO_MUJOCO, learning_rate=3e-4, log_std_init=-1.0),
    "Humanoid-v5": replace(
        PPO_MUJOCO,
        gamma=0.95,
        gae_lambda=0.9,
        ent_coef=2.4e-3,
        vf_coef=0.43,
        max_grad_norm=2.0,
        clip_range=0.3,
        n_epochs=5,
        learning_rate=3e-4,
        log_std_init=-2.0,
        ortho_init=False,
        activation="relu",
        net_arch=(256, 256),
    ),
    "HumanoidStandup-v5": replace(
        PPO_MUJOCO,
        gae_lambda=0.9,
        ent_coef=3.6e-6,
        vf_coef=0.43,
        max_grad_norm=0.7,
        clip_range=0.3,
        learning_rate=3e-4,
        log_std_init=-2.0,
        ortho_init=False,
        activation="relu",
        net_arch=(256, 256),
    ),
    "Swimmer-v5": replace(
        PPO_MUJOCO, n_envs=16, n_steps=256, batch_size=256, gamma=0.9999, gae_lambda=0.98
    ),
    "InvertedPendulum-v5": replace(
        PPO_MUJOCO, n_envs=16, n_steps=32, batch_size=128, gamma=0.999, gae_lambda=0.9, clip_range=0.4,
        n_epochs=5, ent_coef=1.4e-7, vf_coef=0.2, max_grad_norm=0.3,
    ),
    "InvertedDoublePendulum-v5": replace(
        PPO_MUJOCO, n_envs=16, n_steps=64, batch_size=256, gamma=0.98, gae_lambda=0.8, clip_range=0.4,
        ent_coef=1.1e-6, vf_coef=0.7,
    ),
    "Reacher-v5": replace(
        PPO_MUJOCO, gamma=0.9, gae_lambda=1.0, clip_range=0.3, n_epochs=5, ent_coef=7.5e-8, vf_coef=0.95,
        max_grad_norm=0.9,
    ),
}  # fmt: skip
"""Zoo's discount factors, clip ranges, passes and weights of each task.

Learning rates, batches and numbers of environments follow ``PPO_MUJOCO``. Zoo's large networks stay where
observations are large (humanoids). The pendulums and the swimmer need few steps, or long horizons, so they
have fewer environments."""

CARTPOLE = PPOConfig(
    n_envs=8,
    n_steps=32,
    batch_size=256,
    gae_lambda=0.8,
    gamma=0.98,
    n_epochs=20,
    learning_rate=1e-3,
    learning_rate_decay="linear",
    clip_range_decay="linear",
    normalize_obs=False,
    normalize_reward=False,
)
"""Zoo's set, unchanged."""

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

PPO_PIXELS = PPOConfig(n_envs=16, n_steps=128, batch_size=256, n_epochs=10, gamma=0.98)
"""For tasks observed in frames, where an environment step costs about a millisecond: fewer environments and
smaller batches than from states, so more gradient steps for each of them."""

PPO_PIXEL_TASKS: dict[str, PPOConfig] = {
    "HalfCheetah-v5": replace(PPO_PIXELS, learning_rate=6e-4, gae_lambda=0.92, log_std_init=-1.0),
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

PPO_TASKS["CartPole-v1"] = CARTPOLE
PPO_TASKS["Acrobot-v1"] = PPOConfig(n_envs=16, n_steps=256, batch_size=64, gae_lambda=0.94, n_epochs=4)


Table = tuple[AlgorithmConfig, Mapping[str, AlgorithmConfig]]
"""What most tasks get, and what some get by name."""
STATES: dict[str, Table] = {
    "ppo": (PPO_MUJOCO, PPO_TASKS),
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
    task = Task.parse(task) if isinstance(task, str) else task
    name = task.id.removeprefix("warmstart/")
    cls = config_class(algorithm)
    if sees_pixels(task) and cls.algorithm in PIXELS:
        usual, tasks = PIXELS[cls.algorithm]
    else:
        usual, tasks = STATES[cls.algorithm]
    config = tasks.get(name, usual)
    return replace(config, **SIMBA) if network == "simba" and isinstance(config, OffPolicyConfig) else config
