"""Figures for papers and READMEs: convergence curves and the differences to the cold arm, with matplotlib."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from warmstart.core.files import write_result
from warmstart.experiments.analysis.curves import Curve
from warmstart.experiments.analysis.summary import ArmSummary, Summary
from warmstart.experiments.report.canvas import (
    COLOURS,
    MARKERS,
    MUTED,
    add_grid,
    check_formats,
    figure_bytes,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Axis = Literal["steps", "steps_with_source", "seconds", "seconds_with_source"]


_LABELS: dict[Axis, str] = {
    "steps": "Training steps in the target",
    "steps_with_source": "Training steps, the source's counted in",
    "seconds": "Training wall-clock in the target (s)",
    "seconds_with_source": "Training wall-clock, the source's counted in (s)",
}


def draw_curves(
    summary: Summary,
    *,
    axis: Axis = "steps",
    aggregate: Literal["iqm", "mean"] = "iqm",
    seeds: bool = False,
    size: tuple[float, float] = (7.2, 3.8),
) -> "Figure":
    """Draw the convergence curves of all arms with 95% bootstrap bands.

    Args:
        summary: The numbers of a run.
        axis: What runs to the right.
        aggregate: Interquartile mean or mean over seeds.
        seeds: Whether each seed is drawn, too.
        size: Width and height in inches.

    Returns:
        A figure with one axes; ``figure.savefig(path)`` writes it.
    """
    figure = new_figure(size)
    axes = figure.subplots()
    arms = [arm for arm in summary.arms if aggregate in arm.bands]
    end = max((_positions(arm, summary, axis)[-1] for arm in arms if not arm.constant), default=1.0)
    for arm in arms:
        index = summary.colour(arm.name)
        colour, marker = COLOURS[index], MARKERS[index]
        band = arm.bands[aggregate]
        x = _positions(arm, summary, axis)
        if arm.constant:
            x = np.linspace(x[0], max(end, x[0]), len(summary.steps))
        if np.isfinite(band.low).all():
            axes.fill_between(x, band.low, band.high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(
            x,
            band.centre,
            color=colour,
            marker="" if arm.constant else marker,
            markersize=3.5,
            markevery=max(1, len(x) // 10),
            linewidth=1.8,
            linestyle="--" if arm.constant else "-",
            label=arm.name,
        )
    if seeds:
        for curve in summary.curves:
            if not curve.constant:
                colour = COLOURS[summary.colour(curve.arm)]
                x = _positions(curve, summary, axis)
                axes.plot(x, curve.returns, color=colour, alpha=0.35, linewidth=0.7)
    if np.isfinite(summary.threshold):
        axes.axhline(summary.threshold, color=MUTED, linewidth=0.9, linestyle=":")
        axes.annotate(
            "θ",
            (1, summary.threshold),
            xycoords=("axes fraction", "data"),
            xytext=(4, -3),
            textcoords="offset points",
            color=MUTED,
        )
    axes.set_xlabel(_LABELS[axis])
    axes.set_ylabel("Return in the target")
    if axis.startswith("steps"):
        axes.xaxis.set_major_formatter(_short_steps)
    add_grid(axes)
    if arms:
        columns = min(len(arms), max(1, int(size[0] / (0.6 + 0.085 * max(len(arm.name) for arm in arms)))))
        figure.legend(
            *axes.get_legend_handles_labels(),
            frameon=False,
            fontsize="small",
            ncols=columns,
            loc="outside lower center",
        )
    if summary.study.get("source") and summary.study.get("target"):
        title = f"{summary.study['source']} → {summary.study['target']}"
        width = max(20, int(11 * size[0]))
        axes.set_title("\n".join(textwrap.wrap(title, width)), fontsize="medium", parse_math=False)
    return figure


def draw_differences(summary: Summary, *, size: tuple[float, float] | None = None) -> "Figure":
    """Draw the primary metric of every compared arm with the interval that its verdict rests on.

    Args:
        summary: The numbers of a run.
        size: Width and height in inches; by default as high as the arms ask for.

    Returns:
        A figure with one axes: arms from top to bottom, zero is no difference.
    """
    arms = [arm for arm in summary.compared if arm.verdict and np.isfinite(arm.verdict.difference.estimate)]
    figure = new_figure(size or (6.4, 1.1 + 0.48 * max(len(arms), 1)))
    axes = figure.subplots()
    axes.axvline(0, color=MUTED, linewidth=1)
    for row, arm in enumerate(arms):
        assert arm.verdict is not None
        index = summary.colour(arm.name)
        colour, marker = COLOURS[index], MARKERS[index]
        difference = arm.verdict.difference
        if np.isfinite([difference.low, difference.high]).all():
            axes.plot([difference.low, difference.high], [row, row], color=colour, linewidth=2.2)
        axes.plot([difference.estimate], [row], color=colour, marker=marker, markersize=7, linestyle="")
        axes.annotate(
            arm.verdict.outcome + (" (provisional)" if arm.verdict.provisional else ""),
            (1, row),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
            color=MUTED,
        )
    axes.set_yticks(range(len(arms)), [arm.name for arm in arms])
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.set_xlabel(f"Normalised area under the curve, difference to {summary.baseline}")
    add_grid(axes, "x")
    return figure


def save_figures(
    summary: Summary, directory: str | Path, formats: Sequence[str] = ("png",)
) -> tuple[Path, ...]:
    """Write the curves and the differences, each in every format asked for.

    Args:
        summary: The numbers of a run.
        directory: Where to: ``curves.FORMAT`` and ``differences.FORMAT``.
        formats: Any of `FORMATS`.

    Returns:
        The files.

    Raises:
        WarmstartError: Unknown format, or the files can't be written.
    """
    check_formats(formats)
    return tuple(
        write_result(Path(directory) / f"{name}.{kind}", figure_bytes(figure, kind, dpi=200))
        for name, figure in (("curves", draw_curves(summary)), ("differences", draw_differences(summary)))
        for kind in dict.fromkeys(formats)
    )


def _positions(of: ArmSummary | Curve, summary: Summary, axis: Axis) -> NDArray[np.float64]:
    """Where the evaluations of an arm or a trial lie on an axis. Shape: (points,)."""
    steps = of.steps if isinstance(of, Curve) else summary.steps
    values = np.asarray(steps if axis.startswith("steps") else of.seconds, dtype=np.float64)
    shifts = {"steps_with_source": of.source_steps, "seconds_with_source": of.source_seconds}
    return values + shifts.get(axis, 0.0)


def _short_steps(value: float, _: object = None) -> str:
    """A tick label for steps: ``250k``, ``1.5M``."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
