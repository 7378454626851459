"""Milliseconds of the off-policy agents per environment step at one gradient step each, and where they go.

The peer is plain SB3 or sb3-contrib with the same values, replay buffer and environment, in this process, in
turns; medians are compared. ``products`` is the share of matrix products in the time of a step, by torch's
profiler: the bound that arithmetic sets. ``collection`` is the share of acting and simulating; 8 environments
side by side and 8 gradient steps for each 8 steps make it small, at the same ratio of updates to data.
``bfloat16`` is ``matmul_precision: medium``.
"""

import argparse
import logging
import time
from dataclasses import replace
from statistics import median
from typing import Any

from warmstart.core.threads import decide_threads

CASES = ("sac", "td3", "tqc", "crossq", "sac+simba", "crossq+simba")
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


def config_of(case: str, task: str, n_envs: int, started: int) -> Any:
    """Our default, with a short warm-up and a small buffer."""
    from warmstart.agents.settings.defaults import default_config

    name, _, network = case.partition("+")
    config: Any = default_config(name, task, network or "plain")
    steps = {"gradient_steps": -1} if n_envs > 1 else {}
    return replace(config, learning_starts=started, buffer_size=100_000, n_envs=n_envs, **steps)


def ours(case: str, task: str, n_envs: int, started: int, precision: str | None = None) -> Any:
    """Our agent."""
    from warmstart.agents.build import build_agent, make_training_env

    config = replace(config_of(case, task, n_envs, started), matmul_precision=precision)
    return build_agent(config, make_training_env(config, task, 0), 0, device="cpu")


def peer(case: str, task: str, started: int) -> Any:
    """The same values on SB3's or sb3-contrib's class, on Gymnasium's environment."""
    import sb3_contrib
    import stable_baselines3

    from warmstart.agents.build import policy_kwargs, shared_settings

    config = config_of(case, task, 1, started)
    name = config.algorithm
    classes: dict[str, Any] = {
        "sac": stable_baselines3.SAC,
        "td3": stable_baselines3.TD3,
        "tqc": sb3_contrib.TQC,
        "crossq": sb3_contrib.CrossQ,
    }
    settings = shared_settings(config) | {"policy_kwargs": policy_kwargs(config), "seed": 0, "device": "cpu"}
    settings.pop("action_noise", None)  # of TD3, a number in ours; it costs nothing
    return classes[name]("MlpPolicy", task, **settings)


def milliseconds(model: Any, steps: int) -> float:
    """Of one environment step and its update."""
    start = time.perf_counter()
    model.learn(steps, reset_num_timesteps=False)
    return (time.perf_counter() - start) / steps * 1e3


def shares(model: Any, steps: int) -> tuple[float, float]:
    """Shares of matrix products and of collection in the time of a step."""
    from torch.profiler import ProfilerActivity, profile

    collecting = 0.0
    collect = model.collect_rollouts

    def timed(*words: Any, **named: Any) -> Any:
        nonlocal collecting
        start = time.perf_counter()
        found = collect(*words, **named)
        collecting += time.perf_counter() - start
        return found

    model.collect_rollouts = timed
    start = time.perf_counter()
    model.learn(steps, reset_num_timesteps=False)
    collection = collecting / (time.perf_counter() - start)
    model.collect_rollouts = collect
    wall = milliseconds(model, steps)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        model.learn(steps, reset_num_timesteps=False)
    products = sum(e.self_cpu_time_total for e in profiler.key_averages() if e.key in PRODUCTS)
    return products / 1e3 / steps / wall, collection


def main() -> None:
    """Measure each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--task", default="HalfCheetah-v5")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=48, help="of a round")
    words = parser.parse_args()
    decide_threads(1)
    import torch

    torch.set_num_threads(1)
    logging.getLogger("mujoco").setLevel(logging.ERROR)
    started = 600
    print(f"{words.task}, one gradient step per environment step, one thread, {words.rounds} rounds in turns")
    print(f"{'':24s}{'ms':>8s}{'peer ms':>9s}{'ratio':>7s}{'products':>10s}{'collection':>12s}")
    for case in words.cases:
        models = {
            "ours": ours(case, words.task, 1, started),
            "eight": ours(case, words.task, 8, started),
            "bfloat16": ours(case, words.task, 1, started, "medium"),
        }
        if "+" not in case:
            models["peer"] = peer(case, words.task, started)
        for model in models.values():
            model.learn(started + 40)
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(words.rounds):
            for name, model in models.items():
                times[name].append(milliseconds(model, words.steps))
        found = {name: median(values) for name, values in times.items()}
        theirs = found.get("peer", float("nan"))
        for name, label in (
            ("ours", case),
            ("eight", f"{case}, 8 environments"),
            ("bfloat16", f"{case}, bfloat16"),
        ):
            products, collection = shares(models[name], words.steps)
            print(
                f"{label:24s}{found[name]:8.1f}{theirs:9.1f}{theirs / found[name]:7.2f}"
                f"{products:10.0%}{collection:12.0%}",
                flush=True,
            )
        for model in models.values():
            model.env.close()


if __name__ == "__main__":
    main()
