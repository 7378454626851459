"""Engines by name; what is said of them, and what isn't one."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from tests.experiments.run.test_scheduler import Seen, lay_out, tiny
from warmstart.core.errors import WarmstartError
from warmstart.experiments.engines import base
from warmstart.experiments.engines.base import ENGINES, Engine, register_engine
from warmstart.experiments.engines.local import Local
from warmstart.experiments.engines.ray import Ray
from warmstart.experiments.engines.slurm import Slurm
from warmstart.experiments.engines.table import chosen_engine, read_engine
from warmstart.experiments.records.status import Status, write_status
from warmstart.experiments.run.scheduler import Scheduler
from warmstart.experiments.study.plan import make_plan


def test_engines_are_read_like_all_settings() -> None:
    assert read_engine(None) == Local()
    assert read_engine({"name": "slurm", "time": 20, "parameters": {"nice": 5}}) == Slurm(
        time=20, parameters={"nice": 5}
    )
    for wrong, message in (
        ("slrum", "unknown engine 'slrum'.*[Dd]id you mean 'slurm'"),
        ({"name": "slurm", "partitio": "a"}, "partitio.*partition"),
        ({"name": "ray", "gpus": -1}, "gpus: expected a number at least 0"),
    ):
        with pytest.raises(WarmstartError, match="(?i)" + message):
            read_engine(wrong)


def test_what_is_asked_for_changes_the_studys_engine_or_replaces_it() -> None:
    own = {"name": "slurm", "partition": "long", "time": 60}
    assert chosen_engine(None, own) == Slurm(partition="long", time=60)
    assert chosen_engine({"partition": "short"}, own) == Slurm(partition="short", time=60)
    assert chosen_engine({"name": "slurm", "time": 5}, own) == Slurm(partition="long", time=5)
    assert chosen_engine({"name": "ray", "address": "auto"}, own) == Ray(address="auto")
    assert chosen_engine("local", own) == Local()
    with pytest.raises(WarmstartError, match=r"engine\.partition: "):
        chosen_engine({"partition": "short"}, None)


def test_an_engine_is_no_part_of_a_trial() -> None:
    plain, other = (make_plan(tiny(engine=engine)) for engine in (None, {"name": "slurm", "mem": "4GB"}))
    assert [trial.hash for trial in plain.trials] == [trial.hash for trial in other.trials]
    with pytest.raises(WarmstartError, match=r"engine\.mem: expected"):
        tiny(engine={"name": "slurm", "mem": 4})


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with pytest.raises(WarmstartError, match=r"pip install 'warmstart\[slurm\]'"):
        base.import_extra("submitit", "slurm")


def test_an_engine_of_ones_own(tmp_path: Path) -> None:
    class Ended:
        def poll(self) -> int | None:
            return 0

        def send_signal(self, number: int, /) -> None:
            raise AssertionError("nothing runs")

    class Counted:
        outlives = False

        def __init__(self, workers: int) -> None:
            self.workers = workers
            self.started: list[str] = []

        def start(self, directory: Path) -> Ended:
            self.started.append(directory.name)
            write_status(directory, Status("done"))
            return Ended()

        def close(self) -> None:
            closed.extend(self.started)

    closed: list[str] = []

    @register_engine
    @dataclass(frozen=True)
    class Counting(Engine):
        name: ClassVar[str] = "counting"
        title: ClassVar[str] = "trials that end at once"
        most: int = 1

        def launch(self, torch_threads: int, workers: int | None) -> Counted:
            return Counted(self.most)

    try:
        plan = lay_out(tiny(arms=("scratch", "zero_shot"), seeds=3), tmp_path)
        engine = read_engine({"name": "counting", "most": 3})
        states = Scheduler(tmp_path, plan.trials, None, Seen(), engine).run_all()
    finally:
        del ENGINES["counting"]
    assert set(states.values()) == {"done"}
    assert sorted(closed) == sorted(states)
    source = {trial.hash: trial.needs for trial in plan.trials if trial.needs}
    assert all(closed.index(needed) < closed.index(name) for name, needed in source.items())
