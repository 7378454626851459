"""``warmstart gap``, ``robustness`` and ``seal``: what is left of a policy when the simulation isn't true."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from warmstart.cli.checkpoints import Named, named_checkpoints, oracles_in
from warmstart.cli.console import (
    Extensible,
    Printing,
    Words,
    check_numbers,
    console,
    note,
    print_json,
    print_table,
)
from warmstart.core.errors import WarmstartError

if TYPE_CHECKING:
    from warmstart.sim2real.gap import Gap as GapFigures
    from warmstart.sim2real.robustness import RobustnessMap

T = TypeVar("T", "GapFigures", "RobustnessMap")
Checkpoints = tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="CHECKPOINT...")]]


@dataclass(frozen=True)
class Gap(Extensible, Printing):
    """How much of its return a policy keeps in a reality that was hidden from its training."""

    checkpoints: Checkpoints
    """Checkpoint directories, SB3 zips or runs; of a run every arm is measured, over its seeds."""
    reality: str
    """Name or file of a reality: `warmstart list realities` shows those that ship."""
    range: str = "medium"
    """Recipe of the range around the nominal task in which policies are judged, too: light, medium, heavy or
    none."""
    oracle: Path | None = None
    """Checkpoint of an agent that was trained in the reality, or a run with such an arm. An arm of the given
    runs that was trained there throughout is one by itself."""
    episodes: int = 32
    """Episodes in the nominal task and in the reality."""
    seed: int = 10_000
    """Seed of the first episode."""

    def run(self) -> int:
        """Measure."""
        from warmstart.sim2real.gap import measure_gap, merge_gaps, random_return
        from warmstart.sim2real.randomization.recipes import randomize_terms
        from warmstart.sim2real.reality import load_reality

        check_numbers(self.episodes, self.seed)
        self.load_plugins(*self.checkpoints, *([self.oracle] if self.oracle is not None else []))
        reality = load_reality(self.reality)
        try:
            drawn = ((), ()) if self.range == "none" else randomize_terms(self.range, reality.task)
        except WarmstartError as error:
            raise WarmstartError(f"--range: {error} With --range none it isn't judged in one.") from None
        named = named_checkpoints(self.checkpoints, reality.task)
        given = [] if self.oracle is None else oracles_in(self.oracle, reality)
        paths, taken = {each.checkpoint.path for each in named}, {each.name for each in named}
        played = named + [
            Named(f"oracle {each.name}" if each.name in taken else each.name, each.checkpoint)
            for each in given
            if each.checkpoint.path not in paths
        ]
        began = time.perf_counter()
        found: list[GapFigures] = []
        with self.progress() as progress:
            update = progress.stage("Playing")
            for each in played:

                def tell(where: str, name: str = each.name) -> None:
                    update(len(found), len(played), f"{name}: {where}")

                options: dict[str, Any] = {"episodes": self.episodes, "seed": self.seed, "progress": tell}
                found.append(measure_gap(each.name, each.checkpoint, reality, *drawn, **options))
            update(len(found), len(found))
        chance, tried = random_return(reality, self.episodes, self.seed)
        rows = merged(found, merge_gaps)
        masters = {each.checkpoint.path for each in given}
        best = {each.name for each in played if each.checkpoint.path in masters or each.is_oracle_in(reality)}
        there = [row for row in rows if row.policy in best]
        oracle = max(there, key=lambda row: float(row.reality.mean()), default=None)
        good = max(float(row.nominal.mean()) for row in rows)
        if self.json:
            plain = [{**gap.to_json(), "kept": gap.kept(chance, good)} for gap in rows]
            if oracle is not None:
                plain = [{**p, "below_oracle": g.distance(oracle)} for p, g in zip(plain, rows, strict=True)]
            about = {"reality": reality.name, "sha256": reality.sha256, "task": str(reality.task)}
            print_json({**about, "random_return": chance, "policies": plain})
            return 0
        columns = ["policy", "nominal", "in range", "worst 10%", reality.name, "kept"]
        columns += [] if oracle is None else ["below the oracle"]
        title = f"{reality.name} ({reality.sha256[:12]}), {reality.task}: mean returns"
        print_table(title, columns, [_gap_row(gap, oracle, gap.kept(chance, good)) for gap in rows])
        _tell_diverged(sum(gap.diverged for gap in found))
        steps = tried + sum(gap.interactions for gap in found)
        note(f"{steps:,} steps were taken in {reality.name}; {time.perf_counter() - began:.0f} s")
        return 0


@dataclass(frozen=True)
class Robustness(Extensible, Printing):
    """A map of a policy's return over one or two physical parameters."""

    words: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="CHECKPOINT... TASK")]]
    """Checkpoint directories, SB3 zips or runs, then the task that they play."""
    sweep: tyro.conf.UseAppendAction[
        Annotated[tuple[str, ...], tyro.conf.arg(metavar="PARAMETER=RANGE:POINTS")]
    ] = ()
    """One or two, such as --sweep torso.mass=x0.5:x2:7 --sweep friction=x0.3:x1.5:7."""
    episodes: int = 16
    """Episodes per cell."""
    threshold: float | None = None
    """Return that counts as good; by default a fifth below the first policy's nominal return."""
    trained: tyro.conf.UseAppendAction[Annotated[Words, tyro.conf.arg(metavar="PARAMETER=RANGE")]] = ()
    """What the policies were trained on, to be drawn in, such as friction=x0.6:x1.4; what a trial of a study
    was trained on is known."""
    out: Path | None = None
    """Picture to write: NAME.png, .pdf or .svg."""
    seed: int = 10_000
    """Seed of the first episode; every cell has the same ones."""

    def run(self) -> int:
        """Play every cell."""
        from warmstart.agents.evaluation import evaluate
        from warmstart.cli.console import pairs
        from warmstart.envs.tasks.task import Task
        from warmstart.experiments.report.canvas import check_picture, save_figure
        from warmstart.experiments.report.robustness_figure import draw_maps
        from warmstart.experiments.trial.worlds import terms_of
        from warmstart.sim2real.randomization.randomization import read_terms
        from warmstart.sim2real.robustness import (
            Sweep,
            merge_maps,
            robustness_map,
            trained_on,
            usual_threshold,
        )

        check_numbers(self.episodes, self.seed)
        if len(self.words) < 2:
            raise WarmstartError(
                f"Expected at least one CHECKPOINT and a TASK, found {' '.join(self.words) or 'neither'}."
            )
        self.load_plugins(*map(Path, self.words[:-1]))
        task = Task.parse(self.words[-1])
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise WarmstartError(f"Expected a finite --threshold, found {self.threshold}.")
        if not self.sweep:
            raise WarmstartError("Expected what to sweep: --sweep torso.mass=x0.5:x2:7, for example.")
        sweeps = [Sweep.parse(text) for text in self.sweep]
        trained = read_terms(pairs("--trained", list(chain(*self.trained))))[0]
        if self.out is not None:
            check_picture(self.out)
        named = named_checkpoints([Path(word) for word in self.words[:-1]], task)
        began = time.perf_counter()
        given = trained_on(sweeps, trained, task)
        options: dict[str, Any] = {"episodes": self.episodes, "seed": self.seed}
        with self.progress() as progress:
            maps = []
            for each in named:
                options["progress"] = progress.stage(each.name)
                maps.append(robustness_map(each.name, each.checkpoint, task, sweeps, **options))
        threshold = self.threshold
        if threshold is None:
            policy = named[0].checkpoint.policy()
            threshold = usual_threshold(evaluate(policy, task, self.episodes, self.seed).mean)
        maps = merged(maps, merge_maps)
        if self.out is not None:
            paths = {each.name: each.checkpoint.path for each in reversed(named)}
            names = [each.policy for each in maps]
            ranges = [given if trained else trained_on(sweeps, terms_of(paths[name]), task) for name in names]
            save_figure(draw_maps(maps, str(task), threshold, ranges), self.out)
        if self.json:
            print_json({"task": str(task), "maps": [each.to_json(threshold) for each in maps]})
            return 0
        for each_map in maps:
            print_map(each_map, threshold)
        _tell_diverged(sum(each_map.diverged for each_map in maps))
        note(f"{time.perf_counter() - began:.0f} s" + ("" if self.out is None else f"; picture: {self.out}"))
        return 0


@dataclass(frozen=True)
class Seal(Extensible):
    """Write its hash into the file of a reality of your own, so that an edited one is noticed."""

    file: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]]
    """A reality's YAML file; `docs/sim2real.md` shows one."""

    def run(self) -> int:
        """Seal it."""
        from warmstart.sim2real.reality import seal_reality

        self.load_plugins()
        reality = seal_reality(self.file)
        console().print(f"{self.file}: {reality.name} is sealed, sha256 {reality.sha256[:12]}…")
        return 0


def merged(parts: Sequence[T], merge: Callable[[str, Sequence[T]], T]) -> list[T]:
    """One of each policy: seeds of an arm have the same name."""
    names = dict.fromkeys(part.policy for part in parts)
    return [merge(name, [part for part in parts if part.policy == name]) for name in names]


def _tell_diverged(number: int) -> None:
    if number:
        note(f"{number:,} simulations diverged; their episodes ended there")


def _gap_row(gap: "GapFigures", oracle: "GapFigures | None", kept: float) -> list[str]:
    plain = gap.to_json()
    shown = [plain["nominal"], plain["in_range"], plain["worst_10_percent"], plain["reality"]]
    row = [gap.policy, *("" if v is None or v != v else f"{v:,.1f}" for v in shown)]
    row.append("" if kept != kept else f"{100 * kept:.0f}%")
    return row if oracle is None else [*row, f"{gap.distance(oracle):,.1f}"]


def print_map(each: "RobustnessMap", threshold: float) -> None:
    """Print mean returns by cell for people; those below the threshold in brackets."""
    worst, at = each.worst
    places = zip(each.sweeps, at, strict=True)
    where = ", ".join(f"{sweep.selector} {_factor(sweep.operation, value)}" for sweep, value in places)
    first, *others = each.sweeps
    heads, across = ["return"], ""
    for second in others:
        heads = [_factor(second.operation, value) for value in second.values]
        across = f", {second.selector} to the right"
    cells = each.means.reshape(len(first.values), -1)
    rows = [
        [_factor(first.operation, value), *(f"{v:,.0f}" if v >= threshold else f"({v:,.0f})" for v in line)]
        for value, line in zip(first.values, cells, strict=True)
    ]
    print_table(f"{each.policy}: {first.selector} down{across}", [first.selector, *heads], rows)
    good = f"{100 * each.area_above(threshold):.0f}% of the cells reach {threshold:,.1f}"
    console().print(f"worst {worst:,.1f} at {where}; worst 10% {each.worst_share():,.1f}; {good}")
    console().print()


def _factor(operation: str, value: float) -> str:
    return {"scale": f"x{value:.3g}", "add": f"{value:+.3g}"}.get(operation, f"{value:.4g}")
