"""Figures for papers and READMEs: convergence curves and the differences to the cold arm, with matplotlib."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from warmstart.core.files import write_result
from warmstart.experiments.analysis.summary import Summary
from warmstart.experiments.report.canvas import (
    COLOURS,
    MARKERS,
    MUTED,
    add_grid,
    beside,
    check_formats,
    figure_bytes,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE = (7.2, 3.8)
"""Of the curves, width and height in inches."""


def draw_curves(summary: Summary) -> "Figure":
    """Draw the interquartile means of all arms over training steps, with 95% bootstrap bands.

    Returns:
        A figure with one axes; ``figure.savefig(path)`` writes it.
    """
    figure = new_figure(_SIZE)
    axes = figure.subplots()
    arms = [arm for arm in summary.arms if arm.bands]
    x = np.asarray(summary.steps)
    for arm in arms:
        colour, marker = _style(summary, arm.name)
        band = arm.bands["iqm"]
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
    if np.isfinite(summary.threshold):
        axes.axhline(summary.threshold, color=MUTED, linewidth=0.9, linestyle=":")
        beside(axes, "θ", summary.threshold, (4, -3))
    axes.set_xlabel("Training steps in the target")
    axes.set_ylabel("Return in the target")
    axes.xaxis.set_major_formatter(_short_steps)
    add_grid(axes)
    if arms:
        columns = int(_SIZE[0] / (0.6 + 0.085 * max(len(arm.name) for arm in arms)))
        handles, labels = axes.get_legend_handles_labels()
        style = {"frameon": False, "fontsize": "small", "ncols": min(len(arms), max(1, columns))}
        figure.legend(handles, labels, loc="outside lower center", **style)
    if summary.study.get("source") and summary.study.get("target"):
        title = f"{summary.study['source']} → {summary.study['target']}"
        wrapped = textwrap.wrap(title, int(11 * _SIZE[0]))
        axes.set_title("\n".join(wrapped), fontsize="medium", parse_math=False)
    return figure


def draw_differences(summary: Summary) -> "Figure":
    """Draw the primary metric of every compared arm with the interval that its verdict rests on.

    Returns:
        A figure with one axes: arms from top to bottom, zero is no difference.
    """
    judged = [(arm.name, arm.verdict) for arm in summary.compared if arm.verdict is not None]
    rows = [(name, verdict) for name, verdict in judged if np.isfinite(verdict.difference.estimate)]
    figure = new_figure((6.4, 1.1 + 0.48 * max(len(rows), 1)))
    axes = figure.subplots()
    axes.axvline(0, color=MUTED, linewidth=1)
    for row, (name, verdict) in enumerate(rows):
        colour, marker = _style(summary, name)
        ends = [verdict.difference.low, verdict.difference.high]
        if np.isfinite(ends).all():
            axes.plot(ends, [row, row], color=colour, linewidth=2.2)
        estimate = [verdict.difference.estimate]
        axes.plot(estimate, [row], color=colour, marker=marker, markersize=7, linestyle="")
        outcome = verdict.outcome + (" (provisional)" if verdict.provisional else "")
        beside(axes, outcome, row, (6, 0), va="center", fontsize="small")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"Normalised area under the curve, difference to {summary.baseline}")
    add_grid(axes, "x")
    return figure


def save_figures(
    summary: Summary, directory: str | Path, formats: Sequence[str] = ("png",)
) -> tuple[Path, ...]:
    """Write ``curves.FORMAT`` and ``differences.FORMAT`` in every format asked for; returns the files.

    Raises:
        WarmstartError: Unknown format, or the files can't be written.
    """
    check_formats(formats)
    if not formats:
        return ()
    return tuple(
        write_result(Path(directory) / f"{name}.{kind}", figure_bytes(figure, kind, dpi=200))
        for name, figure in (("curves", draw_curves(summary)), ("differences", draw_differences(summary)))
        for kind in dict.fromkeys(formats)
    )


def _style(summary: Summary, arm: str) -> tuple[str, str]:
    """Colour and marker of an arm."""
    index = summary.colour(arm)
    return COLOURS[index], MARKERS[index]


def _short_steps(value: float, _: object = None) -> str:
    """A tick label for steps: ``250k``, ``1.5M``."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
