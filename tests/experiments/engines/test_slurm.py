"""Trials as submitit's jobs: its local executor, and a real SLURM where there is one."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.experiments.engines.test_ray import InTheMiddle, long_study, middle, reference, same
from tests.experiments.run.test_scheduler import Seen, lay_out, tiny
from tests.experiments.trial.test_resuming import same_bits
from warmstart.core.errors import WarmstartError
from warmstart.core.files import read_json, write_json
from warmstart.experiments.engines import slurm
from warmstart.experiments.engines.base import EXIT_LOST
from warmstart.experiments.engines.slurm import Slurm
from warmstart.experiments.records.claims import holder
from warmstart.experiments.records.status import EXIT_INTERRUPTED, read_status
from warmstart.experiments.run.scheduler import Scheduler
from warmstart.experiments.trial.trial import run_trial

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'warmstart[slurm]'")
pytestmark = pytest.mark.filterwarnings("ignore")
LOCAL = Slurm(cluster="local", time=60)
here = pytest.mark.skipif(shutil.which("sbatch") is None, reason="there is no SLURM here")


def wait_until(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_a_job_runs_a_trial(tmp_path: Path) -> None:
    folders = []
    for name in ("here", "job"):
        plan = lay_out(tiny(arms=("scratch",)), tmp_path / name)
        folders.append(tmp_path / name / "trials" / middle(plan).hash)
    process = LOCAL.launch(1, None).start(folders[1])
    run_trial(folders[0])
    wait_until(lambda: process.poll() is not None)
    assert process.poll() == 0
    same_bits(*folders)
    noted, ended = (read_json(folders[1] / file) for file in ("job.json", "job_exit.json"))
    assert noted is not None
    assert ended == {"job": noted["job"], "code": 0}


class Queue:
    """A queue in which jobs are as a test says."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()

    def holds(self, job: str) -> bool:
        return job in self.jobs


def test_what_a_job_came_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_SECONDS_BETWEEN_POLLS", 0.0)
    monkeypatch.setattr(slurm, "_SECONDS_BETWEEN_QUERIES", 0.02)
    queue: Any = Queue()
    queue.jobs.add("7")

    def note(code: int, job: str = "7") -> None:
        write_json(tmp_path / "job_exit.json", {"job": job, "code": code})

    def trial() -> Any:
        return slurm._SlurmTrial(queue, tmp_path, "7")

    assert trial().poll() is None
    note(1, "6")
    assert trial().poll() is None, "another job's word"
    note(EXIT_INTERRUPTED)
    assert trial().poll() is None, "it will be queued again"
    note(1)
    assert trial().poll() == 1
    queue.jobs.clear()
    for code, expected in ((EXIT_INTERRUPTED, EXIT_INTERRUPTED), (None, EXIT_LOST)):
        if code is None:
            (tmp_path / "job_exit.json").unlink()
        else:
            note(code)
        process = trial()
        assert process.poll() is None, "its word may be on its way"
        wait_until(lambda process=process: process.poll() is not None, 5)
        assert process.poll() == expected


def test_where_there_is_no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "run" / "trials" / "0").mkdir(parents=True)
    with pytest.raises(WarmstartError, match="There is no SLURM on this machine"):
        Slurm().launch(1, None).start(tmp_path / "run" / "trials" / "0")


@pytest.mark.slow
def test_a_preempted_trial_is_queued_again_and_goes_on(tmp_path: Path) -> None:
    plan = lay_out(long_study(), tmp_path / "here")
    reference(plan, tmp_path / "here")
    lay_out(long_study(), tmp_path / "jobs")
    directory = tmp_path / "jobs" / "trials" / middle(plan).hash
    seen = InTheMiddle(directory, lambda pid: os.kill(pid, signal.SIGUSR1))
    states = Scheduler(tmp_path / "jobs", plan.trials, 2, seen, LOCAL).run_all()
    assert set(states.values()) == {"done"}
    assert "Continued from step" in (directory / "log.txt").read_text()
    same(plan, tmp_path / "here", tmp_path / "jobs")


@pytest.mark.slow
def test_jobs_go_on_without_a_scheduler_and_the_next_one_finds_them(tmp_path: Path) -> None:
    plan = lay_out(long_study(), tmp_path)
    directory = tmp_path / "trials" / middle(plan).hash
    seen = InTheMiddle(directory, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        Scheduler(tmp_path, plan.trials, 2, seen, LOCAL).run_all()
    assert "go on by themselves" in seen.messages[-1]
    assert holder(directory) is not None
    job = read_json(directory / "job.json")
    assert set(Scheduler(tmp_path, plan.trials, 2, Seen(), LOCAL).run_all().values()) == {"done"}
    assert read_json(directory / "job.json") == job
    assert read_status(directory).attempt == 1


@here
@pytest.mark.slow
def test_a_real_slurm_queues_a_preempted_job_again(tmp_path: Path) -> None:
    plan = lay_out(long_study(), tmp_path / "here")
    reference(plan, tmp_path / "here")
    run = tmp_path / "jobs"
    lay_out(long_study(), run)
    directory = run / "trials" / middle(plan).hash

    def preempt(_: int) -> None:
        job = (read_json(directory / "job.json") or {})["job"]
        subprocess.run(["scancel", "--signal=USR2", job], check=True)

    seen = InTheMiddle(directory, preempt)
    states = Scheduler(run, plan.trials, 2, seen, Slurm(time=60)).run_all()
    assert set(states.values()) == {"done"}
    assert read_status(directory).attempt == 2
    assert not seen.messages, "the same job went on: the scheduler had nothing to do"
    same(plan, tmp_path / "here", run)
