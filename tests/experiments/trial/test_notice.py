"""A trial that is told to end writes its training state first, and goes on from there; in bounded time."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.experiments.trial.test_resuming import same_bits
from tests.experiments.trial.test_trial import lay_out, tiny
from warmstart.core.threads import Notice
from warmstart.experiments.records.claims import holder
from warmstart.experiments.records.records import TRAINING
from warmstart.experiments.records.status import EXIT_INTERRUPTED, read_status
from warmstart.experiments.trial import training
from warmstart.experiments.trial.trial import main, run_trial


@pytest.fixture(autouse=True)
def no_films(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "film", lambda *_: ())


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_signal_has_the_state_written_and_costs_nothing(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = (
        lay_out(tiny(arms=("scratch",)), tmp_path / name)["scratch"] for name in ("whole", "parts")
    )
    run_trial(whole)
    signalled: list[int] = []

    def on_step(self: Any) -> bool:
        if self.num_timesteps >= 40 and not signalled:
            signalled.append(self.num_timesteps)
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)  # a second one changes nothing
        return True

    with monkeypatch.context() as patch:
        patch.setattr(training._Progress, "_on_step", on_step)
        assert main([str(parts)]) == EXIT_INTERRUPTED
    assert read_status(parts).state == "interrupted"
    (state,) = (parts / TRAINING).iterdir()
    assert int(state.name.partition("-")[0]) == 64, "the next rollout's start, not a minute's state"
    assert holder(parts) is None
    told: list[str] = []
    monkeypatch.setattr("builtins.print", lambda text, **_: told.append(text))
    assert main([str(parts)]) == 0
    assert told == ["Continued from step 64."]
    same_bits(whole, parts)


def test_where_no_state_can_be_written_it_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = lay_out(tiny(arms=("scratch",)), tmp_path)["scratch"]

    def build(self: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(training._Training, "_build", build)
    began = time.monotonic()
    assert main([str(directory)]) == EXIT_INTERRUPTED
    assert time.monotonic() - began < 3
    assert read_status(directory).state == "interrupted"


def test_a_safe_place_that_is_not_reached_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollout that never ends: the process gets its own second signal."""
    directory = lay_out(tiny(arms=("scratch",)), tmp_path)["scratch"]

    def on_step(self: Any) -> bool:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(20)
        return True

    monkeypatch.setattr(training._Progress, "_on_step", on_step)
    monkeypatch.setattr("warmstart.experiments.trial.trial.Notice", lambda: Notice(grace=0.1))
    began = time.monotonic()
    assert main([str(directory)]) == EXIT_INTERRUPTED
    assert time.monotonic() - began < 15


def test_a_notice_is_followed_once() -> None:
    notice = Notice(grace=0.0)
    with notice.safe_place_ahead():
        notice.handle(signal.SIGTERM, None)
        assert notice.given
        assert notice.overdue
        with pytest.raises(KeyboardInterrupt):
            notice.handle(signal.SIGTERM, None)
        notice.handle(signal.SIGTERM, None)  # while the trial puts things in order
