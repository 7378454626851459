"""PPO's values per task, as a table. Imports no torch.

The columns are what differs most; what stands at the end of a row differs from SB3's own besides. Everything
else is SB3's: clip range 0.2, value coefficient 0.5, gradient norm 0.5, 64 × 64 tanh units. Learning rates
fall to zero over training; observations and rewards are standardised, but where a row says otherwise.

How they were found: the rows of Hopper, Walker2d, HalfCheetah, Ant, Humanoid, Swimmer, Pusher and
the inverted pendulums by trying candidates around three starts (SB3's own values at 16 environments, RL Zoo's
and Tianshou's) on the seeds 1000 to 1006, some on one or two of them; those seeds are in no reported figure.
`docs/learning.md` has what was tried and what it gave. The other rows start from RL Zoo's values, with more
environments, larger batches or other rates where simulation is batched, and weren't searched.
`benchmarks/tuning.py` has the space, and searches it by Optuna: ``python benchmarks/tuning.py Hopper-v5``.
"""

from typing import Any

from warmstart.agents.settings.config import PPOConfig

COLUMNS = (
    "n_envs",
    "n_steps",
    "batch_size",
    "n_epochs",
    "learning_rate",
    "gamma",
    "gae_lambda",
    "log_std_init",
)


def row(*values: float, **others: Any) -> PPOConfig:
    """One row of the table, its numbers in the order of `COLUMNS` (the last may be left out)."""
    given: dict[str, Any] = dict(zip(COLUMNS[: len(values)], values, strict=True))
    return PPOConfig(**given, learning_rate_decay="linear", **others)


RAW: dict[str, Any] = {"normalize_obs": False, "normalize_reward": False}
"""For tasks whose observations and rewards are of size one already, as RL Zoo has them."""

# fmt: off
PPO_TASKS: dict[str, PPOConfig] = {
    #                      envs  steps  batch passes rate   γ       λ     log σ
    "HalfCheetah-v5":      row(64, 32,  256,  10,  4.2e-4, 0.98,  0.92, -1.0, adam_betas=(0.99, 0.99)),
    "Hopper-v5":           row(16, 128,  64,  10,  3e-4,  0.99,   0.95,  0.0, target_kl=0.03),
    "Walker2d-v5":         row(16, 128,  64,  10,  3e-4,  0.99,   0.95,  0.0, adam_betas=(0.99, 0.99)),
    "Ant-v5":              row(64, 32,  256,  10,  3e-4,  0.99,   0.95, -1.0),
    "Humanoid-v5":         row(64, 32,  256,  10,  3e-4,  0.99,   0.95, -1.0),
    "HumanoidStandup-v5":  row(64, 32,  512,  10,  3e-4,  0.99,   0.90, -2.0, ent_coef=3.6e-6, vf_coef=0.43,
                               max_grad_norm=0.7, clip_range=0.3, ortho_init=False, activation="relu",
                               net_arch=(256, 256)),
    "Swimmer-v5":          row(16, 256, 256,  10,  6e-4,  0.9999, 0.98),
    "Reacher-v5":          row(64, 32,  512,   5,  6e-4,  0.9,    1.0,   0.0, clip_range=0.3, vf_coef=0.95,
                               max_grad_norm=0.9),
    "Pusher-v5":           row(16, 128,  64,  10,  3e-4,  0.99,   0.95),
    # Balanced, the pendulums hardly move: standardised, a new start would lie beyond clip_obs.
    "InvertedPendulum-v5": row(16, 32,  128,   5,  6e-4,  0.999,  0.9,   0.0, clip_range=0.4, vf_coef=0.2,
                               max_grad_norm=0.3, normalize_obs=False),
    "InvertedDoublePendulum-v5":
                           row(16, 128, 64,  10,  3e-4,  0.99,   0.95,  0.0, target_kl=0.03,
                               normalize_obs=False),

    "CartPole-v1":         row(8,  32,  256,  20,  1e-3,  0.98,   0.8, clip_range_decay="linear", **RAW),
    "Acrobot-v1":          row(16, 256,  64,   4,  3e-4,  0.99,   0.94),
    "MountainCar-v0":      row(16, 16,   64,   4,  3e-4,  0.99,   0.98),
    "MountainCarContinuous-v0":
                           row(16, 64,  64,  10,  3e-4,  0.9999, 0.9,  -1.0, use_sde=True),
    "Pendulum-v1":         row(4,  1024, 64,  10,  1e-3,  0.9,    0.95,  0.0, use_sde=True,
                               sde_sample_freq=4, **RAW),
    "LunarLander-v3":      row(16, 1024, 64,   4,  3e-4,  0.999,  0.98,  0.0, ent_coef=0.01, **RAW),
    "LunarLanderContinuous-v3":
                           row(16, 1024, 64,   4,  3e-4,  0.999,  0.98,  0.0, ent_coef=0.01, **RAW),
    "BipedalWalker-v3":    row(32, 512,  64,  10,  3e-4,  0.999,  0.95,  0.0, clip_range=0.18),
}
PPO_USUAL =                row(16, 128,  64,  10,  3e-4,  0.99,   0.95)
# fmt: on
"""What a task outside the table gets: SB3's own values at 16 environments, with a falling learning rate."""

PPO_PIXELS = PPOConfig(n_envs=16, n_steps=128, batch_size=256, n_epochs=10, gamma=0.98)
"""For tasks observed in frames, where an environment step costs about a millisecond: fewer environments and
smaller batches than from states, so more gradient steps for each of them."""

PPO_PIXEL_TASKS: dict[str, PPOConfig] = {
    "HalfCheetah-v5": PPOConfig(
        n_envs=16,
        n_steps=128,
        batch_size=256,
        gamma=0.98,
        learning_rate=6e-4,
        gae_lambda=0.92,
        log_std_init=-1.0,
    ),
}
