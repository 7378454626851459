"""Engines: the same bytes and hardly more time on Ray, and what scheduling costs for many trials.

(a) A study of 20 short trials on Ray with two workers against the local engine with two: records and
    parameters byte for byte, wall-clock side by side, alternating. Ray's start and end are counted.
(b) The scheduler with trials that end at once, for 1,000 to 10,000 of them: milliseconds for each.

    python benchmarks/running/engines.py [--repeats 3] [--steps 20000] [--only ray|scheduling]
"""

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

from warmstart.core.progress import Progress
from warmstart.experiments.engines.base import Engine
from warmstart.experiments.engines.local import Local
from warmstart.experiments.engines.ray import Ray
from warmstart.experiments.records.config import PlannedTrial
from warmstart.experiments.records.status import Status, write_status
from warmstart.experiments.run.run import prepare
from warmstart.experiments.run.scheduler import Scheduler
from warmstart.experiments.study.plan import make_plan
from warmstart.experiments.study.study import Study

COMPARED = ("records.jsonl", "transfer.json", "checkpoint/policy.safetensors")
WORKERS = 2


def short_trials(steps: int) -> Study:
    """Twenty trials: random actions, and nineteen agents."""
    return Study(
        name="engines",
        target="InvertedPendulum-v5",
        target_steps=steps,
        algorithm={"name": "ppo", "n_envs": 8, "n_steps": 64, "batch_size": 128, "net_arch": [32]},
        arms=("scratch",),
        seeds=19,
        evaluation={"every": steps, "episodes": 2},
    )


def run_on(engine: Engine, study: Study, run: Path) -> tuple[float, dict[str, bytes]]:
    """Seconds of a study, and the bytes of its trials."""
    plan = make_plan(study)
    prepare(plan, run)
    began = time.perf_counter()
    states = Scheduler(run, plan.trials, WORKERS, Progress(), engine).run_all()
    seconds = time.perf_counter() - began
    assert set(states.values()) == {"done"}
    found = {}
    for name in states:
        for file in COMPARED:
            path = run / "trials" / name / file
            if path.is_file():
                found[f"{name}/{file}"] = path.read_bytes()
    return seconds, found


def compare_ray(repeats: int, steps: int) -> None:
    took: dict[str, list[float]] = {"local": [], "ray": []}
    reference: dict[str, bytes] = {}
    for repeat in range(repeats):
        for engine in (Local(), Ray()) if repeat % 2 == 0 else (Ray(), Local()):
            with tempfile.TemporaryDirectory() as folder:
                seconds, found = run_on(engine, short_trials(steps), Path(folder) / "run")
            took[engine.name].append(seconds)
            reference = reference or found
            assert found == reference, f"{engine.name} computed other bytes"
            load = os.getloadavg()[0]
            print(f"{engine.name}: {seconds:.1f} s for 20 trials (load {load:.1f})", flush=True)
    local, ray = (statistics.median(took[name]) for name in ("local", "ray"))
    print(f"{len(reference)} files are the same in all {2 * repeats} runs")
    print(f"medians: local {local:.1f} s, ray {ray:.1f} s; ratio {ray / local:.3f} (asked for: at most 1.10)")


class _Ended:
    def poll(self) -> int | None:
        return 0

    def send_signal(self, number: int, /) -> None:
        return None


class _AtOnce:
    outlives = False
    workers = WORKERS

    def start(self, directory: Path) -> _Ended:
        self.seconds -= time.perf_counter()
        write_status(directory, Status("done"))
        self.seconds += time.perf_counter()
        return _Ended()

    def __init__(self) -> None:
        self.seconds = 0.0

    def close(self) -> None:
        return None


@dataclass(frozen=True)
class AtOnce(Engine):
    """Trials that are done as soon as they are started."""

    name: ClassVar[str] = "at_once"
    launcher: Any = None

    def launch(self, torch_threads: int, workers: int | None) -> _AtOnce:
        return self.launcher


def measure_scheduling(repeats: int) -> None:
    base = make_plan(short_trials(1_000)).trials[-1].config
    for count in (1_000, 3_000, 10_000):
        found, busy = [], []
        for _ in range(repeats):
            trials: list[PlannedTrial] = []
            for seed in range(count // 2):  # half of them sources of the others
                source = PlannedTrial(replace(base, kind="source", seed=seed), "source")
                warm = PlannedTrial(replace(base, seed=seed, source=source.hash), "warm", needs=source.hash)
                trials += [source, warm]
            with tempfile.TemporaryDirectory() as folder:
                for trial in trials:
                    (Path(folder) / "trials" / trial.hash).mkdir(parents=True)
                launcher, began, cpu = _AtOnce(), time.perf_counter(), time.process_time()
                Scheduler(Path(folder), trials, WORKERS, Progress(), AtOnce(launcher)).run_all()
                found.append((time.perf_counter() - began - launcher.seconds) / count * 1e3)
                busy.append((time.process_time() - cpu) / count * 1e3)
        wall, own = statistics.median(found), statistics.median(busy)
        print(f"{count:>6} trials: {wall:.2f} ms for each ({own:.2f} ms of processor)", flush=True)
    print(f"asked for: below 5 ms at 10,000 (load of the machine {os.getloadavg()[0]:.1f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--only", choices=["ray", "scheduling"])
    options = parser.parse_args()
    if options.only != "ray":
        measure_scheduling(options.repeats)
    if options.only != "scheduling":
        compare_ray(options.repeats, options.steps)
