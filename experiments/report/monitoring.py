"""The report of runs of exported policies: what their logs tell, as one HTML file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from warmstart.core.files import write_result
from warmstart.experiments.report.reality import small_chart
from warmstart.experiments.report.report import asset
from warmstart.sim2real.deployment.drift import FEWEST, OUTSIDE, SHIFT, SPREAD, Drift
from warmstart.sim2real.deployment.monitor import TIMES, Monitored, episodes
from warmstart.sim2real.deployment.scalars import windows
from warmstart.transfer.replaying.run_logs import RunLog

_FARTHEST = 4.0
"""Standard deviations at the ends of the drift's scale; what lies beyond is shown at the end."""
_CURVES = {
    "latency/late_p99_ms": "step behind its time, p99, ms",
    "latency/compute_p99_ms": "policy, p99, ms",
    "latency/age_p99_ms": "observation's age, p99, ms",
    "latency/round_trip_p50_ms": "command to observation, p50, ms",
}
_MOST_CURVES = 24


def write_monitor_report(runs: Sequence[tuple[RunLog, Monitored]], path: Path, window: float) -> Path:
    """Write the report of some runs, whole or not at all; returns its path.

    Args:
        runs: Logs, and what they tell.
        path: The HTML file.
        window: Seconds that a point of a curve stands for.

    Raises:
        WarmstartError: The file can't be written.
    """
    return write_result(path, render_monitor_report(runs, window).encode())


def render_monitor_report(runs: Sequence[tuple[RunLog, Monitored]], window: float) -> str:
    """Render the report as one HTML document that needs no network."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(asset("monitor.html.j2")).render(
        runs=[{"told": told, "curves": _curves(log, window)} for log, told in runs],
        css=Markup(asset("report.css")),
        window=window,
        times=TIMES,
        place=_place,
        shift=_shift,
        share=_share,
        number=_number,
        rule={"shift": SHIFT, "spread": SPREAD, "outside": OUTSIDE, "fewest": FEWEST, "far": _FARTHEST},
    )


def _curves(log: RunLog, window: float) -> list[dict[str, Any]]:
    """Small charts: latencies and each action's saturation over the run's time, returns by episode."""
    records = [{"step": at, "values": values} for _, at, values in windows(log, window)]
    names = dict(_CURVES)
    names |= {f"saturation/{name}": f"{name} at a limit, share" for name in log.action}
    charts = (small_chart(label, records, "values", name) for name, label in names.items())
    returns: list[dict[str, Any]] = [
        {"step": n, "values": {"return": each.total}} for n, each in enumerate(episodes(log)) if each.ended
    ]
    known = [each for each in returns if not math.isnan(each["values"]["return"])]
    every = [*charts, small_chart("return, by episode", known, "values", "return")]
    found = [chart for chart in every if chart is not None]
    return [*found[:_MOST_CURVES], *found[_MOST_CURVES:][-1:]]


def _place(shift: float) -> float:
    """Where a shift stands on its scale, in percent of the width."""
    within = min(max(shift, -_FARTHEST), _FARTHEST)
    return round(50 + 46 * within / _FARTHEST, 2)


def _shift(each: Drift) -> str:
    """A shift with its error: ``+0.31 ± 0.05``."""
    error = "" if math.isnan(each.error) else f" ± {2 * each.error:.2f}"
    return f"{each.shift:+.2f}{error}".replace("-", "−")


def _share(value: float) -> str:
    return "—" if math.isnan(value) else f"{value:.1%}"


def _number(value: float, form: str = ",.1f") -> str:
    return "—" if math.isnan(value) else format(value, form).replace("-", "−")
