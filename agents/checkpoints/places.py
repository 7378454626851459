"""Where a checkpoint lies: by its own path, that of its trial or run, or on the hub. Imports no torch."""

from pathlib import Path

from warmstart.agents.hub.fetching import fetched
from warmstart.agents.hub.reference import is_reference
from warmstart.agents.hub.taking import METADATA as METADATA
from warmstart.core.errors import WarmstartError
from warmstart.core.files import parse_json, read_text

LAST, BEST = "checkpoint", "best"
"""Folders of a trial: the checkpoint at its end, and the one whose evaluation was best."""
CHOICES = {"last": LAST, "best": BEST}
"""What may follow a path after a colon."""
TRIALS, TRIALS_FILE = "trials", "trials.json"
"""Folder of a run that holds its trials, and the list of them."""


def split_choice(path: str | Path) -> tuple[Path, str | None]:
    """Split ``PATH:best`` or ``PATH:last`` into the path and the word; None where there is no word."""
    text, colon, word = str(path).rpartition(":")
    if colon and text and word in CHOICES and not Path(path).exists():
        return Path(text).expanduser(), word
    return Path(path).expanduser(), None


def find_checkpoint(path: str | Path) -> Path:
    """A checkpoint's path from its own, a trial's, or a run's that holds exactly one.

    Args:
        path: A checkpoint, or a trial's or run's folder. ``:best`` after a folder takes the checkpoint whose
            evaluation was best, ``:last``, as without a word, the one at the end of training. A repository on
            the hub, ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION``, is fetched where it isn't here yet.

    Returns:
        The checkpoint's path; that of anything else as it is.

    Raises:
        WarmstartError: There is no such checkpoint in the folder, or several to choose from; or the
            repository can't be fetched, or isn't taken.
    """
    if is_reference(path):
        return fetched(path)
    place, word = split_choice(path)
    folder = CHOICES[word or "last"]
    if (place / folder / METADATA).is_file():
        return place / folder
    if (place / METADATA).is_file() and place.name in CHOICES.values() and word is not None:
        return find_checkpoint(f"{place.parent}:{word}")
    if not (place / TRIALS_FILE).is_file():
        if word is not None and place.exists():
            raise WarmstartError(f"{place} holds no {word} checkpoint. {_why_none(place, word)}")
        return place
    listed = parse_json(read_text(place / TRIALS_FILE, within=place), str(place / TRIALS_FILE))
    rows = listed.get("trials") if isinstance(listed, dict) else None
    found = [
        (row, place / TRIALS / str(row.get("hash")) / folder) for row in rows or () if isinstance(row, dict)
    ]
    found = [(row, where) for row, where in found if (where / METADATA).is_file()]
    if len(found) == 1:
        return found[0][1]
    if not found:
        raise WarmstartError(f"{place} holds no {word or 'last'} checkpoint. {_why_none(place, word)}")
    lines = [f"  {where}  ({row.get('arm')}, seed {row.get('seed')}, {_told(where)})" for row, where in found]
    raise WarmstartError(f"{place} holds {len(found)} checkpoints; name one of them:\n" + "\n".join(lines))


def _why_none(place: Path, word: str | None) -> str:
    if word != "best":
        return "None of its trials has finished."
    if any(place.glob(f"{TRIALS}/*/{LAST}/{METADATA}")) or (place / LAST / METADATA).is_file():
        return "It was trained without evaluations, or before the best was kept; take :last."
    return "None of its trials has been evaluated."


def _told(checkpoint: Path) -> str:
    """How far a checkpoint was trained and what it reached, as far as it says."""
    held = parse_json(read_text(checkpoint / METADATA, within=checkpoint), str(checkpoint / METADATA))
    steps, evaluation = (held.get(key) if isinstance(held, dict) else None for key in ("steps", "evaluation"))
    told = f"{steps:,} steps" if isinstance(steps, int) else "steps unknown"
    reached = evaluation.get("return") if isinstance(evaluation, dict) else None
    return told + (f", return {reached:,.0f}" if isinstance(reached, int | float) else "")
