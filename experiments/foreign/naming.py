"""Which arm and which seed a path speaks of."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_EXPLICIT = re.compile(r"^(?:(?P<name>.+?)[_-])?(?:seed|s|run|rep|trial)[_-]?(?P<number>\d+)$", re.IGNORECASE)
_NUMBERED = re.compile(r"^(?P<name>.+?)[_-](?P<number>\d+)$")
_EXPONENT = re.compile(r"\d(?:\.\d*)?e$", re.IGNORECASE)
"""How a number ends before the sign of its exponent: ``lr_1e`` of ``lr_1e-3``."""

_WORDS = (
    "alpha arch batch beta bs buffer clip coef delay depth dim dims ent envs epochs eps epsilon factor "
    "frames freq friction gain gamma gravity heads hidden horizon interval kl lambda latent layer "
    "layers length level lr mass n nenvs net noise nsteps rate ratio samples scale size skip stack "
    "steps tau temperature units vf wd weight width"
)
SETTINGS = frozenset(_WORDS.split())
"""Words before a number that say it is a setting."""


@dataclass(frozen=True)
class _Label:
    """What a path is called."""

    folder: Path
    text: str
    """All of it: ``batch_64``."""
    name: str
    """Without its number: ``batch``."""
    number: int | None
    explicit: bool
    """Whether it calls the number a seed or a run."""


def name_arms(paths: Sequence[Path]) -> tuple[list[tuple[str, int | None]], list[str]]:
    """Say which arm and which seed each path speaks of.

    ``…/warm_3/evaluations.npz`` and ``…/warm/seed3/evaluations.npz`` are seed 3 of ``warm``. A number at the
    end is a setting where the word before it says so (``batch_64``), and where the numbers of one name
    neither follow one another nor are those of another name.

    Args:
        paths: Files, or folders of files.

    Returns:
        Arm and seed of each (None where it names none), and a sentence about each thing that was guessed.
    """
    labels = [_label(path) for path in paths]
    numbers: dict[str, list[int]] = {}
    for label in labels:
        if label.number is not None and not label.explicit:
            numbers.setdefault(label.name, []).append(label.number)
    seeds = {name for name in numbers if _are_seeds(name, numbers)}
    named: list[tuple[str, int | None]] = [
        (label.name, label.number) if label.explicit or label.name in seeds else (label.text, None)
        for label in labels
    ]
    notes = []
    if seeds:
        told = "; ".join(
            f"{name}: {', '.join(map(str, sorted(set(numbers[name]))))}" for name in sorted(seeds)
        )
        notes.append(f"Numbers at the end of a name are taken for seeds ({told}); else give ARM=PATH.")
    if settings := sorted({label.text for label in labels if label.name in numbers.keys() - seeds}):
        notes.append(
            f"{', '.join(settings)}: the numbers are taken for settings, each an arm of its own; if they are "
            "seeds, give ARM=PATH."
        )
    return _apart(named, labels, notes), notes


def _label(path: Path) -> _Label:
    folder = Path(os.path.abspath(path if path.is_dir() else path.parent))
    text = path.stem if path.suffix == ".npz" and path.stem != "evaluations" else folder.name
    if match := _EXPLICIT.match(text):
        return _Label(folder, text, match["name"] or folder.parent.name or text, int(match["number"]), True)
    if text.isdigit() and folder.parent.name:
        return _Label(folder, f"{folder.parent.name}/{text}", folder.parent.name, int(text), False)
    match = _NUMBERED.match(text)
    if match and not _EXPONENT.search(match["name"]):
        return _Label(folder, text, match["name"], int(match["number"]), False)
    return _Label(folder, text or "curves", text or "curves", None, False)


def _are_seeds(name: str, numbers: dict[str, list[int]]) -> bool:
    """Whether the numbers after a name are seeds."""
    if re.split(r"[_\-. ]", name.lower())[-1] in SETTINGS:
        return False
    found = sorted(set(numbers[name]))
    if found[-1] - found[0] == len(found) - 1:
        return True
    return any(sorted(set(other)) == found for key, other in numbers.items() if key != name)


def _apart(
    named: list[tuple[str, int | None]], labels: Sequence[_Label], notes: list[str]
) -> list[tuple[str, int | None]]:
    """Tell arms of one name in different folders apart by these folders, where their seeds are the same."""
    taken: dict[tuple[str, int | None], set[Path]] = {}
    for key, label in zip(named, labels, strict=True):
        taken.setdefault(key, set()).add(_home(label))
    clashing = {arm for (arm, _), homes in taken.items() if len(homes) > 1}
    if not clashing:
        return named
    out = []
    for (arm, seed), label in zip(named, labels, strict=True):
        out.append((f"{_home(label).name}/{arm}" if arm in clashing else arm, seed))
    notes.append(
        f"{', '.join(sorted(clashing))} is there in several folders: told apart by the folders' names."
    )
    return out


def _home(label: _Label) -> Path:
    """The folder that an arm's own folders lie in."""
    own = label.folder.parent
    return own.parent if label.name == own.name else own
