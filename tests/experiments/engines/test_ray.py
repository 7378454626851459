"""Trials on Ray: the local bytes, with and without a common file system; lost workers, cancelling."""

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.experiments.run.test_scheduler import Seen, lay_out, tiny
from tests.experiments.trial.test_resuming import same_bits
from warmstart.core.errors import WarmstartError
from warmstart.core.progress import Work
from warmstart.experiments.engines.ray import Ray
from warmstart.experiments.records.claims import holder
from warmstart.experiments.records.status import read_status
from warmstart.experiments.run.scheduler import Scheduler
from warmstart.experiments.study.plan import Plan
from warmstart.experiments.trial.trial import run_trial

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'warmstart[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore")
LONG = 20_000
"""Steps of a trial that is caught in the middle."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray with two CPUs, which the engine joins and leaves as it is."""
    launcher = Ray().launch(1, 2)
    assert launcher.workers == 2
    yield
    launcher.close()
    assert not ray.is_initialized()


def reference(plan: Plan, run: Path) -> None:
    """The same trials, one after the other in this process."""
    for trial in plan.trials:
        run_trial(run / "trials" / trial.hash)


def same(plan: Plan, first: Path, second: Path) -> None:
    for trial in plan.trials:
        if trial.config.kind != "random":
            same_bits(first / "trials" / trial.hash, second / "trials" / trial.hash)


def middle(plan: Plan) -> Any:
    return next(trial for trial in plan.trials if trial.arm == "scratch")


def long_study() -> Any:
    return tiny(arms=("scratch",), target_steps=LONG, evaluation={"every": LONG, "episodes": 2})


class InTheMiddle(Seen):
    """Does something to the process of a trial, once, when it has learnt for a while."""

    def __init__(self, directory: Path, act: Any) -> None:
        super().__init__()
        self.directory, self.act, self.acted = directory, act, 0

    def show(self, name: str, work: Work) -> None:
        owner = holder(self.directory)
        if not self.acted and owner and name.startswith("scratch") and work.done > LONG / 10:
            self.acted = work.done
            self.act(owner.pid)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_two_workers_compute_the_local_bytes(cluster: None, tmp_path: Path) -> None:
    study = tiny(arms=("scratch",))
    plan = lay_out(study, tmp_path / "here")
    reference(plan, tmp_path / "here")
    lay_out(study, tmp_path / "ray")
    states = Scheduler(tmp_path / "ray", plan.trials, None, Seen(), Ray()).run_all()
    assert set(states.values()) == {"done"}
    same(plan, tmp_path / "here", tmp_path / "ray")
    assert not list((tmp_path / "ray").glob(".seen-*"))
    assert not list((tmp_path / "ray").rglob("claim.lock"))


def test_a_cluster_that_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: (_ for _ in ()).throw(ConnectionError("nobody\nlistens")))
    with pytest.raises(WarmstartError, match=r"Ray can't join the cluster auto: nobody listens"):
        Ray(address="auto").launch(1, 2)
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(WarmstartError, match=rf"Ray can't join the cluster {address}: .*refused"):
            Ray(address=address).launch(1, 2)


@pytest.mark.slow
def test_without_a_common_file_system_files_go_there_and_back(cluster: None, tmp_path: Path) -> None:
    study = tiny(arms=("scratch", "fine_tune"))
    plan = lay_out(study, tmp_path / "here")
    reference(plan, tmp_path / "here")
    lay_out(study, tmp_path / "ray")
    engine = Ray(shared=False, collect=0.2)
    states = Scheduler(tmp_path / "ray", plan.trials, 2, Seen(), engine).run_all()
    assert set(states.values()) == {"done"}
    same(plan, tmp_path / "here", tmp_path / "ray")


@pytest.mark.slow
@pytest.mark.parametrize("shared", [None, False])
def test_an_interrupted_trial_goes_on_from_its_state(
    shared: bool | None, cluster: None, tmp_path: Path
) -> None:
    plan = lay_out(long_study(), tmp_path / "here")
    reference(plan, tmp_path / "here")
    lay_out(long_study(), tmp_path / "ray")
    directory = tmp_path / "ray" / "trials" / middle(plan).hash

    place = "/warmstart-" if shared is False else str(directory)

    def preempt(_: int) -> None:
        for entry in Path("/proc").glob("[0-9]*/cwd"):
            name = entry.parent / "fd" / "1"
            log = os.readlink(name) if name.is_symlink() else ""
            if place in log and log.endswith(f"{directory.name}/log.txt"):
                os.kill(int(entry.parent.name), signal.SIGUSR1)

    seen = InTheMiddle(directory, preempt)
    engine = Ray(shared=shared, collect=0.5)
    assert set(Scheduler(tmp_path / "ray", plan.trials, 2, seen, engine).run_all().values()) == {"done"}
    assert seen.acted
    assert "Continued from step" in (directory / "log.txt").read_text()
    same(plan, tmp_path / "here", tmp_path / "ray")


@pytest.mark.slow
def test_a_lost_worker_is_replaced(cluster: None, tmp_path: Path) -> None:
    plan = lay_out(long_study(), tmp_path)
    directory = tmp_path / "trials" / middle(plan).hash
    seen = InTheMiddle(directory, lambda pid: os.kill(parent_of(parent_of(pid)), signal.SIGKILL))
    states = Scheduler(tmp_path, plan.trials, 2, seen, Ray()).run_all()
    assert set(states.values()) == {"done"}
    assert any("its process was lost; it goes on" in message for message in seen.messages)
    assert read_status(directory).attempt == 2
    assert "Continued from step" in (directory / "log.txt").read_text()


@pytest.mark.slow
def test_a_cancelled_study_keeps_its_states(cluster: None, tmp_path: Path) -> None:
    plan = lay_out(long_study(), tmp_path)
    directory = tmp_path / "trials" / middle(plan).hash
    seen = InTheMiddle(directory, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        Scheduler(tmp_path, plan.trials, 2, seen, Ray()).run_all()
    assert read_status(directory).state == "interrupted"
    assert list((directory / "training").iterdir())
    assert holder(directory) is None


@pytest.mark.slow
def test_schedulers_of_two_engines_share_a_run(cluster: None, tmp_path: Path) -> None:
    plan = lay_out(replace(tiny(), seeds=3), tmp_path)
    other = Scheduler(tmp_path, plan.trials, 2, Seen())
    thread = threading.Thread(target=other.run_all)
    thread.start()
    mine = Scheduler(tmp_path, plan.trials, 2, Seen(), Ray()).run_all()
    thread.join()
    assert set(mine.values()) == set(other.states.values()) == {"done"}
    assert {read_status(tmp_path / "trials" / name).attempt for name in mine} == {1}
