"""Strict YAML: values with the line they stand on, typed reading, one clear error for each mistake.

Only plain data is built (YAML never names code). Scalars follow YAML 1.2's core schema: `3e-4` is a number,
`off` is a word. Duplicate keys, unknown keys and wrong types are errors with file and line.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from warmstart.core.errors import WarmstartError, unknown_name

T = TypeVar("T")
Place = tuple[str | int, ...]
"""Keys and indices that lead from the top of a document to one of its values."""

_MOST_VALUES = 100_000
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?[0-9][0-9_]*$")
_FLOAT = re.compile(
    r"^[-+]?(?:(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"
)


class _Loader(yaml.SafeLoader):
    """`SafeLoader` with the core schema's plain scalars instead of YAML 1.1's."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back: quotes what would otherwise read as another type."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Repeat equal values rather than refer to them by anchors."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        """Indent the items of a list below its key."""
        super().increase_indent(flow, False)


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:null", _NULL, ["~", "n", "N", ""])
    _class.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
    _class.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def _represent_list(dumper: yaml.SafeDumper, data: Sequence[Any]) -> yaml.Node:
    flow = all(not isinstance(item, (Mapping, list, tuple)) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)


def dump_yaml(data: Mapping[str, Any], comment: str = "") -> str:
    """Write plain data as YAML that `parse_yaml` reads back equal.

    Args:
        data: Mappings, lists, strings, numbers, booleans, None.
        comment: Lines put at the top, without their `#`.

    Returns:
        The text; keys stand in the order of `data`.
    """
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + str(yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


@dataclass(frozen=True)
class Document:
    """Plain data and the lines that its values stand on."""

    data: Any
    source: str = "study"
    """What error messages call it: the file's name, or `study` for data from Python."""
    lines: Mapping[Place, int] = field(default_factory=dict)

    def error(self, place: Place, message: str) -> WarmstartError:
        """Build the error for the value at `place`, naming file, line and key."""
        known = next(
            (self.lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in self.lines), None
        )
        where = self.source if known is None else f"{self.source}, line {known}"
        return WarmstartError(f"{where}: {_dotted(place)}{': ' if place else ''}{message}")


def _dotted(place: Place) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def read_yaml(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        WarmstartError: No such file, not UTF-8 text, not YAML, tags, anchors that contain themselves, or a
            key given twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise WarmstartError(f"There is no file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WarmstartError(f"{path} can't be read as text: {error}.") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Document:
    """Parse YAML text; see `read_yaml`. `source` is what messages call it."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Place, int] = {}
        data = None if node is None else _build(node, (), lines, source, ())
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise WarmstartError(f"{source}{line}: not valid YAML: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise WarmstartError(f"{source}: not valid YAML: {error}.") from None
    except RecursionError:
        raise WarmstartError(f"{source}: nested too deeply; is this a study?") from None
    finally:
        loader.dispose()
    return Document(data, source, lines)


def _float(text: str) -> float:
    return float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,  # noqa: ARG005
    "bool": lambda text: text.lower() == "true",
    "int": lambda text: int(text.replace("_", "")),
    "float": _float,
    "str": str,
}


def _build(
    node: yaml.Node,
    place: Place,
    lines: dict[Place, int],
    source: str,
    parents: tuple[yaml.Node, ...],
) -> Any:
    """Turn a node into plain data and note the line of each value."""
    lines.setdefault(place, node.start_mark.line + 1)
    where = f"{source}, line {node.start_mark.line + 1}"
    if node in parents:
        raise WarmstartError(f"{where}: an anchor that contains itself isn't allowed.")
    if len(lines) > _MOST_VALUES:
        raise WarmstartError(f"{source}: more than {_MOST_VALUES} values; is this a study?")
    inside = (*parents, node)
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*place, i), lines, source, inside) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                raise WarmstartError(f"{source}, line {line}: a key must be a word.")
            if key in result:
                first = lines[(*place, key)]
                raise WarmstartError(
                    f"{source}, line {line}: {key!r} is given twice (first on line {first})."
                )
            lines[(*place, key)] = line
            result[key] = _build(value_node, (*place, key), lines, source, inside)
        return result
    try:
        return _SCALARS[node.tag.removeprefix("tag:yaml.org,2002:")](node.value)
    except (KeyError, ValueError):
        raise WarmstartError(f"{where}: {node.value!r} can't be read as {node.tag!r}.") from None


class Section:
    """Typed, strict access to one mapping of a document."""

    def __init__(self, document: Document, place: Place = (), valid: Iterable[str] | None = None) -> None:
        """Open the mapping at `place`.

        Args:
            document: The document.
            place: Where its mapping stands.
            valid: The keys that may occur; None for any.

        Raises:
            WarmstartError: Not a mapping, or an unknown key.
        """
        data = document.data
        for part in place:
            data = data[part]
        if not isinstance(data, Mapping):
            raise document.error(place, f"expected a mapping (key: value), found {_show(data)}.")
        self.document, self.place, self.data = document, place, data
        for key in data:
            if valid is not None and key not in (names := tuple(valid)):
                unknown = unknown_name("key", str(key), names)
                raise document.error((*place, key), str(unknown))

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def error(self, key: str, message: str) -> WarmstartError:
        """Build the error for one key."""
        return self.document.error((*self.place, key), message)

    def text(self, key: str, default: str | None = None) -> str:
        """Read a word or sentence."""
        return str(self._read(key, default, "text", lambda value: isinstance(value, str) and value != ""))

    def optional_text(self, key: str) -> str | None:
        """Read text, or None where the key is absent or null."""
        return None if self.data.get(key) is None else self.text(key)

    def integer(self, key: str, default: int | None = None, least: int = 0) -> int:
        """Read a whole number (also written 6e5) of at least `least`."""
        value = self._read(key, default, "a whole number", _is_whole)
        if value < least:
            raise self.error(key, f"expected a whole number of at least {least}, found {value}.")
        return int(value)

    def value(self, key: str, default: T, read: Callable[[Any, Place], T]) -> T:
        """Read with a function of the raw value and its place; `default` where the key is absent or null."""
        return default if self.data.get(key) is None else read(self.data[key], (*self.place, key))

    def name_map(self, key: str) -> dict[str, str | None]:
        """Read a mapping of names to names or null; empty where absent."""
        value = self.data.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(isinstance(item, str | None) for item in value.values()):
            raise self.error(key, f"expected a mapping of names to names, found {_show(value)}.")
        return dict(value)

    def list_of_text(self, key: str) -> tuple[str, ...] | None:
        """Read a list of words; None where absent."""
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise self.error(key, f"expected a list of names, found {_show(value)}.")
        return tuple(value)

    def _read(self, key: str, default: Any, expected: str, fits: Callable[[Any], bool]) -> Any:
        value = self.data.get(key, default)
        if key not in self.data and default is None:
            raise self.document.error(self.place, f"{key!r} is missing (expected {expected}).")
        if not fits(value):
            raise self.error(key, f"expected {expected}, found {_show(value)}.")
        return value


def _is_whole(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and value.is_integer()
    )


def _show(value: Any) -> str:
    """Say in words what kind of value was found."""
    if value is None:
        return "nothing"
    kinds = {bool: "true/false", int: "number", float: "number", str: "text", dict: "mapping", list: "list"}
    kind = kinds.get(type(value), type(value).__name__)
    text = repr(value)
    return f"the {kind} {text if len(text) <= 60 else text[:57] + '...'}"
