"""Frozen dataclasses from plain values and back: algorithm configurations and methods in YAML and JSON.

Names and types are checked against the fields' annotations. Imports nothing of ours but errors.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from warmstart.core.errors import WarmstartError, unknown_name

T = TypeVar("T")
MakeError = Callable[[str, str], WarmstartError]
"""Builds the error for a key and a message."""


def override(config: T, values: Mapping[str, Any], error: MakeError | None = None) -> T:
    """Return a copy of a dataclass with some fields replaced by plain values.

    Args:
        config: A frozen dataclass.
        values: Field names and values as they come from YAML or JSON: lists stand for tuples, whole
            numbers for floats, mappings for nested dataclasses.
        error: Builds the error for a field's name and a message; by default it names the class.

    Raises:
        WarmstartError: Unknown field or wrong type.
    """
    fail = error or (lambda key, message: WarmstartError(f"{type(config).__name__}.{key}: {message}"))
    kind: type[Any] = type(config)
    hints = _hints(kind)
    changes = {}
    for key, value in values.items():
        if key not in hints:
            raise fail(key, str(unknown_name("setting", key, hints)))
        try:
            changes[key] = _convert(value, hints[key])
        except _WrongTypeError as wrong:
            raise fail(key, str(wrong)) from None
    try:
        return replace(config, **changes)  # type: ignore[type-var]
    except WarmstartError as refused:
        raise fail(next(iter(values), ""), str(refused)) from None


def to_plain(value: Any) -> Any:
    """Turn a dataclass (or a value inside one) into what JSON and YAML hold; tuples become lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_plain(getattr(value, item.name)) for item in fields(value) if item.init}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise WarmstartError(f"A setting must be plain data, found {value!r} of type {type(value).__name__}.")


def setting_names(kind: type) -> tuple[str, ...]:
    """Names of the fields that can be set on a dataclass."""
    return tuple(_hints(kind))


def _hints(kind: type[Any]) -> dict[str, Any]:
    """Annotation of each field that the constructor takes."""
    hints = get_type_hints(kind)
    return {item.name: hints[item.name] for item in fields(kind) if item.init}


class _WrongTypeError(Exception):
    """A value that doesn't fit an annotation; says what was expected and found."""


def _convert(value: Any, hint: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments)
    if origin is Literal:
        if value in arguments and any(value == a and type(value) is type(a) for a in arguments):
            return value
        raise _WrongTypeError(f"expected one of {', '.join(map(repr, arguments))}, found {value!r}.")
    if origin in (tuple, list, Sequence) or hint in (tuple, list):
        return _convert_sequence(value, arguments, list if origin is list or hint is list else tuple)
    if origin in (dict, Mapping) or hint in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _WrongTypeError(f"expected a mapping, found {value!r}.")
        inner = arguments[1] if len(arguments) == 2 else Any
        return {str(key): _convert(item, inner) for key, item in value.items()}
    if is_dataclass(hint) and isinstance(hint, type):
        return _convert_dataclass(value, hint)
    return _convert_plain(value, hint)


def _convert_plain(value: Any, hint: Any) -> Any:
    if hint is None or hint is types.NoneType:
        if value is None:
            return None
        raise _WrongTypeError(f"expected nothing (null), found {value!r}.")
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    if isinstance(value, bool):
        fits = hint is bool
    elif hint is float:
        fits = isinstance(value, (int, float))
    elif hint is int:
        fits = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    elif hint is Path:
        fits = isinstance(value, (str, Path))
    else:
        fits = isinstance(hint, type) and isinstance(value, hint)
    if not fits:
        raise _WrongTypeError(
            f"expected {words.get(hint, getattr(hint, '__name__', hint))}, found {value!r}."
        )
    return hint(value) if hint in (int, float, Path) else value


def _convert_union(value: Any, arguments: tuple[Any, ...]) -> Any:
    for exact in arguments:
        if isinstance(exact, type) and type(value) is exact:
            return value
    messages = []
    for option in arguments:
        try:
            return _convert(value, option)
        except _WrongTypeError as wrong:
            messages.append(str(wrong).removeprefix("expected ").split(", found ")[0])
    raise _WrongTypeError(f"expected {' or '.join(dict.fromkeys(messages))}, found {value!r}.")


def _convert_sequence(value: Any, arguments: tuple[Any, ...], kind: type) -> Any:
    if not isinstance(value, (list, tuple)):
        raise _WrongTypeError(f"expected a list, found {value!r}.")
    if not arguments:
        return kind(value)
    if len(arguments) == 1 or arguments[-1] is Ellipsis:
        return kind(_convert(item, arguments[0]) for item in value)
    if len(arguments) != len(value):
        raise _WrongTypeError(f"expected a list of {len(arguments)} values, found {value!r}.")
    return kind(_convert(item, hint) for item, hint in zip(value, arguments, strict=True))


def _convert_dataclass(value: Any, kind: type) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise _WrongTypeError(f"expected a mapping with {', '.join(_hints(kind))}, found {value!r}.")
    hints = _hints(kind)
    unknown = [key for key in value if key not in hints]
    missing = [item.name for item in fields(kind) if item.init and _required(item) and item.name not in value]
    if unknown or missing:
        raise _WrongTypeError(f"expected a mapping with {', '.join(hints)}, found {dict(value)!r}.")
    return kind(**{key: _convert(item, hints[key]) for key, item in value.items()})


def _required(item: "Field[Any]") -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def raw_algorithm(value: Any) -> str | dict[str, Any]:
    """A name, or a mapping of settings."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"expected a name or a mapping with `name` and settings, found {value!r}.")


def raw_list(value: Any) -> tuple[Any, ...]:
    """A list of methods."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"expected a list of methods, found {value!r}.")
    return tuple(value)


def raw_seeds(value: Any) -> int | tuple[int, ...]:
    """A number of seeds, or a list of them."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"expected a number of seeds or a list of seeds, found {value!r}.")
    return tuple(value)


def raw_mapping(value: Any) -> dict[str, Any]:
    """A mapping."""
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping, found {value!r}.")
    return dict(value)
