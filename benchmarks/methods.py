"""What transfer methods cost: training throughput beside plain fine-tuning, on the same task, in turns.

    python benchmarks/methods.py
    python benchmarks/methods.py --algorithm sac --steps 600

Each method's agent is warm-started from the same small source, then learns; preparing isn't counted. One
torch thread; medians over rounds in which every method has its turn. Bars: loss terms and guides at least
0.85 of fine-tuning's speed, residual and LoRA at least 0.9.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from warmstart.core.threads import decide_threads

TASK = "HalfCheetah-v5"
METHODS: dict[str, dict[str, Any]] = {
    "fine_tune": {},
    "l2_sp": {},
    "ewc": {"fisher_steps": 200},
    "kickstart": {"fade": "never"},
    "kickstart, carried": {"method": "kickstart", "fade": "never", "start": "carried"},
    "jump_start": {"updates": 0},
    "residual": {},
    "residual, 32 units": {"method": "residual", "new_units": 32},
    "progressive": {},
    "lora": {},
    "input_adapter": {},
    "gradual_unfreezing": {},
    "qdagger": {"updates": 0},
    "rlpd": {"data_steps": 2_000},
}
BARS = {"residual": 0.9, "residual, 32 units": 0.9, "progressive": 0.9, "lora": 0.9}


def agent(algorithm: str, method: Any, source: Any) -> tuple[Any, Any]:
    """An agent of the task's defaults, warm-started; its fit left out."""
    from warmstart.agents.build import build_agent, make_training_env
    from warmstart.agents.settings.defaults import default_config
    from warmstart.envs.tasks.task import Task
    from warmstart.transfer.warm_start import warm_start

    config: Any = default_config(algorithm, TASK)
    env = make_training_env(config, Task.parse(TASK), 0, n_threads=1)
    seams = None if method is None else method.seams(source)
    model = build_agent(config, env, 0, device="cpu", seams=seams)
    report = None if method is None else warm_start(model, source, method, seed=0)
    return model, report


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--algorithm", default="ppo", choices=("ppo", "sac", "td3"))
    parser.add_argument("--steps", type=int, default=24_576, help="of learning in each turn")
    parser.add_argument("--rounds", type=int, default=5)
    words = parser.parse_args()
    decide_threads(1)
    from warmstart.agents.checkpoints.checkpoint import save_checkpoint
    from warmstart.agents.loading import load_checkpoint
    from warmstart.transfer.table import make_method

    with tempfile.TemporaryDirectory() as folder:
        model, _ = agent(words.algorithm, None, None)
        path = save_checkpoint(model, Path(folder) / "source", task=TASK)
        source = load_checkpoint(path)
        agents: dict[str, tuple[Any, Any]] = {}
        for name, options in METHODS.items():
            given = {"method": name, **options}
            kind = type(make_method(given["method"]))
            if words.algorithm not in kind.algorithms:
                continue
            fits = given.get("start") == "carried" or given["method"] not in ("kickstart", "rlpd")
            given |= {"critic_fit_steps": 0, "warm_up_steps": 0} if fits else {}
            agents[name] = agent(words.algorithm, make_method(given), source)
        took: dict[str, list[float]] = {name: [] for name in agents}
        for turn in range(words.rounds + 1):
            for name, (model, report) in agents.items():
                start, before = time.perf_counter(), model.num_timesteps
                model.learn(words.steps, reset_num_timesteps=False, callback=report.callback)
                if turn:  # the first is for caches and buffers
                    took[name].append((model.num_timesteps - before) / (time.perf_counter() - start))
    base = statistics.median(took["fine_tune"])
    print(f"{words.algorithm} on {TASK}, steps per second, median of {words.rounds} turns\n")
    print("| method | steps/s | of fine_tune | bar | |\n|---|---|---|---|---|")
    for name, values in took.items():
        speed = statistics.median(values)
        bar = BARS.get(name, 0.85)
        told = "" if name == "fine_tune" else "met" if speed / base >= bar else "missed"
        print(f"| {name} | {speed:,.0f} | {speed / base:.2f} | {bar} | {told} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
