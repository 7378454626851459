"""Strict YAML: values with the line they stand on, and one clear error for each mistake.

Only plain data is built (YAML never names code); `Document.read` turns it into typed dataclasses. Scalars
follow YAML 1.2's core schema: `3e-4` is a number, `off` is a word. Duplicate keys, unknown keys and wrong
types are errors with file and line.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from warmstart.core.bounds import Place, SettingError, Settings, dotted, show
from warmstart.core.errors import WarmstartError
from warmstart.core.files import MOST_DEPTH, read_text
from warmstart.core.plain import read

T = TypeVar("T")

MOST_YAML = 1 << 21
"""Most bytes of a YAML file."""
_MOST_VALUES = 100_000
_HALF = re.compile("[\ud800-\udfff]")
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?[0-9][0-9_]*$")
_FLOAT = re.compile(
    r"^[-+]?(?:(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"
)


class _Loader(yaml.SafeLoader):
    """`SafeLoader` with the core schema's plain scalars instead of YAML 1.1's."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own)

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803
        """Refuse brackets that are too deep, of which PyYAML looks through all for each."""
        if self.flow_level > MOST_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=self.get_mark())
        super().fetch_flow_collection_start(TokenClass)


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


def dump_yaml(data: Settings, comment: str = "") -> str:
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
    source: str
    """What error messages call it: the file's name."""
    lines: Mapping[Place, int] = field(default_factory=dict)

    def error(self, place: Place, message: str) -> WarmstartError:
        """Build the error for the value at `place`, naming file, line and key."""
        known = next(
            (self.lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in self.lines), None
        )
        where = self.source if known is None else f"{self.source}, line {known}"
        return WarmstartError(f"{where}: {dotted(place)}{': ' if place else ''}{message}")

    def read(self, kind: type[T]) -> T:
        """Read the document as a dataclass; see `warmstart.core.plain.read`.

        Raises:
            WarmstartError: A mistake; the message names file, line and key.
        """
        found: T = self.checked(lambda: read(kind, self.data))
        return found

    def checked(self, make: Callable[[], T]) -> T:
        """Do something with the values, and say of a `SettingError` where in the file it stands."""
        try:
            return make()
        except SettingError as wrong:
            raise self.error(wrong.place, wrong.message) from None


def read_yaml(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        WarmstartError: No such file, not UTF-8 text, not YAML, tags, anchors that contain themselves, or a
            key given twice.
    """
    try:
        text = read_text(path, MOST_YAML)
    except FileNotFoundError:
        raise WarmstartError(f"There is no file {path}.") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Document:
    """Parse YAML text; see `read_yaml`. `source` is what messages call it."""
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        raise WarmstartError(f"{source}: not valid YAML: {' '.join(str(error).split())}.") from None
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
    if isinstance(node, yaml.ScalarNode) and _HALF.search(node.value):
        raise WarmstartError(f"{where}: text with half of a surrogate pair can't be read.")
    inside = (*parents, node)
    if isinstance(node, yaml.CollectionNode) and node.tag.rpartition(":")[2] not in ("seq", "map"):
        raise WarmstartError(f"{where}: a list or a mapping can't be read as {node.tag!r}.")
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*place, i), lines, source, inside) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or _HALF.search(key):
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
        raise WarmstartError(f"{where}: {show(node.value)} can't be read as {node.tag!r}.") from None
