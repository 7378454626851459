"""YAML: plain data with lines, one clear error for each mistake, and written so that it reads back."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from warmstart.core.documents import dump_yaml, parse_yaml, read_yaml
from warmstart.core.errors import WarmstartError


@dataclass(frozen=True)
class Settings:
    name: str
    rates: tuple[float, ...] = ()


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = "a: 3e-4\nb: off\nc: 0x10\nd: .inf\ne: ~\nf: True\ng: 65_536\nh: 12:30\n"
    found = {"a": 3e-4, "b": "off", "c": "0x10", "d": float("inf"), "e": None, "f": True, "g": 65536}
    assert parse_yaml(text, "x").data == {**found, "h": "12:30"}


def test_what_is_written_reads_back() -> None:
    data = {"words": ["off", "3e-4", "null", "1"], "numbers": [3e-4, 1, None, True], "in": {"a": [{"b": 1}]}}
    text = dump_yaml(data, "first\nsecond")
    assert text.startswith("# first\n# second\n")
    assert parse_yaml(text, "x").data == data


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nname: b", r"x.yaml, line 2: 'name' is given twice \(first on line 1\)"),
        ("name: a\nrates: [1, fast]", r"x.yaml, line 2: rates\[1\]: expected a number, found 'fast'"),
        ("name: a\n\nrate: [1]", r"x.yaml, line 3: rate: Unknown setting 'rate'.*Did you mean 'rates'"),
        ("rates: [1]", "x.yaml, line 1: 'name' is missing"),
        ("a: &a [*a]", "line 1: an anchor that contains itself"),
        ("a: !!python/name:os.system x", "can't be read as"),
        ("? [a]\n: b", "line 1: a key must be a word"),
        ("a: [1", "x.yaml, line 1: not valid YAML"),
        ("[" * 2000, "x.yaml: nested too deeply|not valid YAML"),
    ],
)
def test_a_mistake_names_file_and_line(text: str, said: str) -> None:
    with pytest.raises(WarmstartError, match=said):
        parse_yaml(text, "x.yaml").read(Settings)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(WarmstartError, match="There is no file"):
        read_yaml(tmp_path / "nothing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WarmstartError, match="can't be read as text"):
        read_yaml(tmp_path / "binary.yaml")
