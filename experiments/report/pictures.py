"""What all figures share: colours, a figure that pyplot knows nothing of, and how one is written.

Nothing changes matplotlib's global settings.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.files import save_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#4a5361", "#0068b8", "#c8500a", "#00805e", "#a3498f", "#8f6c00", "#2b86ad", "#7d4b39")
"""Cold arm first; the others can be told apart with any colour vision, as in the report."""
INK, MUTED, GRID = "#20262e", "#5a6577", "#e0e4ea"
_DATED = {"png": "Software", "pdf": "CreationDate", "svg": "Date"}
"""What each format says of when or by what it was made: left out, as the same figure is the same file."""
FORMATS = tuple(_DATED)


def new_figure(size: tuple[float, float], layout: str | None = "constrained") -> "Figure":
    """Make a figure of a width and height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout=layout)  # type: ignore[arg-type]
    FigureCanvasAgg(figure)
    return figure


def add_grid(axes: "Axes", axis: Any = "both") -> None:
    """Draw thin lines behind everything, and no frame at the top and to the right."""
    axes.grid(axis=axis, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def picture(figure: "Figure", kind: str, dpi: int) -> bytes:
    """The same bytes for the same figure, in one of `FORMATS`."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"pdf.fonttype": 42, "svg.hashsalt": "warmstart"}):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata={_DATED[kind]: None})
    return buffer.getvalue()


def check_picture(path: Path) -> None:
    """Raise where a picture can't be written there, before there is one.

    Raises:
        WarmstartError: The file exists already, or its format is unknown.
    """
    if _kind(path) not in FORMATS:
        raise unknown_name("format of a picture", path.suffix or path.name, [f".{name}" for name in FORMATS])
    if path.exists():
        raise WarmstartError(f"{path} exists already and isn't overwritten: name another file, or remove it.")


def save_picture(figure: "Figure", path: Path) -> None:
    """Write a picture entirely or not at all; its folder is made.

    Raises:
        WarmstartError: It can't be written.
    """
    save_file(path, picture(figure, _kind(path), dpi=150))


def _kind(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()
