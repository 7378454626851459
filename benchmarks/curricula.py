"""Curricula against uniform randomization at equal steps, on a task small enough for two cores.

InvertedPendulum with episodes of 200 steps, a motor from a twentieth to eight times its strength, damping
from half to twenty times; an episode is a success from a return of 190 on. Printed: the share of the ranges
in use at the end, the success rate of the last hundred training episodes, and the final agent's success rate
over draws of the whole ranges and in the nominal task. Bar: ADR and DORAEMON widen their ranges without
losing the constraint.
"""

import argparse
from typing import Any

import numpy as np

from warmstart.core.threads import available_cores, decide_threads

decide_threads(1)

from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.evaluation import play_once
from warmstart.agents.settings.defaults import default_config
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization.randomization import Randomization, read_terms
from warmstart.sim2real.world import training_world

TASK = Task.parse("InvertedPendulum-v5:time_limit=200")
RANGES = {
    "gear": {"range": "x0.05:x8", "distribution": "log_uniform"},
    "damping": {"range": "x0.5:x20", "distribution": "log_uniform"},
}
SUCCESS = 190
ARMS: dict[str, dict[str, Any]] = {
    "nominal": {},
    "uniform": {"randomize": RANGES},
    "paced": {"randomize": RANGES, "curriculum": {"method": "paced", "success": SUCCESS}},
    "ADR": {
        "randomize": RANGES,
        "curriculum": {"method": "adr", "success": SUCCESS, "t_low": 150, "buffer": 20, "delta": 0.2},
    },
    "DORAEMON": {
        "randomize": RANGES,
        "curriculum": {"method": "doraemon", "success": SUCCESS, "alpha": 0.5, "epsilon": 0.5},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400_000)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    print(f"{TASK}, {args.steps:,} steps, means of {args.seeds} seeds")
    print(f"{'':10} {'range in use':>12} {'training success':>17} {'whole range':>12} {'nominal':>8}")
    for name, world in ARMS.items():
        rows = np.array([train(world, args.steps, seed) for seed in range(args.seeds)])
        width, training, whole, nominal = (f"{100 * v:.0f}%" if v == v else "" for v in rows.mean(axis=0))
        print(f"{name:10} {width:>12} {training:>17} {whole:>12} {nominal:>8}", flush=True)


def train(world: dict[str, Any], steps: int, seed: int) -> tuple[float, float, float, float]:
    """Train PPO; returns width, success rate in training, over the whole ranges and in the nominal task."""
    config = default_config("ppo", TASK)
    made = training_world(world, TASK, seed)
    env = make_training_env(
        config, TASK, seed, n_threads=available_cores(), context_source=made.context_source
    )
    model = build_agent(config, env, seed, "cpu", Seams(feedback=made.feedback))
    model.learn(steps)
    policy = Policy.from_model(model)
    told = {} if made.curriculum is None else made.curriculum.snapshot()
    recent = [episode["r"] >= SUCCESS for episode in model.ep_info_buffer or ()]
    source = Randomization(read_terms(RANGES)[0], 99)
    rates = [success_rate(policy, source), success_rate(policy, None)]
    env.close()
    width = float(told.get("width", 1.0 if world else 0.0))
    return width, float(np.mean(recent)), rates[0], rates[1]


def success_rate(policy: Policy, source: Randomization | None, episodes: int = 256) -> float:
    """Share of successful episodes."""
    env = make_vec(TASK, episodes, n_threads=available_cores(), context_source=source)
    returns, _ = play_once(policy, env, range(1000, 1000 + episodes))
    env.close()
    return float((returns >= SUCCESS).mean())


if __name__ == "__main__":
    main()
