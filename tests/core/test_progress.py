"""Progress: lines where there is no terminal, a table where there is one."""

import re
from dataclasses import replace

import pytest

from warmstart.core import progress
from warmstart.core.progress import Lines, LiveTable, Progress, Work, make_progress

RUNNING = Work("running", 32, 64, seconds=2, note="return 5.0", unit="steps", speed=1234)


def test_work_in_words() -> None:
    assert str(RUNNING) == "32/64 steps, 1.23k steps/s, return 5.0, 0:02 left"
    assert str(replace(RUNNING, state="done", done=64)) == "64/64 steps, 1.23k steps/s, return 5.0"
    assert str(Work()) == ""
    assert Work(done=1, total=3601, seconds=2).end == "2:00:00 left"
    assert replace(RUNNING, state="interrupted").end == "interrupted"
    assert Work(done=1_500_000, total=2_000_000).amount == "1.5M/2M"


def test_lines_say_when_work_starts_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with make_progress("plain", ["a", "b"]) as lines:
        assert isinstance(lines, Lines)
        for name in ("a", "b"):
            lines.show(name, Work("waiting"))
        for work in (RUNNING, RUNNING, replace(RUNNING, state="done", done=64)):
            lines.show("a", work)
        lines.show("b", Work("failed", error="ValueError: no"))
    said = ["a: started", "a: done 64/64 steps, 1.23k steps/s, return 5.0 [1/2 trials done]"]
    assert capsys.readouterr().err.splitlines() == [*said, "b: failed: ValueError: no"]


def test_lines_are_repeated_after_a_while(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = Lines()
    advance = lines.stage("Drawing frames")
    for now in (101.0, 116.0, 117.0):
        advance(int(now) - 100, 100, "well")
    advance(100, 100)
    assert capsys.readouterr().err.splitlines() == [
        "Drawing frames: started",
        "Drawing frames: 16/100, well, 1:24 left",
        "Drawing frames: done 100/100, 17 s",
    ]


def test_a_live_table_shows_the_rows_that_fit(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["[/red] trial 0", *(f"trial {number}" for number in range(1, 9))]
    live = make_progress("live", names)
    assert isinstance(live, LiveTable)
    live.console.width, live.console.height = 120, 8
    with live:
        live.show("trial 8", RUNNING)
        live.message("hello [there]")
    shown = capsys.readouterr().err
    assert "hello [there]" in shown
    assert re.search(r"▶ trial 8 .*32/64 +1.23k steps/s +return 5.0 +0:02 left", shown)
    assert "9 trials: 1 running, 8 waiting" in shown
    assert "[/red] trial 0" in shown, "a name isn't markup"
    assert "trial 7" not in shown


def test_stages_are_rows_without_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    with make_progress("live") as live:
        live.stage("Probing")(2, 2, "fine")
    shown = capsys.readouterr().err
    assert re.search(r"✓ Probing .*2/2 +fine, 0 s", shown)
    assert "trials" not in shown


def test_nothing_is_shown_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with make_progress("none") as nothing:
        assert type(nothing) is Progress
        nothing.stage("Probing")(1, 2)
        nothing.message("hello")
    assert isinstance(make_progress(), Lines), "no terminal here"
    assert capsys.readouterr() == ("", "")
