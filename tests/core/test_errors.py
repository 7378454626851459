"""Messages that quote what a file holds: short enough to read, and nothing in them commands a terminal."""

import pytest

from warmstart.core.errors import LONGEST, WarmstartError, readable, unknown_name


def test_nothing_in_a_message_commands_a_terminal() -> None:
    found = readable("a\x1b]0;title\x07b\x9b31m\tc\nd\u202ee é ×")
    assert found == "a\\x1b]0;title\\x07b\\x9b31m\tc\nd\\u202ee é ×"
    assert str(WarmstartError("\x1b[2J")) == "\\x1b[2J"
    assert "\x1b" not in str(unknown_name("tensor", "\x1b[31m", ["\x1b[0m"]))


@pytest.mark.parametrize("size", [LONGEST, LONGEST + 1, 100_000])
def test_the_middle_of_a_long_message_is_left_out(size: int) -> None:
    text = "<" + "x" * (size - 2) + ">"
    found = str(WarmstartError(text))
    assert found[0] + found[-1] == "<>"
    if size == LONGEST:
        assert found == text
    else:
        assert len(found) < LONGEST + 50
        assert f"({size - LONGEST:,} characters left out)" in found
