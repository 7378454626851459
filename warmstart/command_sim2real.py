"""``warmstart gap``, ``robustness`` and ``seal``: what is left of a policy when the simulation isn't true."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from warmstart.command_policy import check_fit
from warmstart.console import Command, console, note, print_json, print_table
from warmstart.envs.errors import WarmstartError
from warmstart.meter import Advance, Meter

if TYPE_CHECKING:
    from warmstart.agents.checkpoints import Checkpoint
    from warmstart.envs.tasks import Task
    from warmstart.sim2real.gap import Gap as GapFigures
    from warmstart.sim2real.robustness import RobustnessMap

Checkpoints = tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="CHECKPOINT...")]]


@dataclass(frozen=True)
class Gap(Command):
    """How much of its return a policy keeps in a reality that was hidden from its training."""

    checkpoints: Checkpoints
    """Checkpoint directories, SB3 zips or runs; of a run every arm is measured, over its seeds."""
    reality: str
    """Name or file of a reality: `warmstart list realities` shows those that ship."""
    range: str = "medium"
    """Recipe of the range around the nominal task in which policies are judged, too: light, medium, heavy or
    none."""
    oracle: Path | None = None
    """Checkpoint of an agent that was trained in the reality, or a run of such."""
    episodes: int = 32
    """Episodes in the nominal task and in the reality."""
    seed: int = 10_000
    """Seed of the first episode."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Measure."""
        from warmstart.sim2real.gap import measure_gap
        from warmstart.sim2real.reality import load_reality
        from warmstart.sim2real.recipes import randomize_terms

        _check_numbers(self.episodes, self.seed)
        reality = load_reality(self.reality)
        terms, correlations = ((), ()) if self.range == "none" else randomize_terms(self.range, reality.task)
        named = [*named_checkpoints(self.checkpoints, reality.task)]
        oracles = [] if self.oracle is None else named_checkpoints([self.oracle], reality.task)
        began = time.perf_counter()
        found: list[tuple[str, GapFigures]] = []
        with Meter(quiet=self.json) as meter:
            update = meter.stage("Playing")
            for index, (name, checkpoint) in enumerate((*named, *oracles)):
                gap = measure_gap(
                    name,
                    checkpoint,
                    reality,
                    terms,
                    correlations,
                    episodes=self.episodes,
                    seed=self.seed,
                    progress=partial(_tell, update, index, len(named) + len(oracles), name),
                )
                found.append((name, gap))
            update(len(found), len(found), "")
        merged = _merged(found[: len(named)])
        oracle = _merged(found[len(named) :])[0] if oracles else None
        rows = [*merged, *([oracle] if oracle is not None else [])]
        if self.json:
            plain = [
                gap.to_json() | ({} if oracle is None else {"below_oracle": gap.distance(oracle)})
                for gap in rows
            ]
            about = {"reality": reality.name, "sha256": reality.sha256, "task": str(reality.task)}
            print_json({**about, "policies": plain})
            return 0
        columns = ["policy", "nominal", "in range", "worst 10%", reality.name, "kept"]
        columns += [] if oracle is None else ["below the oracle"]
        print_table(
            f"{reality.name} ({reality.sha256[:12]}), {reality.task}: mean returns",
            columns,
            [_gap_row(gap, oracle) for gap in rows],
        )
        steps = sum(gap.interactions for _, gap in found)
        note(f"{steps:,} steps were taken in {reality.name}; {time.perf_counter() - began:.0f} s")
        return 0


@dataclass(frozen=True)
class Robustness(Command):
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
    trained: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PARAMETER=RANGE")] = ()
    """What the policies were trained on, to be drawn in, such as friction=x0.6:x1.4; what a trial of a study
    was trained on is known."""
    out: Path | None = None
    """Picture to write: NAME.png, .pdf or .svg."""
    seed: int = 10_000
    """Seed of the first episode; every cell has the same ones."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Play every cell."""
        from warmstart.agents.evaluation import evaluate
        from warmstart.console import pairs
        from warmstart.envs.tasks import Task
        from warmstart.experiments.probe_figure import check_picture, save_picture
        from warmstart.experiments.robustness_figure import draw_maps
        from warmstart.experiments.worlds import terms_of
        from warmstart.sim2real.randomization import read_terms
        from warmstart.sim2real.robustness import Sweep, robustness_map, usual_threshold

        _check_numbers(self.episodes, self.seed)
        if len(self.words) < 2:
            raise WarmstartError(
                f"Expected at least one CHECKPOINT and a TASK, found {' '.join(self.words) or 'neither'}."
            )
        task = Task.parse(self.words[-1])
        if not self.sweep:
            raise WarmstartError("Expected what to sweep: --sweep torso.mass=x0.5:x2:7, for example.")
        sweeps = [Sweep.parse(text) for text in self.sweep]
        trained = read_terms(pairs("--trained", self.trained))[0]
        if self.out is not None:
            check_picture(self.out)
        named = named_checkpoints([Path(word) for word in self.words[:-1]], task)
        began = time.perf_counter()
        maps: list[RobustnessMap] = []
        with Meter(quiet=self.json) as meter:
            for name, checkpoint in named:
                maps.append(
                    robustness_map(
                        name,
                        checkpoint,
                        task,
                        sweeps,
                        episodes=self.episodes,
                        seed=self.seed,
                        progress=meter.stage(name),
                    )
                )
        threshold = self.threshold
        if threshold is None:
            policy = named[0][1].policy()
            threshold = usual_threshold(evaluate(policy, task, self.episodes, self.seed).mean)
        if self.out is not None:
            ranges = [trained or terms_of(checkpoint.path) for _, checkpoint in named]
            figure = draw_maps(maps, str(task), threshold, ranges)
            save_picture(figure, self.out)
        if self.json:
            print_json({"task": str(task), "maps": [each.to_json(threshold) for each in maps]})
            return 0
        for each in maps:
            print_map(each, threshold)
        note(f"{time.perf_counter() - began:.0f} s" + ("" if self.out is None else f"; picture: {self.out}"))
        return 0


@dataclass(frozen=True)
class Seal(Command):
    """Write its hash into the file of a reality of your own, so that an edited one is noticed."""

    file: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]]
    """A reality's YAML file; `docs/sim2real.md` shows one."""

    def run(self) -> int:
        """Seal it."""
        from warmstart.sim2real.reality import seal_reality

        reality = seal_reality(self.file)
        console().print(f"{self.file}: {reality.name} is sealed, sha256 {reality.sha256[:12]}…")
        return 0


def named_checkpoints(paths: Sequence[Path], task: "Task") -> "list[tuple[str, Checkpoint]]":
    """Checkpoints with names, those of a run by arm; each is checked to fit the task.

    Raises:
        WarmstartError: There is none, or one doesn't fit.
    """
    from warmstart.agents.checkpoints import load_checkpoint
    from warmstart.experiments.records import CHECKPOINT
    from warmstart.experiments.run_data import TRIALS_FILE, statuses
    from warmstart.experiments.trial_config import ENCODER_ARM, RANDOM_ARM, SOURCE_ARM

    found: list[tuple[str, Path]] = []
    for given in paths:
        path = given.expanduser()
        if not (path / TRIALS_FILE).is_file() or (path / CHECKPOINT).is_dir():
            found.append((path.name if path.name != CHECKPOINT else path.parent.name, path))
            continue
        targets = [
            (state.arm, state.directory / CHECKPOINT)
            for state in statuses(path)
            if state.arm not in (RANDOM_ARM, SOURCE_ARM, ENCODER_ARM)
            and (state.directory / CHECKPOINT).is_dir()
        ]
        if not targets:
            raise WarmstartError(f"{path} holds no checkpoint: none of its trials has finished.")
        several = len({arm for arm, _ in targets}) > 1
        found += [(arm if several else path.name, where) for arm, where in targets]
    checkpoints = []
    for name, where in found:
        direct = where / CHECKPOINT if (where / CHECKPOINT).is_dir() else where
        checkpoint = load_checkpoint(direct)
        check_fit(direct, checkpoint, task)
        checkpoints.append((name, checkpoint))
    return checkpoints


def _tell(update: Advance, index: int, total: int, name: str, where: str) -> None:
    """Show which policy plays where."""
    update(index, total, f"{name}: {where}")


def _merged(found: "Sequence[tuple[str, GapFigures]]") -> "list[GapFigures]":
    """One gap for each name, over all seeds' episodes."""
    from warmstart.sim2real.gap import merge_gaps

    names = dict.fromkeys(name for name, _ in found)
    return [merge_gaps(name, [gap for other, gap in found if other == name]) for name in names]


def _gap_row(gap: "GapFigures", oracle: "GapFigures | None") -> list[str]:
    plain = gap.to_json()
    shown = [plain["nominal"], plain["in_range"], plain["worst_10_percent"], plain["reality"]]
    row = [gap.policy, *("" if v is None or v != v else f"{v:,.1f}" for v in shown)]
    row.append("" if gap.kept != gap.kept else f"{100 * gap.kept:.0f}%")
    return row if oracle is None else [*row, f"{gap.distance(oracle):,.1f}"]


def print_map(each: "RobustnessMap", threshold: float) -> None:
    """Print mean returns by cell for people; those below the threshold in brackets."""
    worst, at = each.worst
    where = ", ".join(
        f"{sweep.selector} {_factor(sweep.operation, value)}"
        for sweep, value in zip(each.sweeps, at, strict=True)
    )
    first = each.sweeps[0]
    means = each.means if len(each.sweeps) == 2 else each.means[:, None]
    heads = ["return"]
    if len(each.sweeps) == 2:
        heads = [_factor(each.sweeps[1].operation, value) for value in each.sweeps[1].values]
    rows = [
        [
            _factor(first.operation, value),
            *(f"{v:,.0f}" if v >= threshold else f"({v:,.0f})" for v in line),
        ]
        for value, line in zip(first.values, means, strict=True)
    ]
    across = f", {each.sweeps[1].selector} to the right" if len(each.sweeps) == 2 else ""
    print_table(f"{each.policy}: {first.selector} down{across}", [first.selector, *heads], rows)
    good = f"{100 * each.area_above(threshold):.0f}% of the cells reach {threshold:,.1f}"
    console().print(f"worst {worst:,.1f} at {where}; worst 10% {each.worst_share():,.1f}; {good}")
    console().print()


def _factor(operation: str, value: float) -> str:
    return {"scale": f"x{value:.3g}", "add": f"{value:+.3g}"}.get(operation, f"{value:.4g}")


def _check_numbers(episodes: int, seed: int) -> None:
    if episodes < 1 or seed < 0:
        raise WarmstartError(
            f"Expected at least 1 episode and a seed of 0 or more, found {episodes} and {seed}."
        )
