"""What is taken of a repository: known files within limits, by a card with a licence; nothing is unpickled.

Two kinds are known: what ``warmstart push`` writes, and RL Zoo's, with ``ALGORITHM-TASK.zip`` of SB3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from warmstart.core.bounds import Settings, show
from warmstart.core.documents import parse_yaml
from warmstart.core.errors import WarmstartError
from warmstart.core.files import check_file, content_hash, file_hash, parse_json, read_text, write_json

CARD, PULLED = "README.md", "pulled.json"
"""The model card, and what says where a folder was taken from."""
METADATA, NORMALIZER = "checkpoint.json", "vec_normalize.pkl"
CURVE, FILM, TRANSFER = "curve.png", "replay.mp4", "transfer.json"
POLICY, CONTRACT = "exported/policy.onnx", "exported/contract.json"
_MEBI = 1 << 20
OURS: dict[str, int] = {
    CARD: _MEBI,
    METADATA: 64 * _MEBI,
    "policy.safetensors": 4096 * _MEBI,
    "encoder.safetensors": 4096 * _MEBI,
    TRANSFER: 64 * _MEBI,
    CURVE: 16 * _MEBI,
    FILM: 256 * _MEBI,
    POLICY: 4096 * _MEBI,
    CONTRACT: 16 * _MEBI,
}
"""Files that ``warmstart push`` writes, with the most bytes that are taken."""
_ZIP, _NORMALIZER = 2048 * _MEBI, 64 * _MEBI
_NO_MODELS = ("train_eval_metrics.zip",)
_STARTS = {
    b"\x80": "a pickle",
    b"PK\x03\x04": "a zip archive, such as torch.save writes",
    b"\x1f\x8b": "gzip",
}
NO_LICENCE = ("", "unknown", "none")
"""What a card's ``license`` says where nobody gave one."""


class Repository(Protocol):
    """What files can be taken from: a commit on the hub, or a folder."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file, by its path."""
        ...

    def copy(self, name: str, path: Path) -> None:
        """Write a file's content to a path."""
        ...


@dataclass(frozen=True)
class FolderRepository:
    """A folder with a repository's files."""

    root: Path
    """Where it lies."""
    within: Path
    """The folder that no link may lead out of."""
    name: str
    """What messages call it."""

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file, by its path; hidden ones are left out."""
        paths = {path.relative_to(self.root): path for path in sorted(self.root.rglob("*")) if path.is_file()}
        shown = {name: path for name, path in paths.items() if not any(p.startswith(".") for p in name.parts)}
        return {name.as_posix(): path.stat().st_size for name, path in shown.items()}

    @property
    def revision(self) -> str:
        """sha256 of its content."""
        return content_hash(self.root)

    def copy(self, name: str, path: Path) -> None:
        """Copy a file that is one, and lies in the folder."""
        size = self.sizes[name]
        with check_file(self.root / name, size, self.within).open("rb") as file:
            path.write_bytes(file.read(size))


@dataclass(frozen=True)
class Taken:
    """What was taken."""

    licence: str
    """As the card names it; empty where it doesn't."""
    files: tuple[str, ...] = field(default=())
    """Names of the files."""
    left: tuple[str, ...] = field(default=())
    """Names of those that aren't known and stay there."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to be told, a sentence each."""
        some = ", ".join(self.left[:6]) + (f", … ({len(self.left)} in all)" if len(self.left) > 6 else "")
        notes = () if self.licence else ("Its model card names no licence: ask its owner what you may do.",)
        return (*notes, f"Left in the repository, unread: {some}.") if self.left else notes


def take(repository: Repository, folder: Path, about: Settings, *, without_licence: bool = False) -> Taken:
    """Copy what is known of a repository into an empty folder, with ``pulled.json``, which says what it is.

    Args:
        repository: Where from.
        folder: Where to; it exists.
        about: What ``pulled.json`` says of the repository: ``source`` and ``revision``.
        without_licence: Whether a card without a licence, or no card at all, is taken.

    Raises:
        WarmstartError: It is no repository of a known kind, a file is too large, leads out of it or isn't
            what its name says, or there is no licence. What was copied until then is to be thrown away.
    """
    wanted = _wanted(repository)
    licence = ""
    if CARD in wanted:
        repository.copy(CARD, folder / CARD)
        licence = licence_of(folder / CARD, repository.name)
    if not licence and not without_licence:
        found = "one without `license`" if CARD in wanted else "no card"
        raise WarmstartError(
            f"{repository.name}: expected a model card ({CARD}) that names a licence, found {found}. To "
            "take it all the same, for what its owner allows you: "
            f"warmstart pull {repository.name} --without-licence."
        )
    for name in wanted:
        (folder / name).parent.mkdir(exist_ok=True)
        if name != CARD:
            repository.copy(name, folder / name)
        _check_content(folder / name, f"{name} of {repository.name}")
    files = {name: file_hash(folder / name) for name in wanted}
    write_json(folder / PULLED, {**about, "licence": licence or None, "files": files})
    left = tuple(n for n in sorted(repository.sizes) if n not in wanted and not n.startswith("."))
    return Taken(licence, wanted, left)


def read_pulled(folder: Path) -> Settings | None:
    """What ``pulled.json`` says of a folder; None where there is none.

    Raises:
        WarmstartError: It is damaged.
    """
    path = folder / PULLED
    if not path.is_file():
        return None
    told = parse_json(read_text(path, within=folder), str(path))
    if not isinstance(told, dict) or not isinstance(told.get("files"), dict):
        raise WarmstartError(f"{path} isn't one that warmstart wrote: expected an object with files.")
    return told


def check_replaceable(folder: Path, mark: str) -> None:
    """See that a folder isn't there, or holds what was pushed or pulled to it and nothing else.

    Args:
        folder: Where something is to be written.
        mark: The file that shows that it was written by the same command.

    Raises:
        WarmstartError: It holds something else, which is named.
    """
    if not folder.exists():
        return
    held = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if not p.is_dir()]
    others = [name for name in held if name not in (*OURS, PULLED)] if folder.is_dir() else [folder.name]
    if others or mark not in held:
        found = ", ".join(others[:4] or held[:4]) or "nothing"
        raise WarmstartError(
            f"{folder} exists and isn't replaced: expected what was written there before, with {mark}, and "
            f"nothing else, found {found}. Choose another folder."
        )


def model_zip(names: Mapping[str, Any], name: str = "") -> str:
    """Which zip of RL Zoo's repository is the model: that of the repository's name, else the only one.

    Args:
        names: The files.
        name: The repository's name, without its owner.

    Raises:
        WarmstartError: There is none, or several.
    """
    zips = [file for file in names if file.endswith(".zip") and "/" not in file and file not in _NO_MODELS]
    if f"{name}.zip" in zips:
        return f"{name}.zip"
    if len(zips) == 1:
        return zips[0]
    some = ", ".join(sorted(names)[:8]) + (", …" if len(names) > 8 else "")
    what = "several zips" if zips else "neither"
    raise WarmstartError(
        f"expected {METADATA}, which warmstart writes, or one zip of stable-baselines3's, found {what}: "
        f"{some or 'nothing at all'}."
    )


def licence_of(card: Path, source: str) -> str:
    """The licence that a model card's front matter names; empty where it names none.

    Raises:
        WarmstartError: The front matter isn't YAML.
    """
    text = read_text(card, OURS[CARD]).replace("\r\n", "\n")
    if not text.startswith("---\n") or "\n---" not in text[3:]:
        return ""
    front = parse_yaml(text[4 : text.index("\n---", 3) + 1], f"{CARD} of {source}").data
    named = front.get("license") if isinstance(front, dict) else None
    licence = str(named).strip() if isinstance(named, str) else ""
    return "" if licence.lower() in NO_LICENCE else licence


def _wanted(repository: Repository) -> tuple[str, ...]:
    """Names of the files that are taken, checked.

    Raises:
        WarmstartError: It holds nothing that is known, a file is too large, or a name leads out of it.
    """
    sizes = repository.sizes
    for name in sizes:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not name.isprintable() or ":" in name:
            raise WarmstartError(
                f"{repository.name}: the name {show(name)} leads out of it; nothing is taken."
            )
    if METADATA in sizes:
        most = {name: limit for name, limit in OURS.items() if name in sizes}
    else:
        try:
            zipped = model_zip(sizes, repository.name.rpartition("/")[2].partition("@")[0])
        except WarmstartError as error:
            raise WarmstartError(f"{repository.name} holds no policy: {error}") from None
        known = {CARD: OURS[CARD], zipped: _ZIP, NORMALIZER: _NORMALIZER}
        most = {name: limit for name, limit in known.items() if name in sizes}
    for name, limit in most.items():
        if sizes[name] > limit:
            raise WarmstartError(
                f"{name} of {repository.name} has {sizes[name]:,} bytes; expected at most {limit:,}."
            )
    return tuple(most)


def _check_content(path: Path, what: str) -> None:
    """See that a file for tensors, or a graph, isn't one that could run code.

    Raises:
        WarmstartError: It is.
    """
    if path.suffix not in (".safetensors", ".onnx", ".json"):
        return
    with path.open("rb") as file:
        start = file.read(16)
    for magic, kind in _STARTS.items():
        told = magic == b"\x80" and path.suffix == ".safetensors" and start[8:9] == b"{"
        if start.startswith(magic) and not told:
            expected = {".safetensors": "safetensors", ".onnx": "an ONNX graph"}.get(path.suffix, "JSON")
            raise WarmstartError(f"{what}: expected {expected}, found {kind}. It isn't opened.")
