"""``warmstart push`` and ``warmstart pull``: policies to give away and to take."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from warmstart.cli.checkpoints import load_told
from warmstart.cli.console import CheckpointPath, Printing, Reading, console, note, print_json


@dataclass(frozen=True)
class Push(Reading, Printing):
    """Share a policy with a model card: to a folder, or to a repository on the Hugging Face hub.

    The card says task, method, learning curve, transfer report, licence, versions, and of an exported policy
    its contract. Paths of this machine and its name are not shared. The hub's address and your token are
    those of HF_ENDPOINT and HF_TOKEN, or of `hf auth login`.
    """

    checkpoint: CheckpointPath
    """Checkpoint directory, run, SB3 zip, rsl_rl's or mjlab's .pt, or hf:OWNER/NAME on the hub."""
    destination: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="DESTINATION")]]
    """A folder, or hf:OWNER/NAME (hf:OWNER/NAME@BRANCH) on the hub, which is made where there is none."""
    licence: str | None = None
    """What others may do, by the hub's name: mit, apache-2.0, cc-by-4.0, … Needed."""
    licence_name: str | None = None
    """Name of a licence of your own, with --licence other."""
    policy: Path | None = None
    """Folder of the exported policy, with its contract.json."""
    film: Path | None = None
    """Film of it, .mp4; that of its trial by default. `warmstart video` makes one."""
    name: str | None = None
    """Title of the card; algorithm and task by default."""
    task: str | None = None
    """Task that it was trained in, where a foreign file doesn't say."""
    private: bool = False
    """Whether a repository that is made on the hub is private."""

    def run(self) -> int:
        """Push."""
        from warmstart.experiments.sharing.licences import front_matter
        from warmstart.experiments.sharing.pushing import push

        front_matter(self.licence, self.licence_name)
        self.load_plugins(self.checkpoint)
        pushed = push(
            load_told(self.checkpoint, self.told),
            self.destination,
            licence=self.licence,
            licence_name=self.licence_name,
            policy=self.policy,
            film=self.film,
            name=self.name,
            task=self.task,
            private_repository=self.private,
        )
        for remark in pushed.notes:
            note(remark)
        if self.json:
            print_json({"place": pushed.place, "files": list(pushed.files)})
        else:
            console().print(f"Pushed: {pushed.place}")
            console().print(f"Files: {', '.join(pushed.files)}")
        return 0


@dataclass(frozen=True)
class Pull(Printing):
    """Take a shared policy as a checkpoint: from a folder, or from the Hugging Face hub at one commit.

    Only known files of known sizes are taken, and nothing in them is run: a model of stable-baselines3 by RL
    Zoo's naming (hf:sb3/ppo-Walker2d-v3) is read as data and becomes a checkpoint. pulled.json says where it
    comes from. Every command that takes a CHECKPOINT also takes hf:OWNER/NAME@COMMIT itself.
    """

    source: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="SOURCE")]]
    """hf:OWNER/NAME, hf:OWNER/NAME@REVISION, or a folder."""
    revision: str = ""
    """Branch, tag or commit; main by default. What it comes to is written down."""
    out: Path | None = None
    """Directory to write; the repository's name in the current folder by default."""
    without_licence: bool = False
    """Take it although its card names no licence, for what its owner allows you."""

    def run(self) -> int:
        """Pull."""
        from warmstart.experiments.sharing.pulling import pull

        pulled = pull(self.source, self.out, revision=self.revision, without_licence=self.without_licence)
        for remark in pulled.checkpoint.notes:
            note(remark)
        licence = pulled.licence or None
        if self.json:
            print_json({"checkpoint": str(pulled.folder), "source": pulled.source, "licence": licence})
        else:
            console().print(f"Checkpoint: {pulled.folder}")
            console().print(f"From: {pulled.source}")
            console().print(f"Licence: {licence or 'none'}")
        return 0
