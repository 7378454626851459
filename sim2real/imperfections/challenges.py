"""Imperfections as YAML writes them, and the named ones of the Real-World RL suite. May import envs."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from typing import Any, TypeVar

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.sim2real.imperfections.imperfections import DELAYS, KINDS, LOSSES, Imperfections
from warmstart.sim2real.imperfections.settings import ActionNoise, Delay, Dropout, Noise, Setting, Stuck

T = TypeVar("T")


def _combined(delay: int, std: float, probability: float, steps: int, repeat: int) -> Imperfections:
    return Imperfections(
        action_delay=Delay(delay, delay),
        observation_delay=Delay(delay, delay),
        noise=(Noise(std),),
        action_noise=(ActionNoise(std),),
        dropout=(Dropout(probability, steps=steps),),
        stuck=(Stuck(probability, steps=steps),),
        action_repeat=repeat,
    )


CHALLENGES: Mapping[str, Imperfections] = {
    "easy": _combined(3, 0.1, 0.01, 1, 1),
    "medium": _combined(6, 0.3, 0.05, 5, 2),
    "hard": _combined(9, 1.0, 0.1, 10, 3),
}
"""The combined challenges of the Real-World RL suite (Dulac-Arnold et al. 2020, arXiv:2003.11881), with the
numbers of its code (google-research/realworldrl_suite, `get_combined_challenge`). Left out are its delayed
rewards (10/20/40 steps), its 10/20/50 observations of mere noise, and its perturbed parameters, which are a
matter of randomization. The suite repeats actions after their noise and drops sensors before others get
stuck; here both are the other way round."""


def challenge(name: str) -> Imperfections:
    """The imperfections of a challenge.

    Raises:
        WarmstartError: There is none of that name.
    """
    if name not in CHALLENGES:
        raise unknown_name("challenge", name, CHALLENGES)
    return CHALLENGES[name]


def read_imperfections(written: Mapping[str, Any] | str) -> Imperfections:
    """Read imperfections as YAML writes them.

    ``{noise: 0.01, observation_delay: [0, 2], motor_strength: [0.8, 1.1]}``. A mapping says more:
    ``{std: 0.01, sensors: ["*.velocity"]}``; a list of mappings holds several settings of a kind.

    Args:
        written: Settings by the names of `Imperfections`, ``challenge`` among them for those of a challenge
            where nothing else is said; or just a challenge's name.

    Raises:
        WarmstartError: A name is unknown, or a value of another type or out of range; the message names it.
    """
    if isinstance(written, str):
        return challenge(written)
    if not isinstance(written, Mapping):
        raise WarmstartError(f"Expected imperfections by name, or a challenge's name, found {written!r}.")
    known = [item.name for item in fields(Imperfections)]
    for key in written:
        if key not in known and key != "challenge":
            raise unknown_name("imperfection", str(key), [*known, "challenge"])
    base = challenge(str(written["challenge"])) if "challenge" in written else Imperfections()
    for key, value in written.items():
        if key != "challenge":
            base = _about(key, _replaced, base, key, value)
    return base


def _replaced(base: Imperfections, key: str, written: Any) -> Imperfections:
    value: Any
    if key in KINDS:
        several = isinstance(written, list | tuple) and all(isinstance(each, Mapping) for each in written)
        value = tuple(_setting(KINDS[key], each) for each in (written if several else [written]))
    elif key in DELAYS:
        value = _setting(Delay, written)
    else:
        value = _number(written) if key in LOSSES else _whole(written)
    return replace(base, **{key: value})


def _setting(kind: type[Setting], written: Any) -> Setting:
    """Read a setting: a mapping, or the number or two numbers that stand for it."""
    known = {item.name: item for item in fields(kind)}
    if not isinstance(written, Mapping):
        numbers = [written] * kind.SHORT if isinstance(written, int | float | str) else written
        if not isinstance(numbers, list | tuple) or len(numbers) != kind.SHORT:
            wanted = "a number" if kind.SHORT == 1 else "a number, two numbers"
            raise WarmstartError(f"Expected {wanted}, a mapping or a list of mappings, found {written!r}.")
        names = [name for name, item in known.items() if not item.kw_only]
        written = dict(zip(names, numbers, strict=False))
    for name in written:
        if name not in known:
            raise unknown_name(f"setting of {kind.__name__}", str(name), known)
    needed = ("low", "high") if kind is Delay else [n for n, item in known.items() if item.default is MISSING]
    for name in needed:
        if name not in written:
            raise WarmstartError(f"Expected {name}, found {dict(written)!r}.")
    values = {}
    for name, value in written.items():
        read: Callable[[Any], Any] = _READERS.get(known[name].type, _patterns)
        values[name] = read(value)
    return kind(**values)


def _about(key: str, make: Callable[..., T], *args: Any) -> T:
    """Say in a mistake's message which imperfection it is about."""
    try:
        return make(*args)
    except WarmstartError as error:
        text = str(error)
        raise WarmstartError(text if key in text else f"{key}: {text[0].lower()}{text[1:]}") from None


def _number(written: Any) -> float:
    try:
        if isinstance(written, bool) or not isinstance(written, int | float | str):
            raise ValueError
        return float(written)  # YAML reads 1e-3 as text
    except ValueError:
        raise WarmstartError(f"Expected a number, found {written!r}.") from None


def _whole(written: Any) -> int:
    number = _number(written)
    if not number.is_integer():
        raise WarmstartError(f"Expected a whole number of steps, found {written!r}.")
    return int(number)


def _patterns(written: Any) -> tuple[str, ...]:
    listed = [written] if isinstance(written, str) else written
    if not isinstance(listed, list | tuple) or not all(isinstance(each, str) for each in listed):
        raise WarmstartError(f"Expected names or patterns of dimensions, found {written!r}.")
    return tuple(listed)


_READERS: Mapping[Any, Callable[[Any], Any]] = {int: _whole, float: _number}
"""How numbers of a type are read."""
