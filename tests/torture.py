"""Kills trials and studies at random moments and at every operation on the disk: no bit may be lost.

``python -m tests.torture --kills 200`` is the long run, ``make torture``; `test_torture.py` runs a short one.
A trial runs in a forked process that keeps a state before every rollout, and dies by SIGKILL. It is started
again until it is done, and must have left what an undisturbed one has left, byte for byte.
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.experiments.trial.test_pixel_studies import study as pixel_study
from tests.experiments.trial.test_resuming import IMPERFECT, OPTIONS, PACED, RANDOM, SMALL, WORLD
from tests.experiments.trial.test_trial import PPO, SAC, lay_out, tiny
from warmstart.agents.resuming import packing
from warmstart.core.documents import parse_yaml
from warmstart.experiments.records.claims import HEARTBEAT_SECONDS
from warmstart.experiments.records.records import TRAINING
from warmstart.experiments.study.study import Study
from warmstart.experiments.trial import resuming, training
from warmstart.experiments.trial.trial import main as trial_main
from warmstart.transfer.table import METHODS

STEPS = 640
RESULTS = ("records.jsonl", "transfer.json", "checkpoint", "best", "curriculum.json")
"""What a trial leaves, apart from times."""


def cases() -> dict[str, tuple[Study, str]]:
    """Studies, and the arm of each whose trial is killed."""
    found: dict[str, tuple[Study, str]] = {}
    for name in ("ppo", "sac", "td3", "tqc", "crossq"):
        algorithm = PPO if name == "ppo" else {**SAC, "name": name}
        found[name] = (tiny(algorithm=algorithm, arms=("scratch",), target_steps=STEPS), "scratch")
    for name, options in OPTIONS.items():
        algorithm = PPO if "ppo" in METHODS[name].algorithms else SAC
        arms = ("scratch", {"method": name, **options})
        found[name] = (tiny(algorithm=algorithm, arms=arms, target_steps=STEPS), name)
    world = f", {RANDOM}, {IMPERFECT}, {PACED}"
    for name in ("ppo", "sac"):
        text = WORLD.format(target="InvertedPendulum-v5", algorithm=name, small=SMALL[name], world=world)
        text = text.replace("target_steps: 384", f"target_steps: {STEPS}")
        found[f"{name}, randomized, imperfect, curriculum"] = (
            Study.from_document(parse_yaml(text, "study.yaml")),
            "made",
        )
    found["frames"] = (replace(pixel_study(), target_steps=STEPS), "frozen")
    return found


def eager() -> None:
    """In this process states are kept before every rollout, in small blocks, and nobody draws a film."""
    resuming.FIRST_AFTER, resuming.EVERY, resuming.SHARE = 0.0, 0.0, 1e9
    packing.BLOCK = 1 << 15
    training.film = lambda *_: ()  # type: ignore[assignment]


def forked(work: Callable[[], int]) -> int:
    """Do something in a process of its own, in a session of its own; returns its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        eager()
        code = work()
    finally:
        os._exit(code)


def ended(pid: int, patience: float = 300.0) -> int:
    """Wait for a process; its exit status, -N for signal N."""
    deadline = time.monotonic() + patience
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def has_ended(pid: int) -> bool:
    """Whether a process has ended; it is still there to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def results(trial: Path) -> dict[str, bytes]:
    """What a trial left, by file."""
    found = {}
    for name in RESULTS:
        path = trial / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        found |= {str(each.relative_to(trial)): each.read_bytes() for each in files if each.is_file()}
    return found


class Bench:
    """A trial: its undisturbed results, and copies that are disturbed."""

    def __init__(self, study: Study, arm: str, folder: Path) -> None:
        self.folder = folder
        trials = lay_out(study, folder / "whole")
        self.hash = trials[arm].name
        for each in ("source", arm):
            if each in trials:
                trial = trials[each]
                assert ended(forked(partial(trial_main, [str(trial)]))) == 0, trial
        self.whole = results(trials[arm])
        start = time.monotonic()
        fresh = self.copy("timed")
        assert ended(forked(partial(trial_main, [str(fresh)]))) == 0
        self.seconds = time.monotonic() - start
        self.check(fresh)

    def copy(self, name: str) -> Path:
        """A run in which everything but the trial is done; the trial's folder."""
        run = self.folder / name
        shutil.copytree(self.folder / "whole", run, symlinks=True)
        trial = run / "trials" / self.hash
        for path in trial.iterdir():
            if path.name != "trial.json":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return trial

    def check(self, trial: Path) -> None:
        """Compare a trial's results with the undisturbed ones."""
        found = results(trial)
        different = [
            name for name in self.whole.keys() | found.keys() if self.whole.get(name) != found.get(name)
        ]
        if different:
            raise AssertionError(f"{trial}: {', '.join(sorted(different))} differ")
        if (trial / TRAINING).exists() or list(trial.glob(".*")):
            raise AssertionError(
                f"{trial}: something is left: {sorted(each.name for each in trial.iterdir())}"
            )

    def killed_at_random(self, kills: int, draw: random.Random) -> int:
        """Kill a trial at so many random moments, then let it end; returns how often it was alive."""
        trial = self.copy(f"random-{draw.random()}")
        hit = 0
        while hit < kills:
            pid = forked(partial(trial_main, [str(trial)]))
            moment = time.monotonic() + draw.uniform(0.0, self.seconds)
            while time.monotonic() < moment and not has_ended(pid):
                time.sleep(0.002)
            os.kill(pid, signal.SIGKILL)
            code = ended(pid)
            if code == 0:  # it was done before
                self.check(trial)
                shutil.rmtree(trial.parent.parent)
                trial = self.copy(f"random-{draw.random()}")
            else:
                hit += code == -signal.SIGKILL
        assert ended(forked(partial(trial_main, [str(trial)]))) == 0
        self.check(trial)
        shutil.rmtree(trial.parent.parent)
        return hit

    def killed_at_operations(self, every: int = 1) -> int:
        """Kill a trial at each (or each so many-th) operation on the disk; returns how often."""
        hit, at = 0, 1
        while True:
            trial = self.copy(f"operation-{at}")

            def work(trial: Path = trial, at: int = at) -> int:
                die_at_operation(at)
                return trial_main([str(trial)])

            code = ended(forked(work))
            if code == 0:
                self.check(trial)
                return hit
            assert code == -signal.SIGKILL, code
            deadline = time.monotonic() + 3 * HEARTBEAT_SECONDS
            while (code := ended(forked(partial(trial_main, [str(trial)])))) == os.EX_TEMPFAIL:
                assert (
                    time.monotonic() < deadline
                )  # a claim that was cut off at its first byte, not much longer
                time.sleep(0.5)
            assert code == 0, (trial, at, code)
            self.check(trial)
            shutil.rmtree(trial.parent.parent)
            hit, at = hit + 1, at + every


def die_at_operation(at: int) -> None:
    """Have this process killed at its n-th write, append, fsync, rename or removal; writes are torn."""
    counted = 0

    def count() -> bool:
        nonlocal counted
        counted += 1
        return counted == at

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if count():
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    for name in ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir"):
        setattr(os, name, before(getattr(os, name)))
    opened = io.open

    class Torn:
        """A file that is being written: the n-th piece reaches it by half."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def __enter__(self) -> "Torn":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, content: Any) -> Any:
            if count():
                self.file.write(content[: len(content) // 2])
                self.file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return self.file.write(content)

    def open_torn(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        file = opened(path, mode, *arguments, **options)
        return Torn(file) if set(mode) & set("wax+") else file

    io.open = open_torn  # what `Path.open` and all that is built on it call


@contextlib.contextmanager
def scheduler(run: Path, study: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A study that runs in a process of its own."""
    program = (
        "import sys; from tests.torture import eager; eager()\n"
        "from warmstart.experiments.run.run import run_study\n"
        "run_study(sys.argv[1], sys.argv[2], workers=2)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(study), str(run)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def left_behind(run: Path) -> list[str]:
    """Processes that have something to do with a run, some seconds after it was killed."""
    deadline = time.monotonic() + 15
    while True:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if str(run) in command and int(entry.name) != os.getpid():
                    found.append(command)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


STUDY = """
name: study
source: InvertedPendulum-v5
target: InvertedPendulum-v5@gravity=x1.2
algorithm: {name: ppo, n_envs: 4, n_steps: 16, batch_size: 32, n_epochs: 2, net_arch: [8]}
source_steps: 640
target_steps: 640
seeds: 2
evaluation: {every: 128, episodes: 2}
arms: [scratch, {method: fine_tune, critic_fit_steps: 64, warm_up_steps: 0}, zero_shot]
"""


def killed_studies(folder: Path, kills: int, draw: random.Random) -> int:
    """Kill a whole study's scheduler at random moments; its summary must be an undisturbed one's."""
    study = folder / "study.yaml"
    study.write_text(STUDY)
    with scheduler(folder / "whole" / "run", study) as process:
        start = time.monotonic()
        assert process.wait(600) == 0, process.stderr.read() if process.stderr else ""
        seconds = time.monotonic() - start
    hit, run = 0, folder / "parts" / "run"
    while True:
        with scheduler(run, study) as process:
            if hit < kills:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(draw.uniform(2.0, seconds))
                process.kill()
            code = process.wait(600)
        if left := left_behind(run):
            raise AssertionError(f"processes were left behind: {left}")
        if code == 0:
            same_run(folder / "whole" / "run", run)
            if hit >= kills:
                return hit
            shutil.rmtree(run)
        hit += code == -signal.SIGKILL


def same_run(whole: Path, parts: Path) -> None:
    """See that two runs hold the same trials with the same results, and the same summary."""
    trials = sorted(each.name for each in (whole / "trials").iterdir())
    assert trials == sorted(each.name for each in (parts / "trials").iterdir())
    for trial in trials:
        first, second = results(whole / "trials" / trial), results(parts / "trials" / trial)
        assert first == second, (trial, [name for name in first if first[name] != second.get(name)])
    first, second = (timeless(json.loads((run / "summary.json").read_text())) for run in (whole, parts))
    assert first == second


def timeless(summary: Any) -> Any:
    """A summary without wall-clock seconds, which no two runs share."""
    if isinstance(summary, dict):
        return {name: timeless(value) for name, value in summary.items() if "seconds" not in name}
    return [timeless(each) for each in summary] if isinstance(summary, list) else summary


def main() -> int:
    """Run it at length, and print a line for each case."""
    names = list(cases())
    options = argparse.ArgumentParser(description="Kill trials and studies, and compare bytes.")
    options.add_argument("--kills", type=int, default=200, help="SIGKILLs at random moments, over all cases")
    options.add_argument("--cases", nargs="*", default=names, help="; ".join(names))
    options.add_argument(
        "--operations",
        nargs="*",
        default=["ppo", "sac/11"],
        metavar="CASE",
        help="cases to kill at each operation on the disk; CASE/11: at each 11th",
    )
    options.add_argument("--studies", type=int, default=20, help="SIGKILLs of whole studies")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    import_module("torch._dynamo")  # once here, not in each process
    draw = random.Random(chosen.seed)
    start = time.monotonic()

    def tell(done: str) -> None:
        nonlocal start
        print(f"{done}: the same bytes ({time.monotonic() - start:.0f} s)", flush=True)
        start = time.monotonic()

    with tempfile.TemporaryDirectory() as folder:
        for i, name in enumerate(chosen.cases):
            n = len(chosen.cases)
            share = chosen.kills * (i + 1) // n - chosen.kills * i // n
            hit = Bench(*cases()[name], Path(folder) / str(i)).killed_at_random(share, draw)
            tell(f"{name}: {hit} SIGKILLs at random moments")
        for each in chosen.operations:
            name, _, every = each.partition("/")
            study, arm = cases()[name]
            bench = Bench(replace(study, target_steps=256), arm, Path(folder) / f"operations-{name}")
            hit = bench.killed_at_operations(int(every or 1))
            tell(
                f"{name}: {hit} SIGKILLs, at {f'each {every}th' if every else 'every'} operation on the disk"
            )
        if chosen.studies:
            hit = killed_studies(Path(folder), chosen.studies, draw)
            tell(f"a study: {hit} SIGKILLs of its scheduler")
    return 0


if __name__ == "__main__":
    sys.exit(main())
