"""``warmstart list``, ``inspect``, ``status``, ``index`` and ``resume``: what there is, and how far."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from warmstart.cli.console import (
    CheckpointPath,
    Printing,
    Reading,
    Running,
    console,
    note,
    print_json,
    print_table,
)
from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError

MOST_SKIPPED = 20
"""Left out folders that are named one by one."""
Row = Settings
Topic = Literal[
    "tasks", "methods", "presets", "encoders", "realities", "recipes", "rewards", "engines", "all"
]


@dataclass(frozen=True)
class List(Printing):
    """What there is: tasks, methods, presets, encoders, realities, recipes, rewards, engines of trials."""

    what: tyro.conf.Positional[Topic] = "all"
    """Which kind to list."""

    def run(self) -> int:
        """List them."""
        wanted = tuple(_LISTERS) if self.what == "all" else (self.what,)
        listed = {topic: list(_LISTERS[topic]()) for topic in wanted}
        if self.json:
            print_json(listed)
            return 0
        for topic, rows in listed.items():
            columns = [key for key, value in rows[0].items() if isinstance(value, str)]  # others are for JSON
            print_table(topic.capitalize(), columns, [[row[key] for key in columns] for row in rows])
            console().print()
        return 0


@dataclass(frozen=True)
class Inspect(Reading, Printing):
    """What a checkpoint (our directory, an SB3 zip, rsl_rl's .pt) holds. Nothing is unpickled."""

    path: CheckpointPath
    """Checkpoint directory, SB3 zip, rsl_rl's or mjlab's .pt, hf:OWNER/NAME on the hub, or a run (its
    checkpoints are listed)."""

    def run(self) -> int:
        """Show it."""
        from warmstart.agents.checkpoints.facts import checkpoint_facts
        from warmstart.agents.loading import load_checkpoint
        from warmstart.experiments.run.reading import find_checkpoints

        self.load_plugins(self.path)
        if (self.path / "trials").is_dir():
            found = [str(path) for path in find_checkpoints(self.path)]
            if not found:
                raise WarmstartError(f"{self.path} is a run without a finished checkpoint.")
            if self.json:
                print_json({"checkpoints": found})
            else:
                console().print(*found, sep="\n")
            return 0
        description = checkpoint_facts(load_checkpoint(self.path, **self.told))
        if self.json:
            print_json(description)
            return 0
        tensors = description.pop("tensors").items()
        print_table(str(self.path), ["field", "value"], [(k, _short(v)) for k, v in description.items()])
        console().print()
        rows = [(name, " × ".join(map(str, t["shape"])) or "scalar", t["dtype"]) for name, t in tensors]
        print_table("Tensors", ["name", "shape", "type"], rows)
        return 0


@dataclass(frozen=True)
class Status(Printing):
    """How far a run is: every trial with its state, step, speed and last return."""

    path: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """The run's folder."""
    watch: bool = False
    """Show it live, until nothing is open any more; the exit status is 1 if a trial failed. It only reads: on
    any machine that shares the folder. Lines of what changes where there is no terminal."""

    def run(self) -> int:
        """Show it."""
        from warmstart.experiments.run.reading import statuses
        from warmstart.experiments.run.watching import View, remark_of, watch

        if self.watch and self.json:
            raise WarmstartError("--watch shows a run to people, --json to programs: leave one of them out.")
        if self.watch:
            return 1 if watch(self.path) else 0
        states = statuses(self.path)
        if self.json:
            print_json([state.to_json() for state in states])
        else:
            console().print(View(self.path, states, remark_of(states, self.path)), soft_wrap=False)
        return 0


@dataclass(frozen=True)
class Index(Printing):
    """Put all runs below a folder into one database (SQLite) and Parquet files: trials, evaluations, metrics.

    It is made from the runs alone, so it can be built anew at any time. Damaged and foreign runs are named
    and left out; runs in progress are taken as far as they are.
    """

    path: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIR")]]
    """Folder that holds runs, at any depth."""
    out: Path | None = None
    """The database, in place of DIR/index.sqlite; Parquet files lie beside it."""
    no_parquet: bool = False
    """Write the database alone; else Parquet files are written, too, where pyarrow is installed."""

    def run(self) -> int:
        """Build it."""
        from warmstart.experiments.index.building import index_runs

        parquet = False if self.no_parquet else None
        index = index_runs(self.path, self.out, parquet=parquet, progress=self.progress())
        if self.json:
            print_json(index.to_json())
            return 0
        counts = [f"{table} {index.rows[table]:,}" for table in ("runs", "trials", "evaluations", "metrics")]
        console().print(f"{index.path}: {', '.join(counts)}")
        if index.parquet:
            console().print(f"{len(index.parquet)} Parquet files beside it: {index.parquet[0]} and so on")
        for sentence in index.told(MOST_SKIPPED):
            note(sentence)
        return 0


@dataclass(frozen=True)
class Resume(Running):
    """Go on with an interrupted run.

    Finished trials aren't repeated; one that was training continues from its last state.
    """

    path: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """The run's folder."""

    def run(self) -> int:
        """Resume."""
        from warmstart.cli.study import show, show_pairs
        from warmstart.experiments.pairs.pairs import PAIRS_FILE, load_pairs
        from warmstart.experiments.pairs.run import run_pairs
        from warmstart.experiments.run.reading import STUDY_FILE
        from warmstart.experiments.run.run import run_study

        plugins = self.load_plugins(self.path)
        if (self.path / PAIRS_FILE).is_file():
            pairs = load_pairs(self.path / PAIRS_FILE)
            assert pairs is not None
            return show_pairs(run_pairs(pairs, self.path, plugins=plugins, **self.running), self.json)
        if not (self.path / STUDY_FILE).is_file():
            raise WarmstartError(f"{self.path} holds no run: expected its {STUDY_FILE} or {PAIRS_FILE}.")
        result = run_study(self.path, self.path, plugins=plugins, **self.running)
        return show(result, self.json)


def _short(value: object) -> str:
    """One cell: a layout as its names, a mapping as its pairs."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and "name" in value[0]:
        return ", ".join(str(item["name"]) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    return "—" if value is None else str(value)


def _tasks() -> Iterator[Row]:
    from warmstart.envs.robots.table import named_targets, robots
    from warmstart.envs.tasks.task import Task

    targets = [(Task.parse(target.changes).id, target) for target in named_targets().values()]
    for task_id in dict.fromkeys([*robots(), *(of for of, _ in targets)]):
        if task_id in robots():
            yield {"name": task_id, "task": task_id, "what": "Gymnasium's own"}
        for of, target in targets:
            if of == task_id:
                what = f"{target.description} ({target.source})"
                yield {"name": target.name, "task": target.changes, "what": what}


def _methods() -> Iterator[Row]:
    from warmstart.agents.checkpoints.architecture import SB3_ALGORITHMS
    from warmstart.transfer.table import METHODS

    for name, kind in METHODS.items():
        every = set(SB3_ALGORITHMS) <= set(kind.algorithms)
        yield {
            "name": name,
            "what": kind.title or _summary(kind),
            "paper": kind.paper,
            "algorithms": "all" if every else ", ".join(kind.algorithms),
            "seams": ", ".join(kind.fills),
            "settings": ", ".join(kind.serves),
        }


def _presets() -> Iterator[Row]:
    from warmstart.experiments.study.loading import preset_comment, preset_names

    return ({"name": name, "what": preset_comment(name)} for name in preset_names())


def _encoders() -> Iterator[Row]:
    from warmstart.agents.encoders.backbones import BACKBONES
    from warmstart.agents.encoders.readouts import READOUTS
    from warmstart.transfer.encoders.sources import NAMED
    from warmstart.transfer.pretraining.table import OBJECTIVES

    for kind in BACKBONES.values():
        what = f"taps: {', '.join(kind.taps)}; usually {kind.tap}" if kind.taps else "its output"
        yield {"name": kind.name, "kind": "architecture", "what": what}
    for name, each in NAMED.items():
        licence = each.licence + ("" if each.commercial else ", non-commercial")
        what = f"{each.outputs} channels; {each.source}; licence: {licence}"
        yield {"name": f"{each.architecture}:weights={name}", "kind": "weights", "what": what}
    for word, table in (("readout", READOUTS), ("objective", OBJECTIVES)):
        for name, made in table.items():
            yield {"name": name, "kind": word, "what": _summary(made)}


def _realities() -> Iterator[Row]:
    from warmstart.sim2real.reality import load_reality, reality_names

    for each in map(load_reality, reality_names()):
        row = {"name": each.name, "task": str(each.task), "what": each.description}
        yield {**row, "sha256": each.sha256[:12]}


def _recipes() -> Iterator[Row]:
    from warmstart.envs.tasks.task import Task
    from warmstart.sim2real.curricula.table import CURRICULA
    from warmstart.sim2real.imperfections.imperfections import CHALLENGES
    from warmstart.sim2real.randomization.recipes import LEVELS, ranges, recipe_tasks

    def row(*values: str) -> Row:
        return dict(zip(("name", "kind", "task", "use", "what"), values, strict=True))

    for task, level in product(recipe_tasks(), LEVELS):
        found = ranges(Task(task), level)
        what = ", ".join(f"{name} {text}" for name, text in found.items())
        yield {**row(level, "recipe", task, f"randomize: {level}", what), "ranges": found}
    for name in CHALLENGES:
        what = "the Real-World RL suite's combined challenge"
        yield row(name, "challenge", "any", f"imperfections: {name}", what)
    for name, kind in CURRICULA.items():
        yield row(name, "curriculum", "any", f"curriculum: {{method: {name}, …}}", _summary(kind))


def _rewards() -> Iterator[Row]:
    from warmstart.agents.rewards.table import REWARDS
    from warmstart.core.plain import setting_names

    for name, kind in REWARDS.items():
        row = {"name": name, "what": kind.title or _summary(kind), "paper": kind.paper}
        yield {**row, "options": ", ".join(setting_names(kind))}


def _engines() -> Iterator[Row]:
    from warmstart.core.plain import setting_names
    from warmstart.experiments.engines.table import ENGINES

    for name, kind in ENGINES.items():
        yield {"name": name, "what": _summary(kind), "settings": ", ".join(setting_names(kind))}


def _summary(kind: Any) -> str:
    """A docstring's first paragraph."""
    return (kind.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")


_LISTERS: Mapping[str, Callable[[], Iterable[Row]]] = {
    "tasks": _tasks,
    "methods": _methods,
    "presets": _presets,
    "encoders": _encoders,
    "realities": _realities,
    "recipes": _recipes,
    "rewards": _rewards,
    "engines": _engines,
}
