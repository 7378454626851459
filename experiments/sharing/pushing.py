"""`push`: a policy with its model card, to a folder or to the hub."""

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from warmstart.agents.checkpoints.checkpoint import Checkpoint, plain_fields, save_checkpoint
from warmstart.agents.hub.reference import Reference, is_reference, read_reference
from warmstart.agents.hub.taking import (
    CARD,
    CONTRACT,
    CURVE,
    FILM,
    OURS,
    POLICY,
    TRANSFER,
    check_replaceable,
)
from warmstart.agents.hub.uploading import upload
from warmstart.agents.loading import load_checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.core.files import check_file, write_json, write_text
from warmstart.envs.tasks.task import Task
from warmstart.experiments.sharing.card import Card, task_id
from warmstart.experiments.sharing.licences import front_matter
from warmstart.experiments.sharing.origin import Origin, draw_curve, origin_of
from warmstart.experiments.sharing.privacy import check_private, cleaned, private
from warmstart.sim2real.deployment.runtime.contract import Contract, DeploymentError, read_contract


@dataclass(frozen=True)
class Pushed:
    """What was given away."""

    place: str
    """The folder, or the repository at its new commit."""
    files: tuple[str, ...]
    """What lies there."""
    notes: tuple[str, ...] = ()
    """What was left out, a sentence each."""


def push(
    checkpoint: Checkpoint | str | Path,
    destination: str | Path,
    *,
    licence: str | None,
    licence_name: str | None = None,
    policy: Path | None = None,
    film: Path | None = None,
    name: str | None = None,
    task: str | None = None,
    private_repository: bool = False,
) -> Pushed:
    """Share a checkpoint with a model card: to a folder, or a repository on the hub.

    Args:
        checkpoint: What is shared, or its path as `load_checkpoint` takes it; its learning curve and transfer
            report are found where it lies in a trial.
        destination: A folder that doesn't exist or was pushed to before, or ``hf:OWNER/NAME[@BRANCH]``.
        licence: What others may do, by the hub's name of it: ``mit``, ``apache-2.0``, …
        licence_name: Name of a licence of one's own, with ``other``.
        policy: Folder of the exported policy, with its contract.
        film: An ``.mp4`` of it; by default that of its trial.
        name: Title of the card; by default algorithm and task.
        task: Task that it was trained in, where it doesn't say.
        private_repository: Whether a repository that is made on the hub is private.

    Raises:
        WarmstartError: No licence; a file isn't what it should be; the policy was exported from another
            checkpoint; something names a path or this host; the destination holds something else or can't be
            reached. Nothing is written then.
    """
    given = front_matter(licence, licence_name)
    reference = read_reference(destination) if is_reference(destination) else None
    folder = Path(destination).expanduser()
    if reference is None:
        check_replaceable(folder, CARD)
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = load_checkpoint(checkpoint)
    origin = origin_of(checkpoint)
    if task is not None and checkpoint.task is not None:
        raise WarmstartError(f"--task: the checkpoint says itself that it was trained in {checkpoint.task}.")
    if task is not None:
        checkpoint = replace(checkpoint, task=str(Task.parse(task)))
    shared, notes = _without_private(checkpoint)
    film = _checked_film(film or origin.film)
    if policy is None and checkpoint.path is not None and (checkpoint.path / CONTRACT).is_file():
        policy = (checkpoint.path / CONTRACT).parent
    contract = None if policy is None else _contract_of(policy, checkpoint)
    with tempfile.TemporaryDirectory() as made:
        staged = save_checkpoint(shared, Path(made) / "policy")
        files = _pictures(staged, origin, film, shared.task or "its task")
        if origin.transfer is not None:
            write_json(staged / TRANSFER, cleaned(origin.transfer))
        if contract is not None and policy is not None:
            (staged / POLICY).parent.mkdir()
            for file in (POLICY, CONTRACT):
                shutil.copyfile(policy / Path(file).name, staged / file)
        title = name or f"{shared.algorithm.upper()}, {task_id(shared.task) if shared.task else 'a policy'}"
        called = f"hf:{reference.repository}" if reference is not None else f"./{folder.name}"
        card = Card(shared, origin, given, called, title, files, contract)
        write_text(staged / CARD, card.text())
        held = tuple(file for file in OURS if (staged / file).is_file())
        place = _delivered(staged, reference, folder, private_repository)
    return Pushed(place, held, (*notes, *_missing(origin, files, given["license"])))


def _pictures(staged: Path, origin: Origin, film: Path | None, title: str) -> dict[str, str]:
    """Write curve and film beside the checkpoint; the card's names of them."""
    files = {}
    if origin.curve is not None or len(origin.evaluations) > 1:
        files["curve"] = CURVE
        drawn = origin.curve and origin.curve.read_bytes()
        (staged / CURVE).write_bytes(drawn or draw_curve(origin.evaluations, title))
    if film is not None:
        files["film"] = FILM
        shutil.copyfile(film, staged / FILM)
    return files


def _delivered(staged: Path, reference: Reference | None, folder: Path, hidden: bool) -> str:
    """Bring what is staged to where it shall be; says where that is."""
    if reference is not None:
        return str(upload(staged, reference, private=hidden))
    if hidden:
        raise WarmstartError("--private is for a repository on the hub; a folder is as private as its disk.")
    beside = folder.with_name(f".{folder.name}.new-{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(staged, beside)
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    except OSError as error:
        raise WarmstartError(f"{folder} can't be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return str(folder)


def _without_private(checkpoint: Checkpoint) -> tuple[Checkpoint, tuple[str, ...]]:
    """A checkpoint without its replay buffer and settings that name paths, and what that left out.

    Raises:
        WarmstartError: What it can't do without names a path or this host.
    """
    left = tuple(name for name, value in checkpoint.hyperparameters.items() if any(private(value)))
    notes = [f"Left out, since it names something of this machine: {name}." for name in left]
    if checkpoint.replay is not None:
        notes.append("Left out: the replay buffer.")
    kept = {name: value for name, value in checkpoint.hyperparameters.items() if name not in left}
    shared = replace(checkpoint, hyperparameters=kept, replay=None)
    check_private(plain_fields(shared), checkpoint.path or Path("The checkpoint"))
    return shared, tuple(notes)


def _checked_film(film: Path | None) -> Path | None:
    if film is None:
        return None
    film = film.expanduser()
    if film.suffix.lower() != ".mp4":
        raise WarmstartError(f"--film: the hub shows .mp4, found {film.name}.")
    try:
        check_file(film, OURS[FILM])
    except FileNotFoundError:
        raise WarmstartError(f"--film: there is no file {film}.") from None
    with film.open("rb") as file:
        if file.read(12)[4:8] != b"ftyp":
            raise WarmstartError(f"--film: {film.name} is no MP4: it doesn't begin as one.")
    return film


def _contract_of(policy: Path, checkpoint: Checkpoint) -> Contract:
    """The contract of an exported policy, which must be of the checkpoint.

    Raises:
        WarmstartError: It is damaged, names something of this machine, or is of another checkpoint.
    """
    try:
        contract = read_contract(policy)
    except DeploymentError as error:
        raise WarmstartError(f"--policy: {error}") from error
    if contract.source_sha256 != checkpoint.fingerprint():
        raise WarmstartError(
            f"--policy: {policy} was exported from another checkpoint: its contract names the fingerprint "
            f"{contract.source_sha256[:16] or 'of none'}, the checkpoint has {checkpoint.fingerprint()[:16]}."
        )
    check_private(contract.to_json(), policy / Path(CONTRACT).name)
    return contract


def _missing(origin: Origin, files: dict[str, str], licence: str) -> tuple[str, ...]:
    """What the card has to do without, and a licence that isn't the one that the policy came with."""
    if origin.pulled is not None and origin.pulled.get("licence") != licence:
        came = origin.pulled.get("licence") or "no licence"
        return (
            f"It was pulled from {origin.pulled['source']} with {came}, and is given away with {licence}.",
        )
    if origin.config is None and origin.transfer is None:
        return ("It lies in no trial: the card has no learning curve, method and transfer report.",)
    return () if "curve" in files else ("Its trial has fewer than two evaluations: the card has no curve.",)
