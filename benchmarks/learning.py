"""What our defaults learn, means at the step, beside plain stable-baselines3 and published figures.

    python benchmarks/learning.py --tasks Hopper-v5 --steps 600000 --seeds 3
    python benchmarks/learning.py --tasks mujoco --steps 1000000 --seeds 10 --peer-seeds 3
    python benchmarks/learning.py --tasks Ant-v5 --algorithms sac sac+simba --steps 100000 --seeds 5

Every task and algorithm is a study of one cold arm in ``--out``, plain SB3 (its own defaults, and RL Zoo's
values) a training of the same length, evaluated in the same way; the same command continues after an
interruption. Seeds are 0, 1, …: no search has seen them (`tuning.py` uses 1000 and on). Writes
``learning.md`` and ``learning.png``, curves over steps and over seconds of training. Seconds compare only
where nothing else ran beside it.
"""

import argparse
import json
import logging
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from learning_peers import PUBLISHED, jobs, peers_of, train_peer
from numpy.typing import NDArray

from warmstart.core.threads import available_cores, decide_threads

MUJOCO = tuple(
    f"{name}-v5"
    for name in [
        "HalfCheetah",
        "Hopper",
        "Walker2d",
        "Ant",
        "Humanoid",
        "HumanoidStandup",
        "Swimmer",
        "Reacher",
        "Pusher",
        "InvertedPendulum",
        "InvertedDoublePendulum",
    ]
)
EPISODES = 16


@dataclass(frozen=True)
class Curves:
    """Evaluations of one contender on one task."""

    name: str
    steps: NDArray[np.float64]
    """Shape: (points,)."""
    returns: NDArray[np.float64]
    """Mean of each evaluation. Shape: (seeds, points)."""
    seconds: NDArray[np.float64]
    """Of training up to it. Shape: (seeds, points)."""

    def at(self, step: int) -> NDArray[np.float64]:
        """Returns of the last evaluation up to a step. Shape: (seeds,)."""
        found: NDArray[np.float64] = self.returns[:, np.flatnonzero(self.steps <= step)[-1]]
        return found

    def seconds_to(self, bar: float) -> float:
        """Seconds until the mean over the seeds first reaches a return; NaN for never."""
        reached = np.flatnonzero(self.returns.mean(0) >= bar)
        return float(self.seconds[:, reached[0]].mean()) if len(reached) else float("nan")


def ours(task: str, algorithm: str, words: Any, every: int) -> Curves:
    """Train our default, or read what a run has already; ``sac+simba`` is SAC with the simba network."""
    from warmstart.experiments.run.reading import load_run
    from warmstart.experiments.run.run import run_study
    from warmstart.experiments.study.study import Study

    folder = words.out / f"{task}-{algorithm}-{words.steps}".replace("/", "_")
    name, _, network = algorithm.partition("+")
    study = Study(
        name=folder.name,
        target=task,
        target_steps=words.steps,
        algorithm={"name": name, "network": network} if network else name,
        seeds=list(range(words.seeds)),
        arms=["scratch"],
        evaluation={"every": every, "episodes": EPISODES, "seed": 10_000},
    )
    run_study(study, folder, workers=words.workers)
    found = sorted((c for c in load_run(folder).curves if c.complete), key=lambda curve: curve.seed)
    numbers = (np.stack([getattr(curve, name) for curve in found]) for name in ("returns", "seconds"))
    return Curves(f"warmstart {algorithm}", found[0].steps.astype(float), *numbers)


def theirs(task: str, algorithm: str, words: Any, every: int) -> list[Curves]:
    """Train plain SB3 as often as asked."""
    peers = tuple(peer for peer in words.peers if peer in peers_of(algorithm, task))
    if not peers:
        return []
    listed = list(jobs(task, algorithm, peers, words.peer_seeds, words.steps, every, words.out))
    with ProcessPoolExecutor(words.workers, mp_context=get_context("spawn")) as pool:
        asked = [
            pool.submit(train_peer, peer, algorithm, task, seed, words.steps, every, EPISODES, path)
            for peer, seed, path in listed
        ]
        for each in asked:
            each.result()
    found = []
    for peer in peers:
        held = [json.loads(path.read_text()) for name, _, path in listed if name == peer]
        numbers = (np.array([each[key] for each in held]) for key in ("returns", "seconds"))
        name = {"sb3": f"SB3 {algorithm}, own defaults", "zoo": f"SB3 {algorithm}, RL Zoo's values"}[peer]
        found.append(Curves(name, np.array(held[0]["steps"]), *numbers))
    return found


def rows(task: str, algorithm: str, found: list[Curves], points: list[int]) -> list[str]:
    """Lines of the table for one task."""
    published = PUBLISHED.get(algorithm.partition("+")[0], {})
    bar = next((values[task] for _, values in published.values() if task in values), float("nan"))
    lines = []
    for each in found:
        cells = []
        for point in points:
            values = each.at(point)
            cells.append(f"{values.mean():,.1f} ± {values.std(ddof=min(1, len(values) - 1)):,.1f}")
        worst = f"{each.at(points[-1]).min():,.1f}"
        reached = each.seconds_to(bar)
        cells += [
            worst,
            f"{each.seconds[:, -1].mean():,.0f}",
            f"{reached:,.0f}" if reached == reached else "–",
        ]
        lines.append(f"| {task} | {each.name}, n={len(each.returns)} | {' | '.join(cells)} |")
    for who, (step, values) in published.items():
        if task in values:
            cells = [f"{values[task]:,.0f}" if step == point else "" for point in points]
            lines.append(f"| {task} | *{who}* | {' | '.join([*cells, '', '', ''])} |")
    return lines


def draw(found: dict[str, list[Curves]], path: Path) -> None:
    """Curves of every task, over steps on the left and over seconds of training on the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(found), 2, figsize=(10, 3 * len(found)), squeeze=False)
    for (title, curves), (left, right) in zip(found.items(), axes, strict=True):
        for each in curves:
            mean, spread = each.returns.mean(0), each.returns.std(0)
            (line,) = left.plot(each.steps, mean, label=each.name)
            left.fill_between(each.steps, mean - spread, mean + spread, color=line.get_color(), alpha=0.15)
            right.plot(each.seconds.mean(0), mean, color=line.get_color(), label=each.name)
        left.set_title(title, loc="left", fontsize=10)
        left.set_xlabel("steps")
        right.set_xlabel("seconds of training")
        left.legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> int:
    """Train what isn't trained yet, and write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["mujoco"], help="ids, or mujoco for all eleven")
    parser.add_argument("--algorithms", nargs="+", default=["ppo"])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--peers", nargs="*", default=["sb3", "zoo"], choices=("sb3", "zoo"))
    parser.add_argument("--peer-seeds", type=int, default=3)
    parser.add_argument("--at", type=int, nargs="*", help="steps of the table's columns; 60%% and the end")
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    words = parser.parse_args()
    if min(words.seeds, words.peer_seeds, words.steps, words.workers) < 1:
        parser.error("expected at least one seed, one step and one worker.")
    decide_threads(1)
    logging.getLogger("warmstart").setLevel(logging.ERROR)
    tasks = [task for word in words.tasks for task in (MUJOCO if word == "mujoco" else (word,))]
    every = max(1, words.steps // 20)
    points = words.at or [words.steps * 3 // 5, words.steps]
    found: dict[str, list[Curves]] = {}
    columns = [
        "task",
        "agent",
        *(f"at {p:,}" for p in points),
        "worst seed",
        "seconds",
        "seconds to published",
    ]
    table = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for task in tasks:
        for algorithm in words.algorithms:
            curves = [ours(task, algorithm, words, every), *theirs(task, algorithm, words, every)]
            found[f"{task} · {algorithm}"] = curves
            table += rows(task, algorithm, curves, points)
            print("\n".join(rows(task, algorithm, curves, points)), flush=True)
    words.out.mkdir(parents=True, exist_ok=True)
    (words.out / "learning.md").write_text("\n".join(table) + "\n")
    draw(found, words.out / "learning.png")
    print("\n" + "\n".join(table) + f"\n\nPicture: {words.out / 'learning.png'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("learning.py: interrupted. The same command goes on where it was.", file=sys.stderr)
        sys.exit(130)
