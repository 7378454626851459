"""Numbers as a reader wants them: few digits, thousands apart, a true minus sign."""

import base64
import math
from typing import Any, Literal

from warmstart.experiments.analysis.statistics import Interval

Unit = Literal["return", "normalised", "steps", "s", "ratio", "probability"]

UNKNOWN = "—"
Row = dict[str, Any]
"""What the template shows in one row: values by the names that it knows them by."""


def number(value: float, unit: Unit = "return", *, sign: bool = False) -> str:
    """Format a value in its unit.

    Args:
        value: The value; not finite gives a dash.
        unit: ``steps`` are whole, to four digits, ``s`` turn into minutes and hours, ``ratio`` and
            ``probability`` into percent.
        sign: Whether a positive value gets a plus sign.

    Returns:
        ``1,312``, ``+0.31``, ``4%``, ``2.1 min``.
    """
    if not math.isfinite(value):
        return UNKNOWN
    prefix = "−" if value < 0 else "+" if sign and value > 0 else ""
    size = abs(value)
    if value == 0:
        text = "0 s" if unit == "s" else "0%" if unit in ("ratio", "probability") else "0"
    elif unit == "steps":
        text = f"{float(f'{size:.4g}'):,.0f}"
    elif unit == "s":
        text = duration(size)
    elif unit in ("ratio", "probability"):
        text = f"{100 * size:.1f}%" if 0 < size < 0.0095 else f"{100 * size:,.0f}%"
    elif unit == "normalised":
        text = f"{size:,.2f}"
    else:
        text = f"{size:,.0f}" if size >= 100 else f"{size:.1f}" if size >= 10 else f"{size:.2f}"
    return prefix + text if any(digit in text for digit in "123456789") else text


def bounds(interval: Interval, unit: Unit = "return", *, sign: bool = False) -> str:
    """Format the bounds of an interval: ``−0.02 to +0.71``; empty where they are unknown."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    return f"{number(interval.low, unit, sign=sign)} to {number(interval.high, unit, sign=sign)}"


def duration(seconds: float) -> str:
    """Format a duration: ``0.4 s``, ``52 s``, ``3.1 min``, ``2.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 9.95 or seconds == 0 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def data_uri(content: bytes, kind: str) -> str:
    """Put a file's content into a link: ``data:image/png;base64,…``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def median(value: float, unit: Unit) -> str:
    """Format a median time, which is infinite where fewer than half get there."""
    return "not reached" if value == math.inf else number(value, unit)


def shape(sizes: "list[int] | tuple[int, ...] | None") -> str:
    """Format a tensor's shape: ``64×17``, ``scalar``, a dash where there is none."""
    if sizes is None:
        return UNKNOWN
    return "×".join(str(size) for size in sizes) if sizes else "scalar"


def strip(interval: Interval, low: float, high: float) -> Row | None:
    """Place an interval on a scale, in percent of its width; None without an estimate."""
    if not math.isfinite(interval.estimate):
        return None
    known = math.isfinite(interval.low) and math.isfinite(interval.high)
    ends = {key: position(getattr(interval, key), low, high) if known else None for key in ("low", "high")}
    return {"centre": position(interval.estimate, low, high), **ends}


def position(value: float, low: float, high: float) -> float:
    """Position in percent of the width, with a margin of 4% at either end."""
    share = (value - low) / (high - low) if high > low else 0.5
    return round(4 + 92 * min(max(share, 0.0), 1.0), 2)
