"""What the files of a run hold, and the one way to read them: typed, within bounds, in their folder.

A run may come from anybody. Keys that aren't listed here pass unread: other versions write more of them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from warmstart.core.bounds import Bounds, Finite, Natural, NonNegative, Place, SettingError, Settings, State
from warmstart.core.documents import Document
from warmstart.core.errors import WarmstartError
from warmstart.core.files import is_writable, parse_json, read_bytes, read_text
from warmstart.core.plain import read
from warmstart.experiments.records.records import SIMILARITY as SIMILARITY_FILE
from warmstart.experiments.records.records import TRANSFER as TRANSFER_FILE

Kind = Literal["encoder", "identify", "source", "target", "random"]
MOST_STEPS = 1 << 50
Step = Annotated[int, Bounds(0, MOST_STEPS)]
"""Steps of a training."""
Number = Finite | None
"""A finite number, or null where it wasn't one."""
Fields = Mapping[str, Any]
"""The annotation of each key; those that end in ``?`` may be missing."""

EVENTS: dict[str, Fields] = {
    "start": {"source_steps": Step},
    "evaluation": {"step": Step, "timesteps?": Step, "returns": list[Number], "lengths": list[Step]},
    "training": {"step": Step, "metrics": dict[str, Number]},
    "drawn": {
        "step": Step,
        "quantiles": dict[str, list[Finite]],
        "curriculum?": dict[str, Number],
    },
    "end": {"steps": Step, "timesteps": Step, "constant": bool, "stopped?": str},
}
"""Records of `records.jsonl` by event."""
TIMES: Fields = {
    "step": Step,
    "training_seconds": NonNegative,
    "evaluation_seconds?": NonNegative,
    "time?": NonNegative,
}
"""A record of `times.jsonl`."""
TRIAL: Fields = {"hash": str, "kind": Kind, "arm": str, "seed": Natural}
LIST: Fields = {"trials": list[Settings], "notes?": list[str]}
"""`trials.json`."""
GAP: Fields = {
    "nominal": Finite,
    "in_range": Number,
    "worst_10_percent": Number,
    "reality": Finite,
    "interactions": Step,
    "diverged?": Natural,
}
MAP: Fields = {
    "sweeps": list[str],
    "means": list[Finite] | list[list[Finite]],
    "threshold": Finite,
    "trained?": list[tuple[Finite, Finite] | None],
    "diverged?": Natural,
}
TRANSFER: Fields = {
    "method": str,
    "source": str,
    "target": str,
    "entries": list[Settings],
    "notes?": list[str],
    "steps?": Step,
    "counts?": dict[str, Natural],
}
ENTRY: Fields = {
    "name": str,
    "action": str,
    "source_shape?": list[Natural] | None,
    "target_shape?": list[Natural] | None,
    "frozen?": bool,
    "reason?": str,
}
"""One of the `entries` of `transfer.json`."""
IDENTIFICATION: Fields = {
    "task": str,
    "recipe?": Settings,
    "imperfections?": Settings,
    "interactions?": Step,
}
CURRICULUM: Fields = {"terms": list[str], "history": list[dict[str, Number]]}
SIMILARITY: Fields = {
    "format": Natural,
    "trial": str,
    "arm": str,
    "seed": Natural,
    "problem": str,
    "predicted": Number,
    "predicted_low": Number,
    "predicted_high": Number,
    "outlook": str,
    "method": str,
    "reason": str,
    "measures": list[Settings],
    "steps": Step,
    "notes": list[str],
}
"""`similarity.json` of a run: what was predicted of the arm, from the source agent of the seed."""
MEASURE: Fields = {"name": str, "value": Number, "low": Number, "high": Number, "meaning": str}
"""One of the `measures` of `similarity.json`."""
STUDY: Fields = {
    "name?": str,
    "baseline?": str,
    "source?": str | None,
    "target?": str | None,
    "target_steps?": Step,
    "source_steps?": Step,
    "source_reward?": str | Settings,
    "seeds?": list[Natural],
    "arms?": list[Settings],
}
"""What a report needs of `study.yaml`."""


def read_fields(kinds: Fields, values: Any, place: Place = ()) -> State:
    """Read the keys that are known out of a mapping; the others stay as they are.

    Raises:
        SettingError: It is no mapping, or a key is missing or holds something else.
    """
    if not isinstance(values, Mapping):
        raise SettingError(place, f"expected an object with {', '.join(kinds)}.")
    found = dict(values)
    for key, kind in kinds.items():
        name = key.removesuffix("?")
        if name in values:
            found[name] = read(kind, values[name], (*place, name))
        elif name == key:
            raise SettingError((*place, name), "missing.")
    return found


def read_file(path: Path, kinds: Fields, run: Path) -> State | None:
    """Read a JSON object of a run.

    Args:
        path: The file.
        kinds: What it holds.
        run: The run, which no link may lead out of.

    Returns:
        The object; None where there is no such file.

    Raises:
        WarmstartError: It is damaged; names file, place and reason.
    """
    try:
        document = Document(parse_json(read_text(path, within=run), str(path)), str(path))
    except FileNotFoundError:
        return None
    return document.checked(lambda: read_fields(kinds, document.data))


def read_transfer(trial: Path, run: Path) -> State | None:
    """The transfer report of a trial; None where it has none.

    Raises:
        WarmstartError: It is damaged.
    """
    return _read_list(trial / TRANSFER_FILE, TRANSFER, "entries", ENTRY, run)


def read_similarity(run: Path) -> State | None:
    """What was predicted of a run; None where nothing was.

    Raises:
        WarmstartError: It is damaged.
    """
    return _read_list(run / SIMILARITY_FILE, SIMILARITY, "measures", MEASURE, run)


def _read_list(path: Path, kinds: Fields, key: str, row_kinds: Fields, run: Path) -> State | None:
    """Read a file of which one key holds a list of objects."""
    found = read_file(path, kinds, run)
    rows = () if found is None else enumerate(found[key])
    Document(found, str(path)).checked(lambda: [read_fields(row_kinds, row, (key, i)) for i, row in rows])
    return found


def read_jsonl(path: Path, run: Path | None = None) -> list[State]:
    """Read the objects of a JSONL file, one a line, whatever they hold.

    A torn last line (the process died while it wrote) is left out; a missing file has none.

    Raises:
        WarmstartError: Another line can't be read: the file was changed by something else.
    """
    return [record for _, record in _numbered(path, run)]


def read_records(path: Path, run: Path) -> list[State]:
    """Read `records.jsonl` of a trial; see `read_jsonl`.

    Raises:
        WarmstartError: A line isn't one of `EVENTS`; names file, line, place and reason.
    """
    found, sizes, last = list[State](), set[int](), -1
    for number, record in _numbered(path, run):
        event = record.get("event")
        if not isinstance(event, str) or event not in EVENTS:
            raise _damaged(path, number, f"expected an event ({', '.join(EVENTS)}).")
        found.append(_checked(EVENTS[event], record, path, number))
        if event == "drawn":
            sizes |= {len(values) for values in found[-1]["quantiles"].values()}
            if len(sizes) > 1:
                raise _damaged(path, number, "quantiles: expected as many numbers for each as before.")
        if event == "evaluation" and not len(found[-1]["returns"]) == len(found[-1]["lengths"]) > 0:
            raise _damaged(path, number, "expected as many returns as lengths, and at least one.")
        if event == "evaluation":
            if found[-1]["step"] <= last:
                raise _damaged(path, number, "expected evaluations at growing steps.")
            last = found[-1]["step"]
    return found


def read_times(path: Path, run: Path) -> list[State]:
    """Read `times.jsonl` of a trial; see `read_records`."""
    return [_checked(TIMES, record, path, number) for number, record in _numbered(path, run)]


def _checked(kinds: Fields, record: State, path: Path, number: int) -> State:
    try:
        return read_fields(kinds, record)
    except SettingError as error:
        raise _damaged(path, number, str(error)) from None


def _damaged(path: Path, number: int, why: str) -> WarmstartError:
    return WarmstartError(
        f"{path}, line {number}: {why} The file is damaged. Delete the directory {path.parent} and run the "
        "study again; only this trial is repeated."
    )


def _numbered(path: Path, run: Path | None) -> list[tuple[int, State]]:
    """The objects of a JSONL file with their lines' numbers."""
    try:
        lines = read_bytes(path, within=run).split(b"\n")
    except FileNotFoundError:
        return []
    records = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if b"\\ud" in line.lower() and not is_writable(record):
            record = None
        if isinstance(record, dict):
            records.append((number, record))
        elif number < len(lines):
            raise _damaged(path, number, "this is not a JSON object.")
    return records
