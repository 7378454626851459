"""What a warm start did: one entry per parameter tensor and normaliser statistic."""

import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text
from stable_baselines3.common.callbacks import BaseCallback

from warmstart.core.bounds import SettingError, Settings, State
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import check, read, to_plain

Action = Literal[
    "copied", "aligned", "widened", "permuted", "folded",
    "capped", "reset", "floored", "reinitialised", "untouched",
]  # fmt: skip
"""What happened to a tensor.

``copied``: equal, bit for bit. ``aligned``: rows and columns moved by name. ``widened``: aligned where
needed, and units duplicated (Net2Net). ``permuted``: copied after its entries were shuffled. ``folded``:
carries the source's normaliser inside. ``capped``: copied, and its weight in the running average lowered.
``reset``, ``floored``: given the asked value. ``reinitialised``: drawn anew. ``untouched``: as the target had
it.
"""

CARRIED: frozenset[str] = frozenset(
    {"copied", "aligned", "widened", "permuted", "folded", "capped", "floored"}
)
"""The actions after which a tensor holds something of the source."""


@dataclass(frozen=True)
class TransferEntry:
    """One tensor of the target."""

    name: str
    """Name in the policy's ``state_dict``, or ``normalizer.mean``, ``extra.log_ent_coef`` and the like."""

    source_shape: tuple[int, ...] | None
    """Shape in the source; ``None`` where the source has none."""

    target_shape: tuple[int, ...] | None
    """Shape in the target; ``None`` where the target has none."""

    action: Action
    """What was done."""

    frozen: bool = False
    """Whether training leaves it as it is."""

    reason: str = ""
    """Why, in words."""

    def __post_init__(self) -> None:
        check(self)


@dataclass
class TransferReport:
    """The account of one warm start."""

    method: str
    """Name of the transfer method."""

    algorithm: str
    """``ppo``, ``sac``, ``td3``, ``tqc`` or ``crossq``."""

    source: str
    """Where the weights came from; ``none`` for a cold start."""

    target: str
    """The target task, or the class of its environment."""

    entries: tuple[TransferEntry, ...] = ()
    """One per tensor and statistic, in the order of the target's ``state_dict``."""

    notes: tuple[str, ...] = ()
    """What the reader should know: approximations, unmatched dimensions, licences."""

    steps: int = 0
    """Environment steps that the preparation (fitting the critic) used; counted in ``num_timesteps``."""

    callback: BaseCallback | None = field(default=None, compare=False, repr=False)
    """Give this to ``model.learn``: learning-rate warm-up and other schedules. Not part of the JSON form."""

    @property
    def copied(self) -> int:
        """Number of tensors that hold something of the source."""
        return sum(entry.action in CARRIED for entry in self.entries)

    @property
    def counts(self) -> dict[str, int]:
        """How many tensors met which action, and how many are frozen."""
        counted = Counter[str](entry.action for entry in self.entries)
        return {**dict(sorted(counted.items())), "frozen": sum(entry.frozen for entry in self.entries)}

    def entry(self, name: str) -> TransferEntry:
        """Return the entry of one tensor.

        Raises:
            WarmstartError: No tensor has this name.
        """
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise unknown_name("tensor", name, (entry.name for entry in self.entries))

    def change(self, name: str, **changes: Any) -> None:
        """Change fields of the entry of one tensor; see `TransferEntry`."""
        self.entries = tuple(
            replace(entry, **changes) if entry.name == name else entry for entry in self.entries
        )

    def add_notes(self, notes: Iterable[str]) -> None:
        """Append notes, each once."""
        self.notes = tuple(dict.fromkeys((*self.notes, *notes)))

    def to_json(self) -> State:
        """Return the report as plain JSON values, without its callback."""
        plain: State = to_plain(replace(self, callback=None))
        del plain["callback"]
        return plain | {"counts": self.counts}

    @classmethod
    def from_json(cls, data: Settings) -> "TransferReport":
        """Rebuild a report from ``to_json`` (also after a trip through a file).

        Raises:
            WarmstartError: A field is missing or has the wrong form.
        """
        try:
            report: TransferReport = read(cls, {k: v for k, v in data.items() if k != "counts"})
        except SettingError as error:
            raise WarmstartError(
                f"This is not a transfer report: {error} Expected what TransferReport.to_json() writes."
            ) from error
        return report

    def summary(self) -> str:
        """Return one line: method, source and what happened to how many tensors."""
        counted = ", ".join(f"{count} {name}" for name, count in self.counts.items() if count)
        fitted = f"; critic fitted over {self.steps:,} steps" if self.steps else ""
        return f"{self.method}: {self.source} → {self.target}: {counted or 'nothing carried'}{fitted}"

    def table(self) -> Table:
        """Return the entries as a rich table."""
        table = Table(title=Text(self.summary()), title_justify="left", caption_justify="left")
        for column in ("tensor", "source", "target", "what was done", "why"):
            table.add_column(column, overflow="fold")
        for entry in self.entries:
            done = entry.action + (" · frozen" if entry.frozen else "")
            shapes = shape_text(entry.source_shape), shape_text(entry.target_shape)
            cells = (entry.name, *shapes, done, entry.reason)
            table.add_row(*map(Text, cells))
        if self.notes:
            table.caption = Text("\n".join(f"• {note}" for note in self.notes))
        return table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.table()

    def __str__(self) -> str:
        """Return the table as plain text, 140 columns wide."""
        text = io.StringIO()
        Console(file=text, width=140, color_system=None, legacy_windows=False).print(self.table())
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def dumps(self) -> str:
        """Return the JSON text."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False)


def shape_text(shape: tuple[int, ...] | None) -> str:
    """Write a shape as ``64×17``."""
    return "—" if shape is None else "×".join(map(str, shape)) or "scalar"
