"""The page over all pairs: a row for each, the methods ranked, and performance profiles."""

import io
import json
import math
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from warmstart.core.files import finite_json, write_result
from warmstart.experiments.pairs.aggregate import Aggregate
from warmstart.experiments.report.report import asset

FORMAT = 1
"""Version of the run's summary.json."""


def write_page(found: Aggregate, directory: Path) -> Path:
    """Write ``report.html`` and ``summary.json`` of a run over pairs; returns the page's path.

    Raises:
        WarmstartError: They can't be written.
    """
    numbers = finite_json({"format": FORMAT, **asdict(found)})
    text = json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_result(directory / "summary.json", text.encode())
    return write_result(directory / "report.html", render(found).encode())


def render(found: Aggregate) -> str:
    """The page as one HTML document that needs no network."""
    template = resources.files("warmstart.experiments.templates").joinpath("pairs.html.j2").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(
        run=found,
        css=Markup(asset("report.css")),
        picture=Markup(profiles(found)),
        number=signed,
        interval=interval,
        share=share,
    )


def profiles(found: Aggregate) -> str:
    """Performance profiles as SVG: the share of seeds at or above each difference in area."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.8))
    axes = figure.subplots()
    for method in found.methods:
        axes.plot(found.taus, method.profile, label=method.name, linewidth=1.6)
    axes.axvline(0.0, color="0.6", linewidth=1.0)
    axes.set_xlabel(f"difference in normalised area to {found.baseline}, at least")
    axes.set_ylabel("share of seeds")
    axes.set_ylim(0, 1.02)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    text = io.StringIO()
    with rc_context({"svg.hashsalt": found.name}):  # the same numbers make the same page
        figure.savefig(text, format="svg", metadata={"Date": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :]


def signed(value: float) -> str:
    """A difference with its sign; a dash where there is none."""
    return "—" if not math.isfinite(value) else f"{value:+.2f}".replace("-", "−")


def interval(found: Any) -> str:
    """The bounds of an interval in words; empty without."""
    known = math.isfinite(found.low) and math.isfinite(found.high)
    return f"{signed(found.low)} to {signed(found.high)}" if known else ""


def share(value: float) -> str:
    """A share of the budget; ``never`` where it isn't reached."""
    return "—" if math.isnan(value) else "never" if math.isinf(value) else f"{value:.0%}"
