"""`pull`: a shared policy, from a folder or the hub, as a checkpoint that is verified before it is there."""

import logging
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from warmstart.agents.checkpoints.checkpoint import Checkpoint, save_checkpoint
from warmstart.agents.hub.fetching import fetched, pin
from warmstart.agents.hub.reference import is_reference, read_reference
from warmstart.agents.hub.taking import (
    CARD,
    CONTRACT,
    METADATA,
    PULLED,
    FolderRepository,
    check_replaceable,
    read_pulled,
    take,
)
from warmstart.agents.loading import load_checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.core.files import file_hash, write_json
from warmstart.sim2real.deployment.runtime.contract import DeploymentError, read_contract

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pulled:
    """What was taken."""

    folder: Path
    """A checkpoint's directory."""
    checkpoint: Checkpoint
    """What it holds."""
    source: str
    """Where it comes from: ``hf:OWNER/NAME@COMMIT``, or a folder with the sha256 of its content."""
    licence: str
    """As its card names it; empty where it doesn't."""


def pull(
    source: str | Path, out: Path | None = None, *, revision: str = "", without_licence: bool = False
) -> Pulled:
    """Take a shared policy; a repository of RL Zoo's becomes a checkpoint of ours.

    Args:
        source: ``hf:OWNER/NAME[@REVISION]``, or a folder.
        out: The directory to write; one that was pulled before is replaced. By default the repository's name,
            in the current folder.
        revision: Branch, tag or commit.
        without_licence: Whether it is taken although its card names no licence.

    Raises:
        WarmstartError: It can't be fetched, isn't taken, or is damaged; nothing is written then.
    """
    place = Path(source).expanduser()
    on_hub = is_reference(source)
    out = (out or Path(_name_of(source))).expanduser()
    check_replaceable(out, PULLED)
    if not on_hub and not place.is_dir():
        raise WarmstartError(f"There is no folder {source}: expected one, or hf:OWNER/NAME on the hub.")
    if not on_hub and revision:
        raise WarmstartError(f"--revision is for a repository on the hub; {source} is a folder.")
    if not on_hub and place.resolve() == out.resolve():
        raise WarmstartError(f"{source} is where it would be written to: choose another folder by --out.")
    staged = out.absolute().with_name(f".{out.name}.new-{os.getpid()}")
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        if on_hub:
            asked = read_reference(source)
            if revision and asked.revision:
                raise WarmstartError(f"{source} names a revision already: leave --revision out.")
            commit = pin(asked.at(revision) if revision else asked)
            shutil.copytree(fetched(commit, without_licence=without_licence), staged, dirs_exist_ok=True)
        else:
            folder = FolderRepository(place, place, str(source))
            about = {"source": place.resolve().name, "revision": folder.revision}
            for remark in take(folder, staged, about, without_licence=without_licence).notes:
                log.warning("%s: %s", source, remark)
        told = read_pulled(staged) or {}
        if not told.get("licence") and not without_licence:
            log.warning("%s: Its model card names no licence: ask its owner what you may do.", source)
        checkpoint = load_checkpoint(staged)
        checkpoint.policy()
        if (staged / CONTRACT).is_file():
            read_contract((staged / CONTRACT).parent)
        if not (staged / METADATA).is_file():
            _convert(staged, checkpoint)
        shutil.rmtree(out, ignore_errors=True)
        staged.rename(out)
    except (DeploymentError, WarmstartError) as error:
        raise WarmstartError(str(error).replace(str(staged), str(source))) from error
    except OSError as error:
        raise WarmstartError(f"{out} can't be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    separator = "@" if on_hub else ", sha256 "
    name = f"{told['source']}{separator}{told['revision']}"
    return Pulled(out, replace(checkpoint, path=out), name, str(told.get("licence") or ""))


def _convert(staged: Path, checkpoint: Checkpoint) -> None:
    """Put a checkpoint of ours in the place of a zip and a pickle; ``pulled.json`` keeps their hashes."""
    told = read_pulled(staged) or {}
    converted = save_checkpoint(checkpoint, staged / "converted")
    for file in staged.iterdir():
        if file.is_file() and file.name not in (CARD, PULLED):
            file.unlink()
    for file in converted.iterdir():
        file.rename(staged / file.name)
    converted.rmdir()
    made = {file.name: file_hash(file) for file in sorted(staged.iterdir()) if file.name != PULLED}
    read_from = {name: sha256 for name, sha256 in told["files"].items() if name not in made}
    write_json(staged / PULLED, {**told, "files": made, "converted_from": read_from})


def _name_of(source: str | Path) -> str:
    """The folder that a source is pulled to by default."""
    if is_reference(source):
        return read_reference(source).repository.rpartition("/")[2]
    return Path(source).expanduser().resolve().name
