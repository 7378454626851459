"""Dataclasses from plain values: bounds, annotations, short forms, names, and where a mistake stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from warmstart.core.errors import WarmstartError
from warmstart.core.plain import (
    Bounds,
    Count,
    Fraction,
    Names,
    Natural,
    NonNegative,
    Pair,
    Positive,
    SettingError,
    check,
    read,
    read_named,
)


@dataclass(frozen=True)
class Noise:
    std: NonNegative
    share: Fraction = 1.0

    @classmethod
    def from_plain(cls, value: Any) -> Any:
        """A number is its standard deviation; a word is refused."""
        if isinstance(value, str):
            raise WarmstartError(f"expected how noisy it is, found {value!r}.")
        return {"std": value} if isinstance(value, int | float) else value


@dataclass(frozen=True)
class Robot:
    legs: Count = 2
    names: Names = ()
    mass: Pair = (1.0, 1.0)
    delay: Natural | tuple[Natural, Natural] | None = None
    noise: tuple[Noise, ...] = ()
    by_part: Mapping[str, Noise] | None = None
    ratio: Annotated[float, Bounds(0, 1, above=True, below=True)] = 0.5
    gain: Positive = 1.0

    def __post_init__(self) -> None:
        check(self)


def test_short_forms_are_read_as_full_ones() -> None:
    found = read(Robot, {"names": "torso", "mass": 2, "noise": [0.1, {"std": 1}], "by_part": {"hip": 0}})
    assert found == Robot(
        names=("torso",), mass=(2.0, 2.0), noise=(Noise(0.1), Noise(1.0)), by_part={"hip": Noise(0.0)}
    )
    assert read(Robot, found) is found
    assert read(Robot, {"delay": [1, 2]}).delay == (1, 2)
    assert read(Robot, {"delay": 3}).delay == 3


@pytest.mark.parametrize(
    ("value", "place", "said"),
    [
        ({"legs": 0}, "legs", "expected a number at least 1, found 0"),
        ({"delay": [0, -1]}, "delay[1]", "at least 0, found -1"),
        ({"noise": [0.1, {"std": -1}]}, "noise[1].std", "at least 0 and finite, found -1"),
        ({"noise": [{"std": 1, "shar": 1}]}, "noise[0].shar", "Did you mean 'share'"),
        ({"noise": [{"share": 1}]}, "noise[0]", "'std' is missing"),
        ({"noise": ["loud"]}, "noise[0]", "expected how noisy it is, found 'loud'"),
        ({"by_part": {"hip": {"std": 1, "share": 2}}}, "by_part.hip.share", "from 0 to 1, found 2"),
        ({"ratio": 1}, "ratio", "above 0 and below 1, found 1"),
        ({"gain": float("inf")}, "gain", "above 0 and finite, found inf"),
        ({"gain": float("nan")}, "gain", "found nan"),
        ({"delay": "no"}, "delay", "expected a whole number or a list or nothing (null), found 'no'"),
        ([1], "", "expected a mapping with legs, names"),
    ],
)
def test_a_mistake_says_where_it_stands(value: Any, place: str, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        read(Robot, value)
    assert said in caught.value.message
    assert str(caught.value) == (f"{place}: " if place else "") + caught.value.message


def test_what_python_passes_is_checked_as_well() -> None:
    with pytest.raises(SettingError, match="legs: expected a number at least 1, found -1"):
        Robot(legs=-1)


def test_one_of_several_is_named() -> None:
    table = {"noise": Noise, "robot": Robot}
    assert read_named("thing", table, "robot") == Robot()
    assert read_named("thing", table, {"kind": "noise", "std": 2}, tag="kind") == Noise(2.0)
    made = Robot(legs=4)
    assert read_named("thing", table, made) is made
    for value, said in (
        ("nois", "name: Unknown thing 'nois'. Did you mean 'noise'"),
        ({"std": 2}, "expected the name of a thing, or a mapping with it under 'name' \\(noise, robot\\)"),
        ({"name": "noise", "std": -2}, "std: expected a number at least 0"),
    ):
        with pytest.raises(SettingError, match=said):
            read_named("thing", table, value)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Bounds(1), "at least 1"),
        (Bounds(high=2), "at most 2"),
        (Bounds(high=2, below=True), "below 2"),
        (Bounds(0, 1), "from 0 to 1"),
        (Bounds(0, 1, below=True), "from 0 to below 1"),
        (Bounds(0, 1, above=True), "above 0 and at most 1"),
    ],
)
def test_bounds_in_words(bounds: Bounds, words: str) -> None:
    assert str(bounds) == words
