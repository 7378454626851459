"""Plain stable-baselines3, trained and evaluated as `learning.py` does ours, and published figures."""

import time
from typing import Any

Evaluations = dict[str, list[float]]
"""``steps``, ``returns`` and ``seconds`` of training, a number for each evaluation."""

BIG = {"log_std_init": -2, "ortho_init": False, "activation_fn": "relu", "net_arch": [256, 256]}
ZOO: dict[str, dict[str, Any]] = {
    "HalfCheetah-v5": {
        "n_steps": 512,
        "batch_size": 64,
        "gamma": 0.98,
        "learning_rate": 2.0633e-05,
        "ent_coef": 0.000401762,
        "clip_range": 0.1,
        "n_epochs": 20,
        "gae_lambda": 0.92,
        "max_grad_norm": 0.8,
        "vf_coef": 0.58096,
        "policy_kwargs": BIG,
    },
    "Hopper-v5": {
        "n_steps": 512,
        "batch_size": 32,
        "gamma": 0.999,
        "learning_rate": 9.80828e-05,
        "ent_coef": 0.00229519,
        "clip_range": 0.2,
        "n_epochs": 5,
        "gae_lambda": 0.99,
        "max_grad_norm": 0.7,
        "vf_coef": 0.835671,
        "policy_kwargs": BIG,
    },
    "Walker2d-v5": {
        "n_steps": 512,
        "batch_size": 32,
        "gamma": 0.99,
        "learning_rate": 5.05041e-05,
        "ent_coef": 0.000585045,
        "clip_range": 0.1,
        "n_epochs": 20,
        "gae_lambda": 0.95,
        "max_grad_norm": 1,
        "vf_coef": 0.871923,
    },
    "Ant-v5": {},
    "Humanoid-v5": {
        "n_steps": 512,
        "batch_size": 256,
        "gamma": 0.95,
        "learning_rate": 3.56987e-05,
        "ent_coef": 0.00238306,
        "clip_range": 0.3,
        "n_epochs": 5,
        "gae_lambda": 0.9,
        "max_grad_norm": 2,
        "vf_coef": 0.431892,
        "policy_kwargs": BIG,
    },
    "HumanoidStandup-v5": {
        "n_steps": 512,
        "batch_size": 32,
        "gamma": 0.99,
        "learning_rate": 2.55673e-05,
        "ent_coef": 3.62109e-06,
        "clip_range": 0.3,
        "n_epochs": 20,
        "gae_lambda": 0.9,
        "max_grad_norm": 0.7,
        "vf_coef": 0.430793,
        "policy_kwargs": BIG,
    },
    "Swimmer-v5": {"gamma": 0.9999},
    "InvertedPendulum-v5": {
        "n_steps": 32,
        "batch_size": 64,
        "gamma": 0.999,
        "learning_rate": 0.000222425,
        "ent_coef": 1.37976e-07,
        "clip_range": 0.4,
        "n_epochs": 5,
        "gae_lambda": 0.9,
        "max_grad_norm": 0.3,
        "vf_coef": 0.19816,
    },
    "InvertedDoublePendulum-v5": {
        "n_steps": 128,
        "batch_size": 512,
        "gamma": 0.98,
        "learning_rate": 0.000155454,
        "ent_coef": 1.05057e-06,
        "clip_range": 0.4,
        "n_epochs": 10,
        "gae_lambda": 0.8,
        "max_grad_norm": 0.5,
        "vf_coef": 0.695929,
    },
    "Reacher-v5": {
        "n_steps": 512,
        "batch_size": 32,
        "gamma": 0.9,
        "learning_rate": 0.000104019,
        "ent_coef": 7.52585e-08,
        "clip_range": 0.3,
        "n_epochs": 5,
        "gae_lambda": 1.0,
        "max_grad_norm": 0.9,
        "vf_coef": 0.950368,
    },
    "Pusher-v5": {},
}
"""RL Zoo's PPO (DLR-RM/rl-baselines3-zoo, ``hyperparams/ppo.yml`` at 00128b5), one environment, all with
``normalize: true``; those of Ant, Swimmer and Pusher are its ``mujoco-defaults``."""

PUBLISHED: dict[str, dict[tuple[str, int], dict[str, float]]] = {
    "ppo": {
        ("Tianshou v3, n=10", 1_000_000): {
            "HalfCheetah-v5": 5650,
            "Hopper-v5": 2483,
            "Walker2d-v5": 3410,
            "Ant-v5": 3141,
            "Humanoid-v5": 732,
            "Swimmer-v5": 65,
            "Reacher-v5": -5,
            "InvertedPendulum-v5": 792,
            "InvertedDoublePendulum-v5": 7770,
        },
        ("Tianshou v3, n=10", 600_000): {
            "HalfCheetah-v5": 5292,
            "Hopper-v5": 2312,
            "Walker2d-v5": 3133,
            "Ant-v5": 2156,
            "Humanoid-v5": 631,
            "Swimmer-v5": 31,
            "Reacher-v5": -6,
            "InvertedPendulum-v5": 1000,
            "InvertedDoublePendulum-v5": 7500,
        },
        ("RL Zoo v3, n=1", 1_000_000): {
            "HalfCheetah-v5": 5819,
            "Hopper-v5": 2410,
            "Walker2d-v5": 3479,
            "Ant-v5": 1327,
            "Swimmer-v5": 282,
        },
        ("FlashSAC's PPO, n=5", 1_000_000): {
            "HalfCheetah-v5": 3517,
            "Hopper-v5": 3392,
            "Walker2d-v5": 1621,
            "Ant-v5": 1033,
            "Humanoid-v5": 793,
        },
    },
    "sac": {
        ("SAC, n=10", 100_000): {
            "HalfCheetah-v5": 6156,
            "Hopper-v5": 1103,
            "Walker2d-v5": 689,
            "Ant-v5": 747,
            "Humanoid-v5": 632,
        },
    },
    "crossq": {
        ("CrossQ, n=10", 100_000): {
            "HalfCheetah-v5": 8112,
            "Hopper-v5": 2764,
            "Walker2d-v5": 3913,
            "Ant-v5": 2299,
            "Humanoid-v5": 2602,
        },
    },
}
"""By algorithm, who published it and the step: mean returns. Means at the step from public
result files: thu-ml/tianshou's benchmark, DLR-RM/rl-baselines3-zoo's ``benchmark.md`` at 0088472,
dojeon-ai/SimbaV2 at 14fafb2, Holiday-Robot/FlashSAC at 87edc90; their tasks are v3 and v4."""


def peers_of(algorithm: str, task: str) -> tuple[str, ...]:
    """Ways in which plain SB3 or sb3-contrib trains it: its own defaults, and RL Zoo's values where known."""
    if algorithm == "ppo":
        return ("sb3", "zoo") if task in ZOO else ("sb3",)
    return () if "+" in algorithm else ("sb3",)  # it has no simba network


def settings_of(peer: str, algorithm: str, task: str) -> dict[str, Any]:
    """What SB3's constructor gets."""
    if peer != "zoo" or algorithm != "ppo":
        return {}
    import torch

    found = dict(ZOO[task])
    if "policy_kwargs" in found:
        found["policy_kwargs"] = {**found["policy_kwargs"], "activation_fn": torch.nn.ReLU}
    return found


def train_peer(
    peer: str, algorithm: str, seed: int, task: str, steps: int, every: int, episodes: int
) -> Evaluations:
    """Train plain SB3.

    Args:
        peer: ``sb3``: its own defaults; ``zoo``: RL Zoo's values, with VecNormalize.
        algorithm: ``ppo``, ``sac``, ``td3``, ``tqc`` or ``crossq``.
        seed: Of everything.
        task: Gymnasium's id.
        steps: Environment steps.
        every: Steps between two evaluations.
        episodes: Of an evaluation, whose time doesn't count.
    """
    import torch
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    from warmstart.agents.checkpoints.architecture import SB3_ALGORITHMS
    from warmstart.agents.checkpoints.policy import Policy
    from warmstart.agents.evaluation import Evaluator
    from warmstart.envs.tasks.task import Task

    torch.set_num_threads(1)
    env: Any = make_vec_env(task, n_envs=1, seed=seed)
    if peer == "zoo":
        env = VecNormalize(env, gamma=settings_of(peer, algorithm, task).get("gamma", 0.99))
    cls: Any = SB3_ALGORITHMS[algorithm]
    model = cls("MlpPolicy", env, seed=seed, device="cpu", **settings_of(peer, algorithm, task))
    evaluator = Evaluator(Task.parse(task), episodes, 10_000)
    curve: Evaluations = {"steps": [], "returns": [], "seconds": []}
    start, evaluating = time.perf_counter(), 0.0

    def look(step: int) -> None:
        nonlocal evaluating
        before = time.perf_counter()
        curve["seconds"].append(before - start - evaluating)
        curve["steps"].append(step)
        curve["returns"].append(float(evaluator.run(Policy.from_model(model)).returns.mean()))
        model.policy.set_training_mode(False)
        evaluating += time.perf_counter() - before

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps % every < self.training_env.num_envs and self.num_timesteps < steps:
                look(self.num_timesteps // every * every)
            return True

    look(0)
    model.learn(steps, callback=Look())
    look(steps)
    env.close()
    return curve
