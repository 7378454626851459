"""What our defaults learn, means at the step, beside plain stable-baselines3 and published figures.

    python benchmarks/learning.py --tasks Hopper-v5 --steps 600000 --seeds 3
    python benchmarks/learning.py --tasks mujoco --steps 1000000 --seeds 10 --peer-seeds 3
    python benchmarks/learning.py --tasks Ant-v5 --algorithms sac sac+simba --steps 100000 --seeds 5

Every task and algorithm is a study of one cold arm in ``--out``, plain SB3 (its own defaults, and RL Zoo's
values) a training of the same length, evaluated in the same way; the same command continues after an
interruption. Curves are kept in ``--record``: seeds that it has for the same values aren't trained again, and
``--recorded`` prints what it has. Seeds are 0, 1, …: no search has seen them (`tuning.py` uses 1000 and
on). Writes ``learning.md`` and ``learning.png``, curves over steps and over seconds of training. Seconds
compare only where nothing else ran beside it.
"""

import argparse
import json
import logging
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from learning_peers import PUBLISHED, ZOO, Evaluations, peers_of, train_peer
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError
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

    @classmethod
    def of(cls, name: str, by_seed: dict[int, Evaluations]) -> "Curves":
        """Stack the seeds' evaluations, which were made at the same steps."""
        held = [by_seed[seed] for seed in sorted(by_seed)]
        steps = np.array(held[0]["steps"] if held else [])
        return cls(name, steps, *(np.array([each[key] for each in held]) for key in ("returns", "seconds")))

    def at(self, step: int) -> NDArray[np.float64]:
        """Returns of the last evaluation up to a step. Shape: (seeds,)."""
        found: NDArray[np.float64] = self.returns[:, np.flatnonzero(self.steps <= step)[-1]]
        return found

    def seconds_to(self, bar: float) -> float:
        """Seconds until the mean over the seeds first reaches a return; NaN for never."""
        reached = np.flatnonzero(self.returns.mean(0) >= bar)
        return float(self.seconds[:, reached[0]].mean()) if len(reached) else float("nan")


@dataclass
class Record:
    """Curves by contender and seed, in a JSON file with a line for each."""

    path: Path
    curves: dict[str, dict[str, Evaluations]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read a file; nothing where there is none."""
        return cls(path, json.loads(path.read_text()) if path.is_file() else {})

    def known(self, contender: str) -> dict[int, Evaluations]:
        """Curves of a contender by seed."""
        return {int(seed): curve for seed, curve in self.curves.get(contender, {}).items()}

    def add(self, contender: str, seed: int, curve: Evaluations) -> None:
        """Keep a curve, and write the file."""
        rounded = {key: [round(value, 1) for value in values] for key, values in curve.items()}
        self.curves.setdefault(contender, {})[str(seed)] = rounded
        lines = []
        for name in sorted(self.curves):
            seeds = sorted(self.curves[name].items(), key=lambda pair: int(pair[0]))
            listed = ",\n".join(f"  {json.dumps(seed)}: {json.dumps(held)}" for seed, held in seeds)
            lines.append(f" {json.dumps(name)}: {{\n{listed}\n }}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def contender(task: str, agent: str, steps: int, settings: Any) -> str:
    """Name of what a curve belongs to: another setting is another contender."""
    from warmstart.core.files import json_hash

    return f"{task} {agent} {steps} {json_hash(settings)[:8]}"


def ours(task: str, algorithm: str, words: Any, every: int, record: Record) -> Curves:
    """Train our default on the seeds that the record lacks; ``sac+simba`` is SAC with the simba network."""
    from warmstart.agents.settings.defaults import default_config
    from warmstart.core.plain import to_plain
    from warmstart.experiments.run.reading import load_run
    from warmstart.experiments.run.run import run_study
    from warmstart.experiments.study.study import Study

    name, _, network = algorithm.partition("+")
    settings = to_plain(default_config(name, task, network or "plain"))
    key = contender(task, f"warmstart {algorithm}", words.steps, settings)
    missing = [] if words.recorded else [s for s in range(words.seeds) if s not in record.known(key)]
    if missing:
        folder = words.out / f"{task}-{algorithm}-{words.steps}-{key[-8:]}".replace("/", "_")
        study = Study(
            name=folder.name,
            target=task,
            target_steps=words.steps,
            algorithm={"name": name, "network": network} if network else name,
            seeds=missing,
            arms=["scratch"],
            evaluation={"every": every, "episodes": EPISODES, "seed": 10_000},
        )
        try:
            run_study(study, folder, workers=words.workers)
        finally:  # what an interruption left whole is kept, too
            for curve in load_run(folder).curves if (folder / "trials.json").is_file() else ():
                if curve.complete:
                    keys = ("steps", "returns", "seconds")
                    held = {key: [float(x) for x in getattr(curve, key)] for key in keys}
                    record.add(key, curve.seed, held)
    return Curves.of(f"warmstart {algorithm}", record.known(key))


def theirs(task: str, algorithm: str, words: Any, every: int, record: Record) -> list[Curves]:
    """Train plain SB3 on as many seeds as asked, but for those that the record has."""
    found = []
    for peer in (peer for peer in words.peers if peer in peers_of(algorithm, task)):
        key = contender(task, f"{peer} {algorithm}", words.steps, ZOO.get(task) if peer == "zoo" else {})
        missing = [s for s in range(words.peer_seeds) if s not in record.known(key)]
        if missing and not words.recorded:
            with ProcessPoolExecutor(words.workers, mp_context=get_context("spawn")) as pool:
                fixed = (task, words.steps, every, EPISODES)
                asked = {seed: pool.submit(train_peer, peer, algorithm, seed, *fixed) for seed in missing}
                for seed, each in asked.items():
                    record.add(key, seed, each.result())
        name = {"sb3": f"SB3 {algorithm}, own defaults", "zoo": f"SB3 {algorithm}, RL Zoo's values"}[peer]
        found.append(Curves.of(name, record.known(key)))
    return found


def rows(task: str, algorithm: str, found: list[Curves], points: list[int]) -> list[str]:
    """Lines of the table for one task."""
    published = PUBLISHED.get(algorithm.partition("+")[0], {})
    bar = next(
        (values[task] for (_, p), values in published.items() if p == points[-1] and task in values),
        float("nan"),
    )
    lines = []
    for each in found:
        cells: list[str] = []
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
    for who in dict.fromkeys(who for who, _ in published):
        cells = [
            f"{values[task]:,.0f}" if (values := published.get((who, p), {})).get(task) else ""
            for p in points
        ]
        if any(cells):
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
    parser.add_argument("--record", type=Path, help="curves that are kept; learning.json in --out")
    parser.add_argument("--recorded", action="store_true", help="train nothing")
    words = parser.parse_args()
    if min(words.seeds, words.peer_seeds, words.steps, words.workers) < 1:
        parser.error("expected at least one seed, one step and one worker.")
    record = Record.read(words.record or words.out / "learning.json")
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
            fixed = (task, algorithm, words, every, record)
            curves = [each for each in (ours(*fixed), *theirs(*fixed)) if len(each.steps)]
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
    except WarmstartError as wrong:
        print(f"learning.py: {wrong}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("learning.py: interrupted. The same command goes on where it was.", file=sys.stderr)
        sys.exit(130)
