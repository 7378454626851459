"""What the subcommands share: their common options, and printing for people or for programs."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError, readable
from warmstart.core.files import finite_json
from warmstart.core.progress import Progress, make_progress

Words = tuple[tuple[str, ...], ...]
"""Words of an option that takes several and may be repeated."""
CheckpointPath = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="CHECKPOINT")]]
TaskText = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="TASK")]]
Beside = tyro.conf.UseAppendAction[Annotated[Words, tyro.conf.arg(metavar="CHECKPOINT|NAME=CHECKPOINT")]]
OptionWords = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A subcommand: its options are its fields."""

    def run(self) -> int:
        """Do it.

        Returns:
            The exit status.
        """
        raise NotImplementedError(f"{type(self).__name__} does nothing.")


@dataclass(frozen=True, kw_only=True)
class Printing(Command):
    """A subcommand whose result is printed for people or for programs."""

    json: bool = False
    """Print JSON."""

    def progress(self) -> Progress:
        """How far it is, for people; a program sees nothing of it."""
        return make_progress("none" if self.json else "auto")


@dataclass(frozen=True, kw_only=True)
class Extensible(Command):
    """A subcommand to which users bring code of their own."""

    plugin: tuple[Path, ...] = ()
    """Python files that register methods, tasks, encoders, objectives or rewards of your own; what is
    trained records their hashes, and a run keeps copies, which are found again."""

    def load_plugins(self, *paths: Path) -> tuple[Path, ...]:
        """Load the plugins that were named, and those of the runs that paths lie in.

        Returns:
            Their files; of a run's, its copies of those whose names weren't given.
        """
        from warmstart.core.plugins import load_plugins, load_plugins_of

        load_plugins(self.plugin)
        found: tuple[Path, ...] = ()
        for run in dict.fromkeys(run for path in paths for run in _runs_of(path)):
            found += load_plugins_of(run)
        given = {path.name for path in self.plugin}
        return (*self.plugin, *(path for path in dict.fromkeys(found) if path.name not in given))


@dataclass(frozen=True, kw_only=True)
class Running(Extensible, Printing):
    """A subcommand that runs trials."""

    workers: int | None = None
    """Trials side by side; one per core by default, on another engine as many as it has room for."""
    engine: str | None = None
    """Who runs the trials: local, ray or slurm; what the study says by default, local where it says nothing.
    `warmstart list engines` shows their settings."""
    engine_option: OptionWords = ()
    """Settings of the engine in place of the study's, such as partition=short time=120 mem=4GB."""
    address: str | None = None
    """Ray's running cluster: auto, HOST:PORT or ray://HOST:PORT. Without one a Ray is started here."""

    @property
    def running(self) -> dict[str, Any]:
        """What was said of workers and engine, for ``run_study``."""
        said: dict[str, Any] = {} if self.engine is None else {"name": self.engine}
        said |= values("--engine-option", self.engine_option)
        if self.address is not None:
            said = {"name": "ray", **said, "address": self.address}
        return {"workers": self.workers, "engine": said or None}


@dataclass(frozen=True, kw_only=True)
class Reading(Extensible):
    """A subcommand that reads a checkpoint, perhaps of another library's, which doesn't say everything."""

    trust_normalizer: Path | None = None
    """File that VecNormalize.save wrote beside an SB3 zip: a pickle, of which nothing is run."""
    activation: str | None = None
    """Activation function of a .pt of rsl_rl's or mjlab's, which doesn't say it; elu by default."""
    onnx: Path | None = None
    """ONNX model of mjlab's that names the dimensions of such a file; the one beside it by default."""

    @property
    def told(self) -> dict[str, Any]:
        """What was said of the checkpoint, for ``load_checkpoint``."""
        return {name: getattr(self, name) for name in ("trust_normalizer", "activation", "onnx")}


def _runs_of(path: Path) -> list[Path]:
    """The run that a path is or lies in, if it does."""
    from warmstart.agents.checkpoints.places import split_choice
    from warmstart.agents.hub.reference import is_reference

    if is_reference(path):
        return []
    place = split_choice(path)[0].absolute()
    return [folder for folder in (place, *place.parents[:4]) if (folder / "trials.json").is_file()][:1]


def print_json(value: Any) -> None:
    """Print one JSON document to standard output; NaN and infinities become null."""
    json.dump(finite_json(value), sys.stdout, indent=2, allow_nan=False)
    print()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table for people."""
    table = Table(*columns, title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(readable(str(cell)) for cell in row))
    console().print(table)


def console() -> Console:
    """The console for results: standard output, wide when it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 140, highlight=False, markup=False, soft_wrap=True)


def note(message: str) -> None:
    """Tell something beside the result: standard error."""
    print(readable(message), file=sys.stderr)


def pairs(flag: str, written: Sequence[str]) -> dict[str, str]:
    """Split NAME=VALUE words at their first =.

    Raises:
        WarmstartError: A word is no pair, or a name is given twice.
    """
    found: dict[str, str] = {}
    for word in written:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise WarmstartError(f"{flag}: expected NAME=VALUE, found {word!r}.")
        if name in found:
            raise WarmstartError(f"{flag}: {name} is given twice.")
        found[name] = value
    return found


def values(flag: str, written: Sequence[str]) -> Settings:
    """Read NAME=VALUE words, whose values are written as in a study's YAML.

    Raises:
        WarmstartError: See `pairs`, or a value isn't YAML.
    """
    from warmstart.core.documents import parse_yaml

    return {name: parse_yaml(text, f"{flag} {name}").data for name, text in pairs(flag, written).items()}


def check_numbers(episodes: int, seed: int) -> None:
    """Refuse fewer than one episode, and seeds below 0."""
    if episodes < 1 or seed < 0:
        found = f"found {episodes} and {seed}"
        raise WarmstartError(f"Expected at least 1 episode and a seed of 0 or more, {found}.")


def folder_name(text: str) -> str:
    """A folder's name from a task's text."""
    return "".join(c if c.isalnum() or c in "-_.=@+" else "_" for c in Path(text).name).strip("_") or "run"


def as_map(flag: str, words: tuple[str, ...]) -> dict[str, str | None]:
    """Read ``TARGET=SOURCE`` words; nothing after the = leaves a dimension fresh."""
    return {name: source or None for name, source in pairs(flag, words).items()}


_WORDS = {"target": "TASK", "target_steps": "--steps", "source": "CHECKPOINT", "vision": "--encoder"}
_WORDS |= {"arms": "--method", "baseline": "--method", "seeds": "--seed"}
_WORDS |= {"source_normalizer": "--trust-normalizer", "source_activation": "--activation"}
_WORDS |= {"source_onnx": "--onnx", "keep_replay": "--keep-replay"}
_SAME = ("source_task", "source_observation_names", "source_action_names", "observation_map", "action_map")
_WORDS |= {key: f"--{key.replace('_', '-')}" for key in (*_SAME, "algorithm", "device")}
"""What the command line calls the fields of a study."""


def in_words_of_the_command(wrong: Any) -> str:
    """Reword a study's error for someone who never wrote a study."""
    place = wrong.place
    field = str(place[0]) if place else ""
    where = _WORDS.get(field, field)
    if field == "arms" and len(place) > 2 and place[2] != "method":
        own = ("reward", "randomize", "imperfections")
        where = f"--{place[2]}" if place[2] in own else f"--option {place[2]}"
    elif place[:2] == ("algorithm", "network"):
        where = "--network"
    elif field == "evaluation" and len(place) > 1:
        where = f"--{place[1].replace('_', '-')}"
    elif field in ("observation_map", "action_map") and len(place) > 1:
        where = f"{where} {place[1]}"
    several = [key for key in _WORDS if "_" in key]
    text = re.sub(
        rf"`?\b({'|'.join(several)})\b`?(=\[\.\.\.\])?",
        lambda match: _WORDS[match[1]] + (" NAME ..." if match[2] else ""),
        wrong.message,
    )
    text = re.sub(
        r"\bsource_task='([^']*)'", r"--source-task \1", text.replace("--source-task=", "source_task=")
    )
    text = re.sub(r"(--[a-z]+-map)=\{.*?\}", r"\1 'TARGET=SOURCE' ...", text)
    return f"{where}: {text}" if where else text
