"""What keeping the training state costs: its share of the time, the longest stop, bytes on the disk.

Each case trains for some minutes as a trial does, with a state at the default intervals (the first after
20 s, then every 60 s, or as rarely as 2% of the time ask for), into a folder of this disk. Replay buffers are
filled beforehand. The peer is what SB3's documentation gives, ``save`` and ``save_replay_buffer`` at the same
moments, in the same process; it keeps neither the environments nor the generators.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from warmstart.core.threads import decide_threads

CASES = {"ppo": 0, "sac, 300k": 300_000, "sac, 1M": 1_000_000}
TASK = "HalfCheetah-v5"


def build(case: str, filled: int) -> Any:
    """An agent as a trial builds it, with a replay buffer that holds so many transitions."""
    import numpy as np

    from warmstart.agents.build import build_agent, make_training_env
    from warmstart.agents.settings.defaults import default_config

    config: Any = default_config(case.partition(",")[0], TASK)
    if filled:
        config = replace(config, buffer_size=filled, learning_starts=100)
    model: Any = build_agent(config, make_training_env(config, TASK, 0), 0, device="cpu")
    if filled:
        buffer, rng = model.replay_buffer, np.random.default_rng(0)
        for name in ("observations", "next_observations", "actions", "rewards"):
            array = getattr(buffer, name)
            array[...] = rng.standard_normal(array.shape, np.float32).clip(-1, 1)
        buffer.full = True
    return model


def measure(model: Any, folder: Path, seconds: float) -> dict[str, float]:
    """Train for so long, and say what keeping the state took."""
    from stable_baselines3.common.callbacks import BaseCallback

    from warmstart.agents.resuming.training_state import training_state
    from warmstart.experiments.records.records import TRAINING
    from warmstart.experiments.trial.resuming import StateKeeper

    keeper = StateKeeper(
        folder, lambda: (model.num_timesteps, {"agent": training_state(model)}), lambda: True
    )
    stops: list[float] = []
    peer: list[float] = []
    end = time.perf_counter() + seconds

    def keep() -> None:
        start = time.perf_counter()
        before = keeper._due
        keeper()
        stops.append(time.perf_counter() - start)
        if keeper._due != before:
            peer.append(saved_by_sb3(model, folder))

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            return time.perf_counter() < end

    model.before_rollout = keep
    start = time.perf_counter()
    model.learn(1 << 40, callback=Watch())
    total = time.perf_counter() - start - sum(peer)
    size = sum(each.stat().st_size for each in (folder / TRAINING).rglob("*") if each.is_file())
    return {
        "states": len(peer),
        "share": sum(stops) / (total - sum(stops)),
        "longest": max(stops),
        "later": max(sorted(stops)[-len(peer) : -1], default=0.0),
        "size": size / 2**20,
        "peer": max(peer),
    }


def saved_by_sb3(model: Any, folder: Path) -> float:
    """Seconds of SB3's own saving, which pickles everything each time."""
    start = time.perf_counter()
    seams, model.before_rollout = model.before_rollout, None
    model.save(folder / "model.zip")
    if getattr(model, "replay_buffer", None) is not None:
        model.save_replay_buffer(folder / "replay.pkl")
    model.before_rollout = seams
    return time.perf_counter() - start


def main() -> None:
    """Measure, and print a line for each case."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    options.add_argument("--seconds", type=float, default=200.0)
    chosen = options.parse_args()
    decide_threads(1)
    print(
        f"{'case':>10} {'states':>7} {'share':>7} {'first stop':>11} {'longest later':>14} {'on disk':>9} "
        f"{'SB3 saves in':>13} {'ratio':>6}"
    )
    for case in chosen.cases:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(build(case, CASES[case]), Path(folder), chosen.seconds)
        print(
            f"{case:>10} {found['states']:7.0f} {found['share']:7.2%} {found['longest'] * 1e3:8.0f} ms "
            f"{found['later'] * 1e3:11.0f} ms {found['size']:5.0f} MiB {found['peer'] * 1e3:10.0f} ms "
            f"{found['later'] / found['peer']:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
