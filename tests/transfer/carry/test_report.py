"""The transfer report: counts, table, JSON."""

import json

import pytest
from rich.console import Console

from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.report import TransferEntry, TransferReport

REPORT = TransferReport(
    "fine_tune",
    "ppo",
    "source",
    "Walker2d-v5",
    (
        TransferEntry("a.weight", (64, 11), (64, 17), "aligned", False, "11 of 17 [by name]"),
        TransferEntry("a.bias", (64,), (64,), "copied", True),
        TransferEntry("log_std", (3,), (6,), "reset"),
        TransferEntry("normalizer.count", (), (), "capped"),
        TransferEntry("new.weight", None, (1, 64), "reinitialised"),
    ),
    ("a note",),
    steps=1024,
)


def test_counts():
    assert REPORT.copied == 3
    assert REPORT.counts == {
        "aligned": 1, "capped": 1, "copied": 1, "reinitialised": 1, "reset": 1, "frozen": 1
    }  # fmt: skip


def test_json_round_trip():
    again = TransferReport.from_json(json.loads(REPORT.dumps()))
    assert again == REPORT
    assert again.entry("a.weight").target_shape == (64, 17)


def test_broken_json_is_said():
    data = REPORT.to_json()
    del data["entries"][0]["action"]
    with pytest.raises(WarmstartError, match="action"):
        TransferReport.from_json(data)
    data["entries"][0]["action"] = "copyed"
    with pytest.raises(WarmstartError, match="Did you mean 'copied'"):
        TransferReport.from_json(data)


def test_table_shows_shapes_brackets_and_notes():
    text = str(REPORT)
    for part in ("64×11", "64×17", "11 of 17 [by name]", "copied · frozen", "scalar", "—", "• a note"):
        assert part in text
    with Console(width=100, file=None) as console, console.capture() as captured:
        console.print(REPORT)
    assert "a.weight" in captured.get()


def test_unknown_entry_names_the_nearest():
    with pytest.raises(WarmstartError, match=r"'a\.weight'"):
        REPORT.entry("a.weigth")
