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

from warmstart.experiments import launcher
from warmstart.experiments.claims import holder
from warmstart.experiments.plan import Plan, make_plan
from warmstart.experiments.plugins import load_plugins, store_plugins
from warmstart.experiments.progress import TrialProgress
from warmstart.experiments.records import DiskFullError, read_json
from warmstart.experiments.run import prepare
from warmstart.experiments.run_data import load_run, statuses
from warmstart.experiments.scheduler import Scheduler
from warmstart.experiments.status import Status, read_status, write_status
from warmstart.experiments.study import Study, load_study
from warmstart.experiments.trial_config import PlannedTrial

PLUGIN = '''
"""Methods that go wrong."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from warmstart.transfer.controls import Scratch
from warmstart.transfer.methods import register_method


@register_method
@dataclass(frozen=True)
class Raises(Scratch):
    name: ClassVar[str] = "raises"

    def initialise(self, model, source, context):
        raise RuntimeError("this method is broken")


@register_method
@dataclass(frozen=True)
class Dies(Scratch):
    name: ClassVar[str] = "dies"

    def initialise(self, model, source, context):
        os.kill(os.getpid(), signal.SIGKILL)


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


class Seen(TrialProgress):
    """Keeps what was shown."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.messages: list[str] = []

    def update(self, trial: PlannedTrial, status: Status) -> None:
        if not self.states or self.states[-1] != (trial.label, status.state):
            self.states.append((trial.label, status.state))

    def message(self, text: str) -> None:
        self.messages.append(text)


def tiny(**changes: Any) -> Study:
    study = replace(
        load_study("smoke"),
        algorithm=ALGORITHM | {"compile": False},
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


def test_the_number_of_workers_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tiny(seeds=2)
    found = []
    for workers, forked in ((1, True), (3, True), (3, False)):
        if not forked:
            monkeypatch.setattr(launcher.sys, "platform", "darwin")  # no nursery: processes started directly
            study = tiny(seeds=2, arms=("scratch", "zero_shot"))
        run = tmp_path / f"{workers}-{forked}"
        plan = lay_out(study, run)
        seen = Seen()
        states = Scheduler(run, plan.trials, workers, seen).run_all()
        assert set(states.values()) == {"done"}
        found.append(records(run, plan))
        assert seen.states.index(("source · seed 0", "done")) < seen.states.index(
            ("zero_shot · seed 0", "running")
        )
    assert found[0] == found[1]
    assert all(found[0][key] == value for key, value in found[2].items())


def test_failures_are_retried_once_then_reported_while_others_go_on(tmp_path: Path, plugin: Path) -> None:
    run = tmp_path / "run"
    plan = lay_out(tiny(arms=("scratch", "raises", "dies")), run, plugin)
    seen = Seen()
    states = Scheduler(run, plan.trials, 2, seen).run_all()
    by_arm = {trial.arm: trial.hash for trial in plan.trials}
    assert states[by_arm["scratch"]] == "done"
    for arm in ("raises", "dies"):
        assert states[by_arm[arm]] == "failed"
        assert read_status(run / "trials" / by_arm[arm]).attempt == 2
        assert any(arm in message and "trying once more" in message for message in seen.messages)
    failures = {failure.arm: failure for failure in load_run(run).failures}
    assert failures["raises"].error == "RuntimeError: this method is broken"
    assert 'raise RuntimeError("this method is broken")' in failures["raises"].traceback
    assert "killed by SIGKILL" in failures["dies"].error
    assert [curve.arm for curve in load_run(run).curves] == ["scratch"]
    Scheduler(run, plan.trials, 2, Seen()).run_all()  # the same again: one more chance for what failed
    assert read_status(run / "trials" / by_arm["raises"]).attempt == 3
    assert read_status(run / "trials" / by_arm["scratch"]).attempt == 1


def test_a_failed_source_is_reported_for_its_targets(tmp_path: Path) -> None:
    run = tmp_path / "run"
    plan = lay_out(tiny(arms=("scratch", "zero_shot")), run)
    source = next(trial for trial in plan.trials if trial.arm == "source")
    (run / "trials" / source.hash / "trial.json").write_text("{}")
    Scheduler(run, plan.trials, 2, Seen()).run_all()
    failures = {failure.arm: failure for failure in load_run(run).failures}
    assert set(failures) == {"source", "zero_shot"}
    assert failures["zero_shot"].error == "its source agent failed"
    assert "another version of warmstart" in failures["zero_shot"].traceback


def test_a_killed_process_is_noticed_and_its_trial_started_again(
    tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, gate = tmp_path / "run", tmp_path / "gate"
    monkeypatch.setenv("TEST_GATE", str(gate))
    plan = lay_out(tiny(arms=("scratch", "waits")), run, plugin)
    waiting = next(run / "trials" / trial.hash for trial in plan.trials if trial.arm == "waits")
    killed: list[int] = []

    class Kill(Seen):
        """Kills the waiting trial once, then lets it go."""

        def update(self, trial: PlannedTrial, status: Status) -> None:
            owner = holder(waiting)
            if trial.arm == "waits" and status.state == "running" and owner and not killed:
                killed.append(owner.pid)
                os.kill(owner.pid, signal.SIGKILL)
                gate.touch()

    seen = Kill()
    states = Scheduler(run, plan.trials, 1, seen).run_all()
    assert killed
    assert set(states.values()) == {"done"}
    assert read_status(waiting).attempt == 2
    assert any("killed by SIGKILL" in message for message in seen.messages)


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
        write_status(run / "trials" / trial.hash, Status("done"))
    assert set(Scheduler(run, plan.trials, 1, Seen()).run_all().values()) == {"done"}
    assert not list(run.rglob("log.txt"))


SCRIPT = """
import sys
from warmstart.experiments.run import run_study
run_study(sys.argv[1], sys.argv[2], plugins=[sys.argv[3]], progress="plain")
"""


def start(study: Path, run: Path, plugin: Path, gate: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(study), str(run), str(plugin)],
        env=os.environ | {"TEST_GATE": str(gate)},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_an_interrupted_study_continues(tmp_path: Path, plugin: Path, number: signal.Signals) -> None:
    study, run, gate = tmp_path / "study.yaml", tmp_path / "run", tmp_path / "gate"
    study.write_text(tiny(arms=("scratch", "waits")).to_yaml())

    def state_of(arm: str) -> str:
        return next((row.status.state for row in statuses(run) if row.arm == arm), "")

    with start(study, run, plugin, gate) as process:
        wait_until(lambda: (run / "trials.json").exists() and state_of("waits") == "running")
        wait_until(lambda: state_of("scratch") == "done" and state_of("source") in ("done", ""))
        waiting = next(row.directory for row in statuses(run) if row.arm == "waits")
        owner = holder(waiting)
        assert owner is not None
        process.send_signal(number)
        _, message = process.communicate(timeout=30)
    assert process.returncode != 0
    wait_until(lambda: holder(waiting) is None)  # nothing is left behind, even after kill -9
    assert state_of("waits") == "interrupted"
    if number != signal.SIGKILL:
        assert read_status(waiting).state == "interrupted"
        assert "run the same command again to continue" in message
    first = next(row.directory for row in statuses(run) if row.arm == "scratch")
    before = (first / "records.jsonl").stat().st_mtime_ns
    gate.touch()
    with start(study, run, plugin, gate) as process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert state_of("waits") == "done"
    assert (first / "records.jsonl").stat().st_mtime_ns == before
    assert read_json(run / "summary.json") is not None
