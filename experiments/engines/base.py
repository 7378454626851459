"""What an engine is: settings that start a launcher, which starts the processes of trials.

An engine decides nothing about a trial: it runs `python -m warmstart.experiments.trial.trial DIRECTORY`, or
the same function in a process of its own, with a given number of threads. Settings of engines are no part of
a trial or its hash.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from warmstart.core.errors import WarmstartError
from warmstart.core.plain import register_named

EXIT_LOST = 71
"""Stands for the exit status of a trial whose process is gone without one: its fork server, its machine or
its job died. It is started again, from its last training state."""


class TrialProcess(Protocol):
    """A trial that was started, wherever it runs."""

    def poll(self) -> int | None:
        """Exit status, -N for signal N, `EXIT_LOST`; None while it runs or waits for a place to run."""

    def send_signal(self, number: int, /) -> None:
        """Send its process a signal; nothing where it has ended."""


class Launcher(Protocol):
    """Starts trials until it is closed."""

    workers: int
    """Trials at a time."""
    outlives: bool
    """Whether trials go on when the scheduler ends, for another one to find them."""

    def start(self, directory: Path) -> TrialProcess:
        """Start the process of a trial; its output goes to the directory's `log.txt`.

        Raises:
            DiskFullError: The directory can't be written.
            WarmstartError: The engine can't run trials; nobody can mend that but the user.
        """

    def close(self) -> None:
        """Give everything back that isn't a trial which outlives the scheduler."""


@dataclass(frozen=True)
class Engine:
    """Settings of an engine: a frozen dataclass whose fields are plain values with defaults."""

    name: ClassVar[str]
    """What `--engine` and a study's `engine` call it."""
    title: ClassVar[str]
    """What it is, in a few words."""

    def launch(self, torch_threads: int, workers: int | None) -> Launcher:
        """Get ready to start trials.

        Args:
            torch_threads: Threads of each trial.
            workers: Trials at a time; None for what the engine has room for.

        Raises:
            WarmstartError: It can't be used here; the message says what to do.
        """
        raise NotImplementedError(f"The engine {self.name} launches nothing.")


ENGINES: dict[str, type[Engine]] = {}
"""All engines by name."""
_E = TypeVar("_E", bound=type[Engine])


def register_engine(kind: _E) -> _E:
    """Class decorator that adds an engine to those that `--engine` knows; for plugins, too.

    Raises:
        WarmstartError: It has no name, or another one has it.
    """
    register_named("engine", ENGINES, kind)
    return kind


def import_extra(module: str, extra: str) -> Any:
    """Import an engine's library.

    Raises:
        WarmstartError: It isn't installed; the message says how to.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise WarmstartError(
            f"The engine {extra} needs {error.name}, which isn't installed: pip install 'warmstart[{extra}]'."
        ) from None
