"""Figures that pyplot knows nothing of, their colours, and how they become files."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.core.errors import unknown_name
from warmstart.core.files import check_new, write_result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
COLOURS = ("#4a5361", "#0068b8", "#c8500a", "#00805e", "#a3498f", "#8f6c00", "#2b86ad", "#7d4b39")
"""Cold arm first; the others can be told apart with any colour vision, as in the report."""
MARKERS = ("o", "D", "s", "^", "X", "P", "v", "*")
INK, MUTED, GRID = "#20262e", "#5a6577", "#e0e4ea"
_UNDATED: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}


def new_figure(size: tuple[float, float], **settings: Any) -> "Figure":
    """Make an empty figure of a size in inches (Agg; no global setting of matplotlib changes)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, **{"layout": "constrained", **settings})
    FigureCanvasAgg(figure)
    return figure


def add_grid(axes: "Axes", axis: str = "both") -> None:
    """Draw a faint grid behind the data, and no frame at the top and right."""
    axes.grid(axis=axis, color=GRID, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def figure_bytes(figure: "Figure", kind: str = "png", dpi: int = 150) -> bytes:
    """Content of a figure's file, the same for the same figure: without a date."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"pdf.fonttype": 42, "svg.hashsalt": "warmstart"}):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=_UNDATED[kind])
    return buffer.getvalue()


def check_formats(names: Iterable[str]) -> None:
    """Raise where a figure's format is unknown."""
    for name in names:
        if name not in FORMATS:
            raise unknown_name("figure format", name, FORMATS)


def beside(axes: "Axes", text: str, y: float, offset: tuple[float, float], **style: Any) -> None:
    """Write to the right of the axes, at a value of the vertical one."""
    place: Any = ("axes fraction", "data")
    axes.annotate(
        text, (1, y), xycoords=place, xytext=offset, textcoords="offset points", color=MUTED, **style
    )


def check_picture(path: Path) -> None:
    """Raise where a picture can't be written there, before there is one.

    Raises:
        WarmstartError: The file exists already, or its format is unknown.
    """
    if path.suffix.removeprefix(".").lower() not in FORMATS:
        raise unknown_name("format of a picture", path.suffix or path.name, [f".{name}" for name in FORMATS])
    check_new(path)


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure entirely or not at all; its folder is made.

    Raises:
        WarmstartError: It can't be written.
    """
    write_result(path, figure_bytes(figure, path.suffix.removeprefix(".").lower()))
