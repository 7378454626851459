"""Plain values to typed fields and back."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from warmstart.core.bounds import Before, Finite, SettingError, unquoted
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import check, placed, read, replaced, setting_names, to_plain


@dataclass(frozen=True)
class Inner:
    low: float
    high: float = 1.0


@dataclass(frozen=True)
class Config:
    count: int = 1
    rate: float = 0.1
    flag: bool = False
    word: str = "a"
    choice: bool | Literal["auto"] = "auto"
    widths: tuple[int, ...] = (1, 2)
    pair: tuple[int, float] = (1, 2.0)
    maybe: float | None = None
    inner: Inner = Inner(0.0)
    names: dict[str, int] | None = None


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("count", 1e3, 1000),
        ("rate", 1, 1.0),
        ("flag", True, True),
        ("choice", False, False),
        ("choice", "auto", "auto"),
        ("widths", [3, 4.0], (3, 4)),
        ("pair", [1, 2], (1, 2.0)),
        ("maybe", None, None),
        ("maybe", 2, 2.0),
        ("inner", {"low": 1}, Inner(1.0)),
        ("names", {"a": 1}, {"a": 1}),
    ],
)
def test_values_take_the_fields_type(key: str, value: Any, expected: Any) -> None:
    found = getattr(replaced(Config(), {key: value}), key)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cont", 1, "Unknown setting 'cont'.*'count'"),
        ("count", 1.5, "count: expected a whole number, found 1.5"),
        ("count", True, "expected a whole number, found True"),
        ("rate", "fast", "expected a number, found 'fast'"),
        ("flag", 1, "expected true or false, found 1"),
        ("choice", "auot", "expected true or false or one of 'auto', found 'auot'"),
        ("widths", 3, "expected a list, found 3"),
        ("pair", [1], "expected a list of 2 values"),
        ("inner", {"hgh": 1}, r"inner\.hgh: Unknown setting 'hgh'.*'high'"),
        ("inner", {"high": 1}, "inner: 'low' is missing"),
        ("names", {"a": "b"}, r"names\.a: expected a whole number, found 'b'"),
    ],
)
def test_other_values_are_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(WarmstartError, match=message):
        replaced(Config(), {key: value})


def test_plain_values_read_back() -> None:
    config = Config(widths=(5,), inner=Inner(-1.0, 2.0), names={"x": 3})
    assert replaced(Config(), to_plain(config)) == config
    assert set(to_plain(config)) == set(setting_names(Config))
    with pytest.raises(WarmstartError, match="plain data"):
        to_plain({"a": object()})


def test_a_mistake_is_told_from_further_out() -> None:
    with pytest.raises(SettingError, match=r"^arms\[1\]\.count: expected a whole number"):
        placed(("arms", 1), replaced, Config(), {"count": "x"})

    def refuse() -> None:
        raise WarmstartError("no such task")

    with pytest.raises(SettingError, match=r"^target: no such task"):
        placed(("target",), refuse)


def test_numbers_may_be_written_as_text_where_it_is_said() -> None:
    kind = Annotated[Finite, Before(unquoted)]
    assert read(kind, "1e-3") == 0.001
    for written, message in (
        ("wide", "expected a number, found 'wide'"),
        (math.inf, "that is finite, found inf"),
    ):
        with pytest.raises(SettingError, match=message):
            read(kind, written)


def test_words_that_may_be_left_out_are_checked_too() -> None:
    @dataclass
    class Config:
        word: Literal["one", "two"] | None = None

        def __post_init__(self) -> None:
            check(self)

    assert Config("two").word == "two"
    assert Config().word is None
    with pytest.raises(SettingError, match=r"word: .*three"):
        Config("three")  # type: ignore[arg-type]
