"""The report: one HTML file that opens offline, without a single network request.

Plotly is inlined; a content security policy in the page forbids any request. Whatever comes from a run is
escaped.
"""

import json
import math
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from warmstart.core.bounds import State
from warmstart.core.files import write_result
from warmstart.experiments.analysis.curves import RunData
from warmstart.experiments.analysis.summary import Summary
from warmstart.experiments.analysis.verdict import p_text
from warmstart.experiments.report import formatting, sections
from warmstart.experiments.report.reality import drawn_charts, gap_table, judged_diverged, map_pictures


def write_report(run: RunData, summary: Summary, path: str | Path) -> Path:
    """Write the report of a run, whole or not at all; returns its path.

    Args:
        run: The run: transfer reports and tracebacks are taken from it.
        summary: Its numbers, from `summarise`.
        path: The HTML file.

    Raises:
        WarmstartError: The file can't be written.
    """
    return write_result(Path(path), render_report(run, summary).encode())


def render_report(run: RunData, summary: Summary) -> str:
    """Render the report as one HTML document with everything inside."""
    from plotly.offline import get_plotlyjs

    study = json.loads(json.dumps(summary.study, default=str))
    return _template().render(
        run=run,
        summary=summary,
        css=Markup(asset("report.css")),
        script=Markup(asset("report.js")),
        plotly=Markup(get_plotlyjs()),
        data=Markup(_json(chart_data(summary))),
        study=yaml.safe_dump(study, sort_keys=False, allow_unicode=True) if study else "",
        has_source=any(arm.source_steps for arm in summary.arms),
        has_clock=any(_known(arm.seconds) for arm in summary.arms),
        reality=str(study.get("reality") or ""),
        gaps=gap_table(run, summary),
        diverged=judged_diverged(run),
        maps=map_pictures(run, summary),
        drawn=drawn_charts(run, summary),
        sections=sections,
        text=formatting,
        p_text=p_text,
    )


def chart_data(summary: Summary) -> State:
    """What the curves are drawn from, as JSON values: arms with their aggregates and their seeds' curves."""
    timed = [curve for curve in summary.curves if len(curve.seconds) and math.isfinite(curve.seconds[-1])]
    longest = max((curve.seconds[-1] + curve.source_seconds for curve in timed), default=0.0)
    unit, scale = ("s", 1) if longest < 600 else ("min", 60) if longest < 3 * 3600 else ("h", 3600)
    plain = summary.to_json()
    kept = ("name", "constant", "seconds", "source_steps", "source_seconds", "bands")
    arms = [
        {
            **{key: arm[key] for key in kept},
            "index": summary.colour(arm["name"]),
            "curves": [curve for curve in plain["curves"] if curve["arm"] == arm["name"]],
        }
        for arm in plain["arms"]
    ]
    shared = {key: plain[key] for key in ("steps", "threshold", "baseline", "source_curves")}
    return {**shared, "time": {"unit": unit, "scale": scale}, "arms": arms}


def _json(value: Any) -> str:
    """JSON that is safe inside a script element: nothing in it can end the element or start a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _known(values: Sequence[float]) -> bool:
    return bool(values) and math.isfinite(values[-1]) and values[-1] > 0


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(asset("report.html.j2"))


@cache
def asset(name: str) -> str:
    """A file of the templates' folder."""
    return resources.files("warmstart.experiments.templates").joinpath(name).read_text(encoding="utf-8")
