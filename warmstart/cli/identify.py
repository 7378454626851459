"""``warmstart identify``: physical parameters of a robot from its recorded motion."""

import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from warmstart.cli.console import (
    Extensible,
    Printing,
    TaskText,
    Words,
    console,
    note,
    pairs,
    print_json,
    print_table,
)
from warmstart.core.errors import WarmstartError
from warmstart.sim2real.identification.settings import (
    DELAY,
    SECONDS,
    WINDOW,
    IdentifySettings,
    RecordingSettings,
)

if TYPE_CHECKING:
    from warmstart.envs.tasks.task import Task
    from warmstart.sim2real.reality import Reality
    from warmstart.sim2real.recordings.trajectories import Trajectories


@dataclass(frozen=True)
class Identify(Extensible, Printing):
    """Fit physical parameters and a delay to recorded motion; what the data can't determine is named.

    The result is a task's text, to train in, and ranges around it, to randomize with.
    """

    task: TaskText
    """The robot as its model has it, for example HalfCheetah-v5."""
    data: tyro.conf.Positional[Annotated[Path | None, tyro.conf.arg(metavar="[DATA]")]] = None
    """Recordings: a .npz, .csv or .parquet file, the log of a run, a LeRobot dataset or minari:ID; see
    `docs/sim2real.md`."""
    fit: tyro.conf.UseAppendAction[Annotated[Words, tyro.conf.arg(metavar="PARAMETER=RANGE")]] = ()
    """What is fitted, between which bounds: torso.mass=x0.5:x2 friction=x0.4:x1.6."""
    reality: str | None = None
    """Record in this reality in place of DATA."""
    seconds: float = SECONDS
    """How long to record there."""
    signal: str = "held"
    """The excitation there: held, chirp or multisine."""
    amplitude: float = 1.0
    """Share of the controls' ranges that it uses; robots that fall stay up longer with less."""
    delay: tuple[int, int] = DELAY
    """Fewest and most control steps after which a command may act."""
    lag: float = 0.0
    """Largest time constant, in seconds, with which the drives may lag behind; 0 fits none."""
    window: float = WINDOW
    """Seconds of motion that are predicted in one go."""
    rename: tyro.conf.UseAppendAction[Annotated[Words, tyro.conf.arg(metavar="COLUMN=NAME")]] = ()
    """Columns of DATA that are called otherwise than the robot's parts, time or episode."""
    angles: Literal["radians", "degrees"] | None = None
    """What DATA's angles are in; unless told, what looks like degrees is refused."""
    out: Path | None = None
    """File to write: NAME.yaml or NAME.json."""
    seed: int = 0
    """Of the fit, and of a recording."""

    def run(self) -> int:
        """Fit."""
        from warmstart.core.bounds import Natural
        from warmstart.core.documents import dump_yaml
        from warmstart.core.plain import read
        from warmstart.core.threads import available_cores
        from warmstart.envs.tasks.task import Task
        from warmstart.sim2real.identification.identify import identify
        from warmstart.sim2real.identification.recording import recording_steps
        from warmstart.sim2real.identification.replay import check_parameters

        if (self.data is None) == (self.reality is None):
            raise WarmstartError("Expected recordings (DATA) or a --reality to record in, one of the two.")
        if self.reality is not None and (self.rename or self.angles):
            raise WarmstartError(
                "--rename and --angles are about DATA; a --reality's recording needs neither."
            )
        parameters = pairs("--fit", list(chain(*self.fit)))
        if not parameters:
            example = "--fit torso.mass=x0.5:x2 friction=x0.4:x1.6"
            raise WarmstartError(f"Expected what to fit: {example}, for example.")
        if self.out is not None and self.out.suffix not in (".yaml", ".yml", ".json"):
            raise WarmstartError(f"--out: expected a file named NAME.yaml or NAME.json, found {self.out}.")
        self.load_plugins()
        task = Task.parse(self.task)
        reality = self._reality(task)
        # before a robot moves for it
        fit = {"delay": self.delay, "lag": self.lag, "window": self.window}
        recording = {"seconds": self.seconds, "signal": self.signal, "amplitude": self.amplitude}
        settings: IdentifySettings = read(IdentifySettings, {"parameters": parameters, **fit, **recording})
        read(Natural, self.seed, ("seed",))
        check_parameters(task, parameters)
        if reality is not None:
            recording_steps(task, self.seconds)
        began = time.perf_counter()
        recorded = self._recordings(task, reality, settings)
        found = identify(
            task,
            recorded,
            parameters,
            settings,
            seed=self.seed,
            n_threads=available_cores(),
            progress=None if self.json else note,
        )
        if self.out is not None:
            found.save(self.out)
        if self.json:
            print_json(found.to_json())
            return 0 if found.accepted else 1
        rows = found.table()
        title = f"{task}, {recorded.duration:.0f} s of motion"
        print_table(title, list(rows[0]), [list(row.values()) for row in rows])
        if found.delay is not None:
            low, high = found.delays or (found.delay, found.delay)
            changing = "" if low == high else f", changing from {low} to {high}"
            console().print(f"delay: {found.delay} control steps{changing}")
        console().print(found.message)
        if found.accepted:
            console().print(f"task: {found.task_text}")
            recipe = {"randomize": found.recipe, "imperfections": found.imperfections}
            console().print(dump_yaml({key: value for key, value in recipe.items() if value}).rstrip())
        note(f"{time.perf_counter() - began:.0f} s" + ("" if self.out is None else f"; written: {self.out}"))
        return 0 if found.accepted else 1

    def _reality(self, task: "Task") -> "Reality | None":
        """The reality to record in, if there is one."""
        from warmstart.sim2real.reality import load_reality

        if self.reality is None:
            return None
        reality = load_reality(self.reality)
        if str(reality.task) != str(task):
            raise WarmstartError(f"{reality.name} stands for {reality.task}, not for {task}.")
        return reality

    def _recordings(
        self, task: "Task", reality: "Reality | None", settings: RecordingSettings
    ) -> "Trajectories":
        """The recordings, read or made."""
        from warmstart.sim2real.recordings.files import read_recordings

        if reality is None:
            assert self.data is not None
            names = dict(pairs("--rename", list(chain(*self.rename))))
            return read_recordings(self.data, task, names, self.angles)
        recorded, steps = reality.record(settings, self.seed)
        note(f"{steps:,} steps were taken in {reality.name}")
        return recorded
