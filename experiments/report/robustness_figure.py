"""The picture of robustness maps: a heat map, or a curve, for each policy."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from warmstart.core.errors import WarmstartError
from warmstart.experiments.report.canvas import COLOURS, INK, MUTED, add_grid, new_figure
from warmstart.sim2real.robustness import RobustnessMap, Span, Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TRAINED = "#0068b8"
_ABREAST = 4
"""Maps in a row of the picture."""


def draw_maps(
    maps: Sequence[RobustnessMap],
    task: str,
    threshold: float,
    trained: Sequence[Sequence[Span | None]] = (),
    limits: tuple[float, float] | None = None,
) -> "Figure":
    """Draw one or several policies' maps side by side, on one scale.

    Args:
        maps: Of the same sweeps.
        task: What was played, for the title.
        threshold: A return that counts as good; cells below it are hatched, or lie below a line.
        trained: For each policy the range of each sweep's parameter that it was trained on, as `trained_on`
            tells it, to be drawn in.
        limits: Lowest and highest return of the colours; None for those of the maps.

    Raises:
        WarmstartError: The maps are of different sweeps.
    """
    if len({each.sweeps for each in maps}) != 1:
        raise WarmstartError("Maps that are drawn side by side have to be of the same sweeps.")
    sweeps = maps[0].sweeps
    spans = list(trained) or [[None] * len(sweeps)] * len(maps)
    flat = len(sweeps) == 1
    columns, rows = (1, 1) if flat else (min(len(maps), _ABREAST), -(-len(maps) // _ABREAST))
    width = 7.5 if flat else max(5.6, 1.6 + 4.0 * columns)
    figure = new_figure((width, 0.6 + 4.0 * rows))
    figure.suptitle(f"Return in {task}", color=INK, fontsize=11, x=0.02, ha="left")
    if flat:
        _draw_curves(figure, maps, threshold, spans)
    else:
        _draw_heat(figure, maps, threshold, spans, limits)
    return figure


def return_limits(maps: Iterable[RobustnessMap]) -> tuple[float, float]:
    """Lowest and highest mean return of the maps' cells."""
    means = np.concatenate([each.means.ravel() for each in maps])
    return float(means.min()), float(means.max())


def _draw_curves(
    figure: "Figure",
    maps: Sequence[RobustnessMap],
    threshold: float,
    trained: Sequence[Sequence[Span | None]],
) -> None:
    axes = figure.add_subplot()
    sweep = maps[0].sweeps[0]
    for index, (each, (span,)) in enumerate(zip(maps, trained, strict=True)):
        colour = COLOURS[1 + index % (len(COLOURS) - 1)]
        spread = each.returns.std(axis=1) / np.sqrt(each.returns.shape[1])
        axes.plot(sweep.values, each.means, color=colour, marker="o", markersize=3.5, label=each.policy)
        low, high = each.means - 2 * spread, each.means + 2 * spread
        axes.fill_between(sweep.values, low, high, color=colour, alpha=0.15, linewidth=0)
        if span is not None:
            axes.axvspan(*span, color=colour, alpha=0.07, linewidth=0)
    axes.axhline(threshold, color=MUTED, linewidth=0.9, linestyle=":")
    if sweep.nominal is not None:
        axes.axvline(sweep.nominal, color=MUTED, linewidth=0.9)
    axes.set_xlabel(_label(sweep))
    axes.set_ylabel("Return (mean ± 2 standard errors)")
    add_grid(axes)
    axes.legend(frameon=False, fontsize="small")


def _draw_heat(
    figure: "Figure",
    maps: Sequence[RobustnessMap],
    threshold: float,
    trained: Sequence[Sequence[Span | None]],
    limits: tuple[float, float] | None,
) -> None:
    from matplotlib.patches import Rectangle

    first, second = maps[0].sweeps
    low, high = limits or return_limits(maps)
    columns = min(len(maps), _ABREAST)
    grid = figure.subplots(-(-len(maps) // columns), columns, squeeze=False, sharey=True)
    panels = grid.ravel()[: len(maps)]
    for axes in grid.ravel()[len(maps) :]:
        axes.set_visible(False)
    image: Any = None
    for axes, each, spans in zip(panels, maps, trained, strict=True):
        means = each.means.T  # the first sweep runs to the right
        image = axes.imshow(means, origin="lower", aspect="auto", cmap="viridis", vmin=low, vmax=high)
        for (row, column), value in np.ndenumerate(means):
            shade = (value - low) / max(high - low, 1e-12)
            if means.size <= 81:
                colour = "#ffffff" if shade < 0.6 else INK
                axes.text(column, row, _short(value), ha="center", va="center", fontsize=7, color=colour)
            if value < threshold:
                corner = (column - 0.5, row - 0.5)
                axes.add_patch(
                    Rectangle(corner, 1, 1, fill=False, hatch="///", edgecolor="#ffffff55", linewidth=0)
                )
        _draw_trained(axes, first, second, spans)
        axes.set_xticks(range(len(first.values)), [f"{v:.3g}" for v in first.values], fontsize=8)
        axes.set_yticks(range(len(second.values)), [f"{v:.3g}" for v in second.values], fontsize=8)
        axes.set_xlabel(_label(first))
        worst, _ = each.worst
        good = f"{100 * each.area_above(threshold):.0f}% good"
        axes.set_title(f"{each.policy}\n{good}, worst {_short(worst)}", fontsize=9, color=INK)
    for axes in grid[:, 0]:
        axes.set_ylabel(_label(second))
    bar = figure.colorbar(image, ax=list(grid.ravel()), shrink=0.9, aspect=20 * len(grid))
    bar.ax.axhline(threshold, color="#ffffff", linewidth=1.5)
    figure.supxlabel(
        f"Hatched: below {_short(threshold)}. Frame: trained on. Circle: nominal.", fontsize=8, color=MUTED
    )


def _draw_trained(axes: Any, first: Sweep, second: Sweep, found: Sequence[Span | None]) -> None:
    """A frame around what the policy was trained on, a circle where the task is nominal."""
    from matplotlib.patches import Rectangle

    nominal = [_place(sweep, 1.0 if sweep.nominal is None else sweep.nominal) for sweep in (first, second)]
    if first.nominal is not None and second.nominal is not None:
        axes.plot(*nominal, marker="o", markersize=14, fillstyle="none", color="#ffffff", linewidth=0)
    if any(found):
        ends = [
            (place, place) if span is None else tuple(_place(sweep, value) for value in span)
            for sweep, span, place in zip((first, second), found, nominal, strict=True)
        ]
        (left, right), (bottom, top) = ((a - 0.15, b + 0.15) for a, b in ends)
        for colour, width in (("#ffffff", 3), (_TRAINED, 1.5)):
            frame = Rectangle((left, bottom), right - left, top - bottom)
            frame.set(fill=False, edgecolor=colour, linewidth=width)
            axes.add_patch(frame)


def _place(sweep: Sweep, value: float) -> float:
    """Where a value lies between the cells of an axis."""
    return float(np.interp(value, sweep.values, np.arange(len(sweep.values))))


def _label(sweep: Sweep) -> str:
    prefix = {"scale": " (× value)", "add": " (+ value)"}
    return sweep.selector + prefix.get(sweep.operation, "")


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
