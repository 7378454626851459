"""Curves that others recorded: SB3's evaluations.npz and monitor files, TensorBoard events, our own runs.

``read_runs(["cold=logs/a/evaluations.npz", "warm=logs/b"])`` gives a `RunData` like that of a study. Nothing
is unpickled.
"""

import fnmatch
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from warmstart.agents.checkpoints.places import TRIALS_FILE
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.experiments.analysis.curves import Curve, RunData
from warmstart.experiments.foreign.evaluations import read_evaluations
from warmstart.experiments.foreign.events import is_events, read_events
from warmstart.experiments.foreign.monitors import read_monitors
from warmstart.experiments.foreign.naming import name_arms
from warmstart.experiments.foreign.recording import Recording
from warmstart.experiments.report.canvas import check_formats
from warmstart.experiments.report.results import Results, write_results
from warmstart.experiments.run.reading import load_run

_NUMBERED_NOTE = "Where paths name no seed, curves are numbered in the order given, and paired by it."


def compile_report(
    runs: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    baseline: str | None = None,
    tag: str | None = None,
    figures: Sequence[str] = (),
) -> Results:
    """Write report, summary and figures of a run, or of curves that others made.

    Args:
        runs: A run's folder, or curves as ``PATH`` or ``ARM=PATH`` (see `read_runs`).
        out: Folder to write to; by default that of a single run of ours, else the current one.
        baseline: Arm that the others are compared with.
        tag: Scalar to read from TensorBoard event files.
        figures: Formats of the figures: any of png, pdf, svg.

    Raises:
        WarmstartError: Nothing to read, or nothing could be written.
    """
    check_formats(figures)
    specs = [str(item) for item in runs]
    run = read_runs(specs, baseline=baseline, tag=tag)
    if not run.curves:
        raise WarmstartError(f"{', '.join(specs)}: no trial was evaluated yet: nothing to report.")
    own = len(specs) == 1 and bool(run.study)
    folder = Path(out) if out is not None else Path(specs[0]) if own else Path()
    return write_results(run, folder, figures)


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
    recordings: list[tuple[str, Recording]] = []
    given = [_split(spec) for spec in specs]
    for name, path in given:
        if (path / TRIALS_FILE).is_file():
            runs.append(load_run(path))
            curves += _renamed(runs[-1], name) if len(specs) > 1 else runs[-1].curves
            continue
        recordings += [(name, recording) for recording in _recordings(path, tag)]
    named, notes = name_arms([recording.path for _, recording in recordings])
    for (name, recording), (arm, seed) in zip(recordings, named, strict=True):
        arm = name or arm
        taken = {curve.seed for curve in curves if curve.arm == arm}
        if seed is None or seed in taken:
            seed = next(i for i in range(len(taken) + 1) if i not in taken)
            notes.append(_NUMBERED_NOTE)
        measured = {key: getattr(recording, key) for key in ("steps", "returns", "seconds", "path")}
        curves.append(Curve(arm=arm, seed=seed, **measured))
        notes += recording.notes
    arms = tuple(dict.fromkeys(curve.arm for curve in curves))
    alone = runs[0] if len(runs) == len(specs) == 1 else None
    known = arms if alone is None else alone.arms
    if baseline is not None and known and baseline not in known:
        raise unknown_name("baseline", baseline, known)
    if alone is not None:
        return replace(alone, baseline=baseline or alone.baseline)
    randoms = {run.random_return for run in runs}
    folders = dict.fromkeys(path.name for _, path in given)
    notes.sort(key=_NUMBERED_NOTE.__eq__)
    return RunData(
        name=" vs ".join(arms) if len(arms) < 5 else ", ".join(folders),
        curves=tuple(curves),
        failures=tuple(failure for run in runs for failure in run.failures),
        random_return=randoms.pop() if len(randoms) == 1 and len(runs) == len(specs) else None,
        versions={key: value for run in runs for key, value in run.versions.items()},
        baseline=baseline or ("scratch" if "scratch" in arms else arms[0]),
        notes=tuple(dict.fromkeys([*notes, *(note for run in runs for note in run.notes)])),
    )


def _split(spec: str) -> tuple[str, Path]:
    """``ARM=PATH`` or ``PATH``; a path that exists and holds an equals sign is a path."""
    name, equals, rest = spec.partition("=")
    if not (equals and name and rest) or Path(spec).exists():
        name, rest = "", spec
    path = Path(rest).expanduser()
    if not path.exists():
        raise WarmstartError(
            f"{path} doesn't exist. Expected a run's folder, evaluations.npz, a monitor file, a TensorBoard "
            "event file or a folder with one of them, as PATH or ARM=PATH."
        )
    return name, path


def _renamed(run: RunData, name: str) -> list[Curve]:
    """Curves of one of several runs: arms are told apart by the run's name."""
    prefix = name or run.name
    one = name and len({curve.arm for curve in run.curves}) == 1
    return [replace(curve, arm=prefix if one else f"{prefix}: {curve.arm}") for curve in run.curves]


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
