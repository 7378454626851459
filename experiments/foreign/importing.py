"""Curves that others recorded: SB3's evaluations.npz and monitor files, TensorBoard events, our own runs.

``read_runs(["cold=logs/a/evaluations.npz", "warm=logs/b"])`` gives a `RunData` like that of a study. Nothing
is unpickled.
"""

import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.experiments.analysis.curves import Curve, RunData
from warmstart.experiments.analysis.summary import Summary, summarise, write_summary
from warmstart.experiments.foreign.evaluations import read_evaluations
from warmstart.experiments.foreign.events import is_events, read_events
from warmstart.experiments.foreign.monitors import read_monitors
from warmstart.experiments.foreign.naming import name_arms
from warmstart.experiments.foreign.recording import Recording
from warmstart.experiments.report.canvas import FORMATS
from warmstart.experiments.report.figures import save_figures
from warmstart.experiments.report.report import write_report
from warmstart.experiments.run.reading import TRIALS_FILE, load_run


@dataclass(frozen=True, eq=False)
class Compiled:
    """What was written."""

    run: RunData
    summary: Summary
    paths: tuple[Path, ...]
    """report.html, summary.json, figures."""


def compile_report(
    runs: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    baseline: str | None = None,
    tag: str | None = None,
    figures: Sequence[str] = (),
) -> Compiled:
    """Write report, summary and figures of a run, or of curves that others made.

    Args:
        runs: A run's folder, or curves as ``PATH`` or ``ARM=PATH`` (see `read_runs`).
        out: Folder to write to; by default that of a single run of ours, else the current one.
        baseline: Arm that the others are compared with.
        tag: Scalar to read from TensorBoard event files.
        figures: Formats of the figures: any of png, pdf, svg.

    Returns:
        The numbers and the files.

    Raises:
        WarmstartError: Nothing to read, or nothing could be written.
    """
    for name in figures:
        if name not in FORMATS:
            raise unknown_name("figure format", name, FORMATS)
    specs = [str(item) for item in runs]
    run = read_runs(specs, baseline=baseline, tag=tag)
    if not run.curves:
        raise WarmstartError(f"{', '.join(specs)}: no trial was evaluated yet: nothing to report.")
    own = len(specs) == 1 and bool(run.study)
    folder = Path(out) if out is not None else Path(specs[0]) if own else Path()
    summary = summarise(run)
    paths = [
        write_report(run, summary, folder / "report.html"),
        write_summary(summary, folder / "summary.json"),
    ]
    if figures:
        paths += save_figures(summary, folder, figures)
    return Compiled(run, summary, tuple(paths))


def read_runs(specs: Sequence[str], *, baseline: str | None = None, tag: str | None = None) -> RunData:
    """Read curves from files and folders and put them side by side.

    An arm's name is what stands before ``=``, or is taken from the path (`naming.name_arms`). Specs with the
    same name are seeds of one arm. A folder is searched for, in this order, a run of ours,
    ``evaluations.npz``, monitor files, event files; each folder that holds one of them is one seed.

    Args:
        specs: ``PATH`` or ``ARM=PATH``.
        baseline: Arm that the others are compared with; by default that of the first run, else ``scratch``,
            else the first arm.
        tag: Scalar to read from event files; by default the first of `events.TAGS` that is there.

    Returns:
        One run. A single run of ours is given back as it is.

    Raises:
        WarmstartError: A path doesn't exist, holds no curves, or a file is truncated or foreign; or there is
            no arm of the baseline's name.
    """
    if not specs:
        raise WarmstartError("Expected a run's folder, or curves as ARM=PATH; found nothing.")
    curves: list[Curve] = []
    runs: list[RunData] = []
    given: list[tuple[str, Recording]] = []
    for spec in specs:
        name, path = _split(spec)
        if (path / TRIALS_FILE).is_file():
            run = load_run(path)
            runs.append(run)
            curves += _renamed(run, name, several=len(specs) > 1)
            continue
        given += [(name, recording) for recording in _recordings(path, tag)]
    named, notes = name_arms([recording.path for _, recording in given])
    numbered = False
    for (name, recording), (arm, seed) in zip(given, named, strict=True):
        arm = name or arm
        taken = {curve.seed for curve in curves if curve.arm == arm}
        if seed is None or seed in taken:
            seed, numbered = next(i for i in range(len(taken) + 1) if i not in taken), True
        curves.append(_curve(recording, arm, seed))
        notes += recording.notes
    if numbered:
        notes.append("Where paths name no seed, curves are numbered in the order given, and paired by it.")
    if len(runs) == len(specs) == 1:
        return runs[0] if baseline is None else _compared_with(runs[0], baseline)
    return _together(specs, curves, runs, notes, baseline)


def _compared_with(run: RunData, baseline: str) -> RunData:
    """The run with another of its arms as the cold one."""
    if run.curves and baseline not in run.arms:
        raise unknown_name("baseline", baseline, run.arms)
    return replace(run, baseline=baseline)


def _together(
    specs: Sequence[str], curves: list[Curve], runs: list[RunData], notes: list[str], baseline: str | None
) -> RunData:
    """One run of all the curves."""
    arms = tuple(dict.fromkeys(curve.arm for curve in curves))
    if baseline is not None and baseline not in arms:
        raise unknown_name("baseline", baseline, arms)
    cold = baseline or ("scratch" if "scratch" in arms else arms[0])
    randoms = {run.random_return for run in runs}
    folders = dict.fromkeys(_split(spec)[1].name for spec in specs)
    return RunData(
        name=" vs ".join(arms) if len(arms) < 5 else ", ".join(folders),
        curves=tuple(curves),
        failures=tuple(failure for run in runs for failure in run.failures),
        random_return=randoms.pop() if len(randoms) == 1 and len(runs) == len(specs) else None,
        versions={key: value for run in runs for key, value in run.versions.items()},
        baseline=cold,
        notes=tuple(dict.fromkeys([*notes, *(note for run in runs for note in run.notes)])),
    )


def _split(spec: str) -> tuple[str, Path]:
    """``ARM=PATH`` or ``PATH``; a path that exists and holds an equals sign is a path."""
    name, equals, rest = spec.partition("=")
    if equals and name and rest and not Path(spec).exists():
        path = Path(rest).expanduser()
    else:
        name, path = "", Path(spec).expanduser()
    if not path.exists():
        raise WarmstartError(
            f"{path} doesn't exist. Expected a run's folder, evaluations.npz, a monitor file, a TensorBoard "
            "event file or a folder with one of them, as PATH or ARM=PATH."
        )
    return name, path


def _renamed(run: RunData, name: str, *, several: bool) -> list[Curve]:
    """Curves of one of several runs: arms are told apart by the run's name."""
    if not several:
        return list(run.curves)
    prefix = name or run.name
    arms = {curve.arm for curve in run.curves}
    return [
        replace(curve, arm=prefix if name and len(arms) == 1 else f"{prefix}: {curve.arm}")
        for curve in run.curves
    ]


def _recordings(path: Path, tag: str | None) -> list[Recording]:
    """Read whatever a path holds."""
    if path.is_file():
        if path.suffix == ".npz":
            return [read_evaluations(path)]
        if path.suffix == ".csv":
            return [read_monitors([path])]
        if is_events(path):
            return [read_events(path, tag)]
        raise WarmstartError(
            f"{path} isn't a kind of file that curves are read from. Expected evaluations.npz, *.monitor.csv "
            "or a TensorBoard event file (events.out.tfevents.…)."
        )
    if tag is None:
        if found := _find(path, "evaluations.npz"):
            return [read_evaluations(file) for file in found]
        if folders := sorted({file.parent for file in _find(path, "*monitor.csv")}):
            return [read_monitors(sorted(folder.glob("*monitor.csv"))) for folder in folders]
    if folders := sorted({file.parent for file in _find(path, "events.out.tfevents.*")}):
        return [read_events(folder, tag) for folder in folders]
    raise WarmstartError(
        f"No curves under {path}. Expected a run's folder (with {TRIALS_FILE}), evaluations.npz, "
        "*monitor.csv or TensorBoard event files in it."
    )


def _find(folder: Path, pattern: str) -> list[Path]:
    """Files under a folder whose name fits; links to folders are followed, each folder is entered once."""
    found, entered = [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        found += [Path(place, name) for name in fnmatch.filter(files, pattern)]
    return sorted(found)


def _curve(recording: Recording, arm: str, seed: int) -> Curve:
    return Curve(
        arm=arm,
        seed=seed,
        steps=recording.steps,
        returns=recording.returns,
        seconds=recording.seconds,
        path=recording.path,
    )
