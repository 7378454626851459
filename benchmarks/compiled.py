"""Does compiling PPO's update change what is learned? Ten seeds with and without, paired by seed.

HalfCheetah-v5 with its tuned settings. The final return is the mean over 32 evaluation episodes of the
deterministic policy. The bar: the 90% t interval of the paired difference, as a fraction of the mean return,
lies within ±15%.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

TASK = "HalfCheetah-v5"
BOUND = 0.15


def train(seed: int, compiled: bool, steps: int) -> float:
    """Train one agent in this process; its final return."""
    from dataclasses import replace

    from warmstart.core.threads import decide_threads

    decide_threads(1)
    from warmstart.agents.build import build_agent, make_training_env
    from warmstart.agents.checkpoints.policy import Policy
    from warmstart.agents.evaluation import evaluate
    from warmstart.agents.settings.defaults import default_config

    config = replace(default_config("ppo", TASK), compile=compiled)
    model = build_agent(config, make_training_env(config, TASK, seed), seed, device="cpu")
    model.learn(steps)
    return evaluate(Policy.from_model(model), TASK, episodes=32, seed=10_000).mean


def main() -> int:
    """Train all agents, print returns and interval; 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=150_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        seed, compiled = arguments.one
        print(json.dumps(train(seed, bool(compiled), arguments.steps)))
        return 0

    def trained(job: tuple[int, bool]) -> float:
        one = ["--one", str(job[0]), str(int(job[1]))]
        command = [sys.executable, __file__, "--steps", str(arguments.steps), *one]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(done.stdout.splitlines()[-1])

    jobs = [(seed, compiled) for seed in range(arguments.seeds) for compiled in (False, True)]
    with ThreadPoolExecutor(arguments.workers) as pool:
        returns = list(pool.map(trained, jobs))
    return report(returns[0::2], returns[1::2])


def report(plain: list[float], compiled: list[float]) -> int:
    """Print the table; 1 if the bar is missed."""
    import numpy as np

    from warmstart.experiments.analysis.statistics import paired_t

    print(f"{TASK}: final return by seed")
    for seed, pair in enumerate(zip(plain, compiled, strict=True)):
        print(f"  seed {seed}: {pair[0]:8.0f} uncompiled {pair[1]:8.0f} compiled")
    mean = float(np.mean(plain))
    interval = paired_t(np.array(compiled) - np.array(plain), level=0.9).interval
    low, high = interval.low / mean, interval.high / mean
    holds = max(-low, high) <= BOUND
    print(
        f"  mean {mean:.0f} and {np.mean(compiled):.0f}; 90% interval of the difference "
        f"{low:+.1%} to {high:+.1%} (within ±{BOUND:.0%}: {'yes' if holds else 'NO'})"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
