"""Typed dataclasses from plain values (YAML, JSON, the command line) and back: the one reader of settings.

Names, types and bounds are those of the fields' annotations, ``Annotated[int, Bounds(1)]`` among them.
"""

import difflib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from warmstart.core.bounds import Before, Bounds, Place, SettingError, Settings, all_fit, show
from warmstart.core.errors import WarmstartError, unknown_name

MOST = 1 << 1023
"""Largest whole number that stands for a float."""
T = TypeVar("T")
P = ParamSpec("P")
_origin: Callable[[Any], Any] = cache(get_origin)
_arguments: Callable[[Any], tuple[Any, ...]] = cache(get_args)


def read(kind: Any, value: Any, place: Place = ()) -> Any:
    """Turn a plain value into what an annotation says.

    Lists stand for tuples, whole numbers for floats, mappings for dataclasses. A dataclass with a class
    method ``from_plain`` gets the value first, and returns a mapping of its fields or an instance.

    Args:
        kind: A type, union, literal, ``Annotated`` or dataclass.
        value: Plain data, or an instance of what is wanted.
        place: Where it stands, for messages.

    Raises:
        SettingError: Unknown or missing name, wrong type, out of bounds, or refused by the class itself.
    """
    origin, arguments = _origin(kind), _arguments(kind)
    if kind is Any or kind is object:
        return value
    if origin is Annotated:
        return _read_annotated(arguments[0], arguments[1:], value, place)
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value, place)
    if origin is Literal:
        if any(value == option and type(value) is type(option) for option in arguments):
            return value
        close = difflib.get_close_matches(value, map(str, arguments), n=1) if isinstance(value, str) else []
        hint = f" Did you mean {close[0]!r}?" if close else ""
        expected = ", ".join(map(repr, arguments))
        raise SettingError(place, f"expected one of {expected}, found {value!r}.{hint}")
    if origin in (tuple, list, Sequence) or kind in (tuple, list):
        return _read_sequence(arguments, value, list if origin is list or kind is list else tuple, place)
    if origin in (dict, Mapping) or kind in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise SettingError(place, f"expected a mapping, found {show(value)}.")
        inner = arguments[1] if len(arguments) == 2 else Any
        if set(map(type, value)) <= {str} and all_fit(inner, value.values()):
            return dict(value)
        return {str(key): read(inner, item, (*place, str(key))) for key, item in value.items()}
    if is_dataclass(kind) and isinstance(kind, type):
        return _read_dataclass(kind, value, place)
    return _read_scalar(kind, value, place)


def register_named(noun: str, table: dict[str, Any], kind: type) -> None:
    """Add a class of settings to a table that `read_named` reads.

    Args:
        noun: What is named, for messages: ``"reward"``.
        table: The classes by name.
        kind: The class, whose name stands in its attribute ``name``.

    Raises:
        WarmstartError: It has no name, or another class has it.
    """
    name: str = getattr(kind, "name", "")
    if not name or table.get(name, kind).__qualname__ != kind.__qualname__:
        problem = "has no name" if not name else f"takes a name that is there already: {name!r}"
        raise WarmstartError(f"The {noun} {kind.__name__} {problem}; set the class's name to another.")
    table[name] = kind


def read_named(
    noun: str, table: Mapping[str, type[T]], value: Any, tag: str = "name", place: Place = ()
) -> T:
    """Read one of several dataclasses, which the value names: ``{method: paced, success: 2000}``.

    Args:
        noun: What is named, for messages: ``"curriculum"``.
        table: The dataclasses by name.
        value: A name, a mapping with the name under `tag` and settings beside it, or an instance of one.
        tag: Key of the name.
        place: Where it stands, for messages.

    Raises:
        SettingError: No or an unknown name, or as `read`.
    """
    if type(value) in table.values():
        return value  # type: ignore[no-any-return]
    settings: Mapping[Any, Any] = {tag: value} if isinstance(value, str) else value
    if not isinstance(settings, Mapping) or not isinstance(settings.get(tag), str):
        raise SettingError(
            place,
            f"expected the name of a {noun}, or a mapping with it under {tag!r} "
            f"({', '.join(table)}), found {show(value)}.",
        )
    name = settings[tag]
    if name not in table:
        raise SettingError((*place, tag), str(unknown_name(noun, name, table)))
    found: T = read(table[name], {key: item for key, item in settings.items() if key != tag}, place)
    return found


def replaced(config: T, values: Settings, place: Place = ()) -> T:
    """Return a copy of a dataclass with some fields read from plain values; see `read`.

    Raises:
        SettingError: As `read`.
    """
    changes = _read_fields(type(config), values, place)
    return _made(lambda: replace(config, **changes), values, place)  # type: ignore[type-var]


def check(config: Any) -> None:
    """Check a dataclass's own fields against their annotated bounds and words; for ``__post_init__``.

    Raises:
        SettingError: A number is out of bounds, or a word isn't one of a field's ``Literal``.
    """
    for name, hint in _hints(type(config)).items():
        of = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        if all(kind is types.NoneType or get_origin(kind) is Literal for kind in of):
            read(hint, getattr(config, name), (name,))
        for bounds in _all_bounds(hint):
            bounds.check(getattr(config, name), (name,))


def placed(place: Place, make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call something, and say of a mistake where among the settings it stands.

    Raises:
        SettingError: `make` raised a `WarmstartError`; a place that it names lies inside `place`.
    """
    return _made(lambda: make(*args, **kwargs), {}, place)


def to_plain(value: Any, defaults: bool = True) -> Any:
    """Turn a dataclass (or a value inside one) into what JSON and YAML hold; tuples become lists.

    Args:
        value: What to turn.
        defaults: Whether to keep fields of dataclasses that are as by default.

    Raises:
        WarmstartError: Something inside isn't plain data.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: to_plain(getattr(value, item.name), defaults)
            for item in fields(value)
            if item.init and (defaults or getattr(value, item.name) != _default(item))
        }
    if isinstance(value, Mapping):
        return {str(key): to_plain(item, defaults) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item, defaults) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise WarmstartError(f"A setting must be plain data, found {value!r} of type {type(value).__name__}.")


def setting_names(kind: type) -> tuple[str, ...]:
    """Names of the fields that can be set on a dataclass."""
    return tuple(_hints(kind))


def _hints(kind: Any) -> dict[str, Any]:
    """Annotation of each field that the constructor takes."""
    return _cached_hints(kind)


@cache
def _cached_hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {item.name: hints[item.name] for item in fields(kind) if item.init}


def _all_bounds(hint: Any) -> list[Bounds]:
    own = [extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Bounds)]
    inner = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    return own + [bounds for argument in inner for bounds in _all_bounds(argument)]


def _read_annotated(kind: Any, extras: tuple[Any, ...], value: Any, place: Place) -> Any:
    for extra in extras:
        if isinstance(extra, Before):
            value = _made(lambda: extra.function(value), {}, place)  # noqa: B023 (called at once)
    found = read(kind, value, place)
    for extra in extras:
        if isinstance(extra, Bounds):
            extra.check(found, place)
    return found


def _read_scalar(kind: Any, value: Any, place: Place) -> Any:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    if kind in (None, types.NoneType):
        fits = value is None
    elif isinstance(value, bool):
        fits = kind is bool
    elif kind is float:
        fits = isinstance(value, float) or (isinstance(value, int) and abs(value) <= MOST)
    elif kind is int:
        fits = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    elif kind is Path:
        fits = isinstance(value, str | Path)
    else:
        fits = isinstance(kind, type) and isinstance(value, kind)
    if not fits:
        expected = words.get(kind, "nothing (null)" if kind in (None, types.NoneType) else kind.__name__)
        raise SettingError(place, f"expected {expected}, found {show(value)}.")
    return kind(value) if kind in (int, float, Path) else value


def _read_union(options: tuple[Any, ...], value: Any, place: Place) -> Any:
    for option in options:
        plain = get_args(option)[0] if get_origin(option) is Annotated else option
        if isinstance(plain, type) and type(value) is plain:
            return read(option, value, place)
    wrong: list[SettingError] = []
    for option in options:
        try:
            return read(option, value, place)
        except SettingError as error:
            wrong.append(error)
    deeper = [error for error in wrong if len(error.place) > len(place)]
    if deeper:
        raise deeper[0]
    expected = [error.message.removeprefix("expected ").partition(", found ")[0] for error in wrong]
    raise SettingError(place, f"expected {' or '.join(dict.fromkeys(expected))}, found {show(value)}.")


def _read_sequence(hints: tuple[Any, ...], value: Any, kind: type, place: Place) -> Any:
    if not isinstance(value, list | tuple):
        raise SettingError(place, f"expected a list, found {show(value)}.")
    if not hints:
        return kind(value)
    if (kind is list or hints[-1] is Ellipsis) and all_fit(hints[0], value):
        return kind(value)
    if len(hints) == 1 or hints[-1] is Ellipsis:
        hints = hints[:1] * len(value)
    if len(hints) != len(value):
        raise SettingError(place, f"expected a list of {len(hints)} values, found {show(value)}.")
    pairs = enumerate(zip(hints, value, strict=True))
    return kind(read(hint, item, (*place, index)) for index, (hint, item) in pairs)


def _read_dataclass(kind: type[T], value: Any, place: Place) -> T:
    if isinstance(value, kind):
        return value
    from_plain = getattr(kind, "from_plain", None)
    if from_plain is not None:
        value = _made(lambda: from_plain(value), {}, place)
        if isinstance(value, kind):
            return value
    if not isinstance(value, Mapping):
        raise SettingError(place, f"expected a mapping with {', '.join(_hints(kind))}, found {show(value)}.")
    given = _read_fields(kind, value, place)
    for item in fields(kind):  # type: ignore[arg-type]
        if item.init and _default(item) is MISSING and item.name not in given:
            raise SettingError(place, f"{item.name!r} is missing.")
    return _made(lambda: kind(**given), value, place)


def _read_fields(kind: type, values: Settings, place: Place) -> dict[str, Any]:
    hints = _hints(kind)
    for key in values:
        if key not in hints:
            raise SettingError((*place, str(key)), str(unknown_name("setting", str(key), hints)))
    return {key: read(hints[key], item, (*place, key)) for key, item in values.items()}


def _made(make: Callable[[], T], given: Settings, place: Place) -> T:
    """Make something, and say of a mistake where it stands: at its only setting, or at all of them."""
    try:
        return make()
    except SettingError as error:
        raise error.inside(*place) from None
    except WarmstartError as error:
        raise SettingError((*place, *given) if len(given) == 1 else place, str(error)) from None


def _default(item: "Field[Any]") -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()
