"""Trials in processes of their own: order, failures, kills, interruptions, any number of workers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from warmstart.core.files import DiskFullError
from warmstart.core.plugins import load_plugins, store_plugins
from warmstart.core.progress import Progress, Work
from warmstart.experiments.engines import local
from warmstart.experiments.records.claims import holder
from warmstart.experiments.records.records import TRAINING
from warmstart.experiments.records.status import Status, read_status, write_status
from warmstart.experiments.run.reading import TrialState, load_run, statuses
from warmstart.experiments.run.run import prepare, run_study
from warmstart.experiments.run.scheduler import Scheduler
from warmstart.experiments.study.loading import load_study
from warmstart.experiments.study.plan import Plan, make_plan
from warmstart.experiments.study.study import Study

PLUGIN = '''
"""Methods that go wrong."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from warmstart.core.errors import WarmstartError
from warmstart.transfer.methods.scratch import Scratch
from warmstart.transfer.methods.base import register_method


@register_method
@dataclass(frozen=True)
class Raises(Scratch):
    name: ClassVar[str] = "raises"
    note: str = ""

    def initialise(self, model, source, context):
        raise RuntimeError("this method is broken")


@register_method
@dataclass(frozen=True)
class Refuses(Scratch):
    name: ClassVar[str] = "refuses"

    def initialise(self, model, source, context):
        raise WarmstartError("these two don't go together")


@register_method
@dataclass(frozen=True)
class Dies(Scratch):
    name: ClassVar[str] = "dies"

    def initialise(self, model, source, context):
        os.kill(os.getpid(), signal.SIGKILL)


@register_method
@dataclass(frozen=True)
class Hangs(Scratch):
    name: ClassVar[str] = "hangs"

    def initialise(self, model, source, context):
        report = super().initialise(model, source, context)
        model.env.step_wait = lambda: time.sleep(1_000)
        return report


@register_method
@dataclass(frozen=True)
class Waits(Scratch):
    name: ClassVar[str] = "waits"

    def initialise(self, model, source, context):
        while os.environ.get("TEST_GATE") and not Path(os.environ["TEST_GATE"]).exists():
            time.sleep(0.02)
        return super().initialise(model, source, context)
'''

ALGORITHM = {"name": "ppo", "n_envs": 4, "n_steps": 16, "batch_size": 32, "n_epochs": 2, "net_arch": [8]}


class Seen(Progress):
    """Keeps what was shown."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.messages: list[str] = []

    def show(self, name: str, work: Work) -> None:
        if not self.states or self.states[-1] != (name, work.state):
            self.states.append((name, work.state))

    def message(self, text: str) -> None:
        self.messages.append(text)


def tiny(**changes: Any) -> Study:
    study = replace(
        load_study("smoke"),
        algorithm=ALGORITHM,
        source_steps=128,
        target_steps=128,
        seeds=1,
        evaluation={"every": 64, "episodes": 2},
        arms=("scratch", {"method": "fine_tune", "critic_fit_steps": 64, "warm_up_steps": 0}, "zero_shot"),
    )
    return replace(study, **changes)


def lay_out(study: Study, run: Path, plugin: Path | None = None) -> Plan:
    plugins = load_plugins([plugin] if plugin else [])
    plan = make_plan(study, plugins)
    prepare(plan, run)
    store_plugins(plugins, run)
    return plan


def records(run: Path, plan: Plan) -> dict[str, bytes]:
    return {
        f"{trial.arm} {trial.config.seed}": (run / "trials" / trial.hash / "records.jsonl").read_bytes()
        for trial in plan.trials
    }


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "wrong_methods.py"
    path.write_text(PLUGIN)
    return path


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    study = tiny(seeds=2, arms=("scratch", "zero_shot"))
    found = []
    for workers in (1, 3):
        run = tmp_path / str(workers)
        plan = lay_out(study, run)
        seen = Seen()
        assert set(Scheduler(run, plan.trials, workers, seen).run_all().values()) == {"done"}
        found.append(records(run, plan))
        started = seen.states.index(("zero_shot · seed 0", "running"))
        assert seen.states.index(("source · seed 0", "done")) < started
    assert found[0] == found[1]


def test_processes_started_directly_compute_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tiny(arms=("scratch",))
    found = []
    for platform in ("linux", "darwin"):  # elsewhere there is no fork server
        monkeypatch.setattr(local, "PLATFORM", platform)
        plan = lay_out(study, tmp_path / platform)
        Scheduler(tmp_path / platform, plan.trials, 2, Seen()).run_all()
        found.append(records(tmp_path / platform, plan))
    assert found[0] == found[1]


def test_failures_are_retried_once_then_reported_while_others_go_on(tmp_path: Path, plugin: Path) -> None:
    run = tmp_path / "run"
    again = {"method": "raises", "name": "raises_again", "note": "failed in an earlier run"}
    plan = lay_out(tiny(arms=("scratch", "raises", "dies", again)), run, plugin)
    folders = {trial.arm: run / "trials" / trial.hash for trial in plan.trials}
    write_status(folders["raises_again"], Status("failed", attempt=2, error="earlier"))
    seen = Seen()
    states = Scheduler(run, plan.trials, 2, seen).run_all()
    assert states[folders["scratch"].name] == "done"
    for arm, attempts in (("raises", 2), ("dies", 2), ("raises_again", 3)):
        assert states[folders[arm].name] == "failed"
        assert read_status(folders[arm]).attempt == attempts
    assert sum("trying once more" in message for message in seen.messages) == 2
    data = load_run(run)
    failures = {failure.arm: failure for failure in data.failures}
    assert failures["raises"].error == "RuntimeError: this method is broken"
    assert 'raise RuntimeError("this method is broken")' in failures["raises"].traceback
    assert "killed by SIGKILL" in failures["dies"].error
    assert [curve.arm for curve in data.curves] == ["scratch"]


def test_a_hung_trial_is_noticed_retried_and_shown(
    tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARMSTART_STALL_SECONDS", "2")
    plan = lay_out(tiny(arms=("scratch", "hangs")), tmp_path / "run", plugin)
    told: list[str] = []
    progress = Progress()
    progress.message = told.append  # type: ignore[method-assign]
    begin = time.monotonic()
    states = Scheduler(tmp_path / "run", plan.trials, 2, progress).run_all()
    assert time.monotonic() - begin < 60
    trial = next(each for each in plan.trials if each.arm == "hangs")
    directory = tmp_path / "run" / "trials" / trial.hash
    assert states[trial.hash] == "failed"
    assert sum(state == "done" for state in states.values()) == len(states) - 1
    why = "nothing moved for 0:00:02; the traceback shows where it stood"
    assert read_status(directory).error == why
    assert told == [f"{trial.label}: failed ({why}); trying once more."]
    assert "<lambda>" in (directory / "error.txt").read_text()


def test_a_refusal_is_not_retried(tmp_path: Path, plugin: Path) -> None:
    plan = lay_out(tiny(arms=("scratch", "refuses")), tmp_path / "run", plugin)
    seen = Seen()
    Scheduler(tmp_path / "run", plan.trials, 2, seen).run_all()
    refused = next(trial for trial in plan.trials if trial.arm == "refuses")
    status = read_status(tmp_path / "run" / "trials" / refused.hash)
    assert (status.state, status.attempt, status.error) == ("failed", 1, "these two don't go together")
    assert not seen.messages


def test_a_failed_source_is_reported_for_its_targets(tmp_path: Path) -> None:
    run = tmp_path / "run"
    plan = lay_out(tiny(arms=("scratch", "zero_shot")), run)
    source = next(trial for trial in plan.trials if trial.arm == "source")
    (run / "trials" / source.hash / "trial.json").write_text("{}")
    Scheduler(run, plan.trials, 2, Seen()).run_all()
    failures = {failure.arm: failure for failure in load_run(run).failures}
    assert set(failures) == {"source", "zero_shot"}
    assert "another version of warmstart" in failures["source"].error
    assert failures["zero_shot"].error == "its source agent failed"
    assert "another version of warmstart" in failures["zero_shot"].traceback


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a fork server to kill")
@pytest.mark.parametrize("victim", ["trial", "fork server"])
def test_a_killed_process_is_noticed_and_its_trial_started_again(
    victim: str, tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, gate = tmp_path / "run", tmp_path / "gate"
    monkeypatch.setenv("TEST_GATE", str(gate))
    plan = lay_out(tiny(arms=("scratch", "waits")), run, plugin)
    waiting = next(run / "trials" / trial.hash for trial in plan.trials if trial.arm == "waits")
    killed: list[int] = []

    class Kill(Seen):
        """Kills the waiting trial, or what it was forked from, once; then lets it go."""

        def show(self, name: str, work: Work) -> None:
            owner = holder(waiting)
            if name == "waits · seed 0" and work.state == "running" and owner and not killed:
                parent = Path(f"/proc/{owner.pid}/stat").read_text().rpartition(")")[2].split()[1]
                killed.append(owner.pid if victim == "trial" else int(parent))
                os.kill(killed[0], signal.SIGKILL)
                wait_until(lambda: holder(waiting) is None)
                gate.touch()

    seen = Kill()
    states = Scheduler(run, plan.trials, 1, seen).run_all()
    assert killed
    assert set(states.values()) == {"done"}
    assert read_status(waiting).attempt == 2
    assert any("killed by SIGKILL" in message for message in seen.messages) is (victim == "trial")


def test_a_full_disk_stops_the_study(tmp_path: Path) -> None:
    run = tmp_path / "run"
    plan = lay_out(tiny(arms=("scratch",)), run)
    for trial in plan.trials:
        (run / "trials" / trial.hash / "records.jsonl").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match="free some space"):
        Scheduler(run, plan.trials, 1, Seen()).run_all()


def test_a_trial_that_another_process_finishes_is_not_started(tmp_path: Path) -> None:
    run = tmp_path / "run"
    plan = lay_out(tiny(arms=("scratch",)), run)
    for trial in plan.trials:
        directory = run / "trials" / trial.hash
        write_status(directory, Status("done"))
        (directory / TRAINING / "blocks").mkdir(parents=True)
        (directory / ".records.jsonl.new-1").write_text("of a process killed as it ended")
    assert set(Scheduler(run, plan.trials, 1, Seen()).run_all().values()) == {"done"}
    assert not list(run.rglob("log.txt"))
    assert not list(run.rglob(TRAINING))
    assert not list(run.rglob(".*"))


SCRIPT = """
import sys
from warmstart.experiments.run.run import run_study
run_study(sys.argv[1], sys.argv[2], plugins=[sys.argv[3]], progress="plain")
"""


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL],
    ids=lambda n: n.name,
)
def test_an_interrupted_study_leaves_nothing_behind_and_continues(
    tmp_path: Path,
    plugin: Path,
    number: signal.Signals,
    start_process: Callable[..., "subprocess.Popen[str]"],
) -> None:
    """SIGTERM, which takes SIGINT's way here, is `make slow`'s; tests of the command send it by default."""
    path, run, gate = tmp_path / "study.yaml", tmp_path / "run", tmp_path / "gate"
    path.write_text(tiny(arms=("scratch", "waits")).to_yaml())

    def trial(arm: str) -> TrialState:
        return next(row for row in statuses(run) if row.arm == arm)

    command = [sys.executable, "-c", SCRIPT, str(path), str(run), str(plugin)]
    process = start_process(command, env=os.environ | {"TEST_GATE": str(gate)})
    wait_until(lambda: (run / "trials.json").exists() and trial("scratch").status.state == "done")
    wait_until(lambda: trial("waits").status.state == "running")
    assert holder(trial("waits").directory) is not None
    process.send_signal(number)
    _, message = process.communicate(timeout=30)
    assert process.returncode != 0
    wait_until(lambda: holder(trial("waits").directory) is None)
    assert trial("waits").status.state == "interrupted"
    if number == signal.SIGKILL:
        return
    assert "run the same command again to continue" in message
    if number == signal.SIGTERM:
        return
    before = (trial("scratch").directory / "records.jsonl").stat().st_mtime_ns
    result = run_study(path, run, plugins=[plugin], progress="none")
    assert not result.failures
    assert {curve.arm for curve in result.run.curves} == {"scratch", "waits"}
    assert (trial("scratch").directory / "records.jsonl").stat().st_mtime_ns == before
