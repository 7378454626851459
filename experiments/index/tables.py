"""The tables of the index: every column with its type, unit and meaning, in one place.

SQLite's tables, Parquet's columns and the documentation are made from it. Imports nothing of ours.
"""

from dataclasses import dataclass
from typing import Literal

Type = Literal["TEXT", "INTEGER", "REAL", "JSON"]
_ARROW: dict[Type, str] = {"TEXT": "string", "INTEGER": "int64", "REAL": "float64", "JSON": "string"}


@dataclass(frozen=True)
class Column:
    """One column; NULL is what isn't known."""

    name: str
    type: Type
    meaning: str
    unit: str = ""
    """As in ``s``; empty where it has none."""

    @property
    def sql(self) -> str:
        """Its line of ``CREATE TABLE``."""
        return f"{self.name} {'TEXT' if self.type == 'JSON' else self.type}"

    @property
    def arrow(self) -> str:
        """Arrow's name of its type."""
        return _ARROW[self.type]


def _columns(*rows: tuple[str, Type, str] | tuple[str, Type, str, str]) -> tuple[Column, ...]:
    return tuple(Column(*row) for row in rows)


_TRIAL = (
    Column("run", "TEXT", "`runs.run`"),
    Column("trial", "TEXT", "`trials.trial`"),
)
_TIME = "s since 1970 (UTC)"

TABLES: dict[str, tuple[Column, ...]] = {
    "runs": _columns(
        ("run", "TEXT", "folder below the one that was indexed, `.` for that itself; the key"),
        ("study", "TEXT", "name of the study: the preset's where it is one"),
        ("kind", "TEXT", "`training`: one cold arm; `transfer`: one warm arm; `comparison`: several arms"),
        ("pairs", "TEXT", "folder of the run over pairs that it belongs to"),
        ("source", "TEXT", "the source's task or checkpoint, as the study names it"),
        ("target", "TEXT", "the target task, as the study names it"),
        ("source_steps", "INTEGER", "training of a source agent", "steps"),
        ("target_steps", "INTEGER", "training of each arm", "steps"),
        ("baseline", "TEXT", "arm that the others are compared with"),
        ("started", "REAL", "earliest time that the run recorded", _TIME),
        ("updated", "REAL", "when a trial last told how far it is", _TIME),
        ("trials", "INTEGER", "rows of `trials`"),
        ("done", "INTEGER", "those that are done"),
        ("failed", "INTEGER", "those that failed"),
        ("settings", "JSON", "the whole study; null stands for numbers that aren't finite"),
    ),
    "trials": (
        *_TRIAL[:1],
        *_columns(
            ("number", "INTEGER", "place in the study, from 0; with `run` the key"),
            ("trial", "TEXT", "hash; arms that come to the same trial share it"),
            ("kind", "TEXT", "`target`, `source`, `encoder`, `identify` or `random`"),
            ("arm", "TEXT", "arm of the study; of trials that serve several, their kind"),
            ("seed", "INTEGER", "seed; arms are paired by it"),
            ("state", "TEXT", "`waiting`, `running`, `done`, `failed` or `interrupted`"),
            ("error", "TEXT", "why it failed"),
            ("task", "TEXT", "task that is trained and evaluated on"),
            ("algorithm", "TEXT", "`ppo`, `sac` …; NULL where nothing is trained by one"),
            ("method", "TEXT", "transfer method; NULL for random actions and the like"),
            ("source", "TEXT", "hash of the trial, or of the checkpoint's content, that it starts from"),
            ("source_steps", "INTEGER", "training of that source", "steps"),
            ("steps", "INTEGER", "training asked for", "steps"),
            ("steps_done", "INTEGER", "training done so far", "steps"),
            ("stopped", "TEXT", "why training ended early"),
            ("attempts", "INTEGER", "how often it was started"),
            ("evaluations", "INTEGER", "rows of `evaluations`"),
            ("first_return", "REAL", "mean return of the first evaluation"),
            ("final_return", "REAL", "mean return of the last evaluation, of a running one so far"),
            ("final_return_std", "REAL", "standard deviation over its episodes"),
            ("best_return", "REAL", "largest mean return of an evaluation"),
            ("training_seconds", "REAL", "wall-clock of training until the last evaluation", "s"),
            ("evaluation_seconds", "REAL", "wall-clock of all evaluations", "s"),
            ("wall_seconds", "REAL", "wall-clock of the last attempt, start to last word", "s"),
            ("steps_per_second", "REAL", "training until the last evaluation by its wall-clock", "1/s"),
            ("started", "REAL", "start of the last attempt", _TIME),
            ("updated", "REAL", "last word of it", _TIME),
            ("device", "TEXT", "where networks live"),
            ("torch_threads", "INTEGER", "threads of torch"),
            ("versions", "JSON", "versions of the libraries by name"),
            ("config", "JSON", "`trial.json`: every setting"),
        ),
    ),
    "evaluations": (
        *_TRIAL,
        *_columns(
            ("step", "INTEGER", "training before it", "steps"),
            ("timesteps", "INTEGER", "the agent's own count of it", "steps"),
            ("episodes", "INTEGER", "episodes played"),
            ("mean_return", "REAL", "mean over episodes; NULL where one wasn't finite"),
            ("std_return", "REAL", "standard deviation over episodes (of the population)"),
            ("min_return", "REAL", "smallest"),
            ("max_return", "REAL", "largest"),
            ("mean_length", "REAL", "mean length of an episode", "steps"),
            ("training_seconds", "REAL", "wall-clock of training until then", "s"),
            ("evaluation_seconds", "REAL", "wall-clock of the evaluation", "s"),
            ("time", "REAL", "when it was made", _TIME),
            ("returns", "JSON", "return of each episode"),
            ("lengths", "JSON", "length of each episode", "steps"),
        ),
    ),
    "metrics": (
        *_TRIAL,
        *_columns(
            ("step", "INTEGER", "training before it", "steps"),
            ("name", "TEXT", "as in TensorBoard: `train/approx_kl`, `drawn/friction`, `curriculum/width`"),
            ("value", "REAL", "its value; NULL where it wasn't finite"),
        ),
    ),
    "transfers": (
        *_TRIAL,
        *_columns(
            ("method", "TEXT", "transfer method"),
            ("source", "TEXT", "what was carried over"),
            ("target", "TEXT", "where it went"),
            ("steps", "INTEGER", "steps in the target before training, such as the critic's fit", "steps"),
            ("counts", "JSON", "number of tensors by what became of them"),
            ("notes", "JSON", "what a reader must know"),
            ("entries", "JSON", "what became of each tensor, and why"),
        ),
    ),
    "gaps": (
        *_TRIAL,
        *_columns(
            ("nominal", "REAL", "mean return in the simulation"),
            ("in_range", "REAL", "in the range in which it is judged"),
            ("worst_10_percent", "REAL", "mean of the worst tenth there"),
            ("reality", "REAL", "in the study's reality"),
            ("interactions", "INTEGER", "steps taken in the reality before", "steps"),
            ("diverged", "INTEGER", "episodes in which the simulation diverged"),
        ),
    ),
    "maps": (
        *_TRIAL,
        *_columns(
            ("sweeps", "JSON", "what was swept, one or two quantities"),
            ("means", "JSON", "mean return at each point"),
            ("threshold", "REAL", "return from which a point counts as solved"),
            ("trained", "JSON", "range of training in each sweep"),
            ("diverged", "INTEGER", "episodes in which the simulation diverged"),
        ),
    ),
    "predictions": (
        *_TRIAL,
        *_columns(
            ("arm", "TEXT", "arm whose benefit was predicted"),
            ("seed", "INTEGER", "seed of the source agent"),
            ("predicted", "REAL", "difference in normalised area to the cold arm, from the source alone"),
            ("predicted_low", "REAL", "lower end of its interval"),
            ("predicted_high", "REAL", "upper end"),
            ("outlook", "TEXT", "in a word"),
            ("method", "TEXT", "advice: method to take"),
            ("reason", "TEXT", "why"),
            ("problem", "TEXT", "why nothing could be predicted"),
            ("steps", "INTEGER", "steps taken in the target to predict", "steps"),
            ("measures", "JSON", "what it rests on"),
            ("notes", "JSON", "what a reader must know"),
        ),
    ),
    "skipped": _columns(
        ("path", "TEXT", "folder below the one that was indexed"),
        ("reason", "TEXT", "why nothing of it is in the tables"),
    ),
}
"""Columns of each table; `evaluations` and what follows stand once for each hash of a run."""

KEYS = {"runs": "run", "trials": "run, number", "evaluations": "run, trial, step"}
"""Primary keys; tables that aren't here have at most one row for each trial, or are never joined to."""


def markdown() -> str:
    """The tables as the documentation shows them."""
    head = "| column | type | unit | what |\n|---|---|---|---|\n"
    tables = {
        name: "".join(f"| `{c.name}` | {c.type} | {c.unit} | {c.meaning} |\n" for c in columns)
        for name, columns in TABLES.items()
    }
    return "\n".join(f"### {name}\n\n{head}{rows}" for name, rows in tables.items())
