"""``warmstart pretrain``: an encoder learns to see a task from frames alone, before any reward."""

from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from warmstart.cli.console import Extensible, OptionWords, Printing, console, pairs, print_json, print_table
from warmstart.cli.console import values as read_values
from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.files import check_new
from warmstart.core.progress import Progress

if TYPE_CHECKING:
    from warmstart.sim2real.randomization.randomization import Randomization
    from warmstart.transfer.pretraining.pretraining import PretrainingConfig

_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Pretrain(Extensible, Printing):
    """Pretrain a visual encoder on frames of one or several tasks, without rewards.

    Random actions, or a policy with random ones between, show the tasks; a probe says how much of the state
    the encoder tells before and after. The file is an encoder for `warmstart probe`, studies and code.
    """

    tasks: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="TASK...")]]
    """For example Reacher-v5 or HalfCheetah-v5:size=64 HalfCheetah-v5:size=64@light=x0.5."""
    out: Path
    """File to write, NAME.safetensors; an existing one isn't overwritten."""
    encoder: str = "drq"
    """Where training begins: an architecture, pretrained weights, or an encoder's file."""
    objective: str = "atc"
    """What it learns: `warmstart list encoders` shows the objectives."""
    option: OptionWords = ()
    """Options of the objective or of training, such as lag=3 batch_size=128 learning_rate=3e-4."""
    updates: int = 1_000
    """Gradient steps."""
    steps: int = 10_000
    """Frames of each task."""
    policy: Path | None = None
    """Checkpoint, run or SB3 zip whose policy takes half of the decisions."""
    randomize: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PARAMETER=RANGE")] = ()
    """What the frames look like, drawn for each episode: light=x0.5:x1.5 camera.azimuth=-=10:+=10."""
    probe_frames: int = 3_000
    """Frames of each task that are probed before and after; 0 for none."""
    tensorboard: Path | None = None
    """Folder for TensorBoard's curves of the loss."""
    seed: int = 0
    """Seed of every random draw."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where it is trained."""

    def run(self) -> int:
        """Pretrain."""
        check_target(self.out)
        if not self.tasks or self.seed < 0 or self.probe_frames < 0:
            raise WarmstartError(
                "Expected at least one TASK to learn from, a seed and probe-frames of 0 or more, found "
                f"{len(self.tasks)} tasks, {self.seed} and {self.probe_frames}."
            )
        self.load_plugins()
        try:
            with self.progress() as progress:
                outcome = self._pretrain(progress)
        except KeyboardInterrupt as stopped:
            said = str(stopped) or "Interrupted."
            raise KeyboardInterrupt(f"{said} No encoder was written.") from None
        if self.json:
            print_json(outcome)
        else:
            _show(outcome)
        return 0

    def _settings(self) -> "PretrainingConfig":
        """Settings of training and of the objective, names and types checked."""
        from warmstart.core.bounds import SettingError
        from warmstart.core.plain import replaced, setting_names
        from warmstart.transfer.pretraining.pretraining import PretrainingConfig
        from warmstart.transfer.pretraining.table import make_objective

        flags = ("objective", "updates", "steps", "seed", "device")
        values: dict[str, object] = {name: getattr(self, name) for name in flags}
        objective = make_objective(self.objective)
        own, general = (setting_names(kind) for kind in (type(objective), PretrainingConfig))
        options: dict[str, object] = {}
        for name, value in read_values("--option", self.option).items():
            if name in flags:
                raise WarmstartError(f"--option {name}: give it as --{name} instead.")
            if name not in (*own, *general) or name == "options":
                raise unknown_name(
                    f"option of {self.objective}", name, {*own, *general} - {*flags, "options"}
                )
            (options if name in own else values)[name] = value

        try:
            checked = replaced(objective, options)
            values["options"] = {name: getattr(checked, name) for name in options}
            return replaced(PretrainingConfig(), values)
        except SettingError as wrong:
            if not wrong.place:
                raise
            raise WarmstartError(f"{'--' if wrong.place[0] in flags else '--option '}{wrong}") from None

    def _pretrain(self, progress: Progress) -> Settings:
        """Everything between the checks and the report; the file is written last."""
        import torch

        from warmstart.agents.encoders.config import EncoderConfig
        from warmstart.cli.checkpoints import load_told
        from warmstart.core.threads import available_cores
        from warmstart.envs.tasks.task import Task
        from warmstart.transfer.encoders.pretrained import pretrained_encoder
        from warmstart.transfer.frames.acting import pixel_task
        from warmstart.transfer.pretraining.pretraining import pretrain
        from warmstart.transfer.pretraining.tasks import SourceTasks
        from warmstart.transfer.probing.probe import weights_sha256, windows_of

        settings = self._settings()
        if self.device == "cuda" and not torch.cuda.is_available():
            raise WarmstartError(f"--device cuda: torch {torch.__version__} sees no GPU.")
        visual = randomization(self.randomize, self.seed)
        actor = None if self.policy is None else load_told(self.policy, {})
        tasks = [pixel_task(Task.parse(text)) for text in self.tasks]
        sources = SourceTasks(tasks, settings, actor, visual, available_cores())
        start, _ = pretrained_encoder(EncoderConfig.parse(self.encoder), sources.frame_size)
        if self.probe_frames:
            windows_of(self.probe_frames, start.config.frames)
        data = sources.training_frames(progress.stage)
        before = deepcopy(start)
        before.fit(data.draw(before.config.fit_frames, self.seed))
        update = progress.stage("Pretraining")
        with self._logger() as log:
            result = pretrain(
                start, data, settings, lambda done, total, loss: update(done, total, f"loss {loss:.4g}"), log
            )
            encoders = {"before": before, "after": result.encoder}
            probes = sources.probe(encoders, self.probe_frames, progress.stage)
            for name, done in (("before", 0), ("after", settings.updates)):
                if log is not None and probes:
                    log(done, {"probe_r2": sum(found[name] for found in probes.values()) / len(probes)})
        encoder = result.encoder
        encoder.provenance |= {"initial": {"weights_sha256": weights_sha256(start), **start.provenance}}
        encoder.provenance["pretraining"] |= {"encoder": self.encoder, "randomize": list(self.randomize)}
        if actor is not None:
            encoder.provenance["pretraining"]["policy"] = actor.fingerprint()
        if probes:
            encoder.provenance["probe_r2"] = probes
        encoder.save(self.out)
        loss = {"first": float(result.losses[0]), "last": float(result.losses[-1])}
        about = {"encoder": str(self.out), "hash": encoder.hash, "objective": settings.objective}
        size = {"updates": settings.updates, "frames": len(data), "seconds": result.seconds}
        return {**about, **size, "loss": loss, "probe": probes}

    def _logger(self) -> Any:
        from warmstart.transfer.pretraining.pretraining import tensorboard

        return nullcontext() if self.tensorboard is None else tensorboard(self.tensorboard)


def randomization(written: Sequence[str], seed: int) -> "Randomization | None":
    """Read PARAMETER=RANGE words; None for none."""
    from warmstart.sim2real.randomization.randomization import Randomization, read_terms

    terms, correlations = read_terms(pairs("--randomize", written))
    return Randomization(terms, seed, correlations) if terms else None


def check_target(path: Path) -> None:
    """Raise where an encoder can't be written, before any work.

    Raises:
        WarmstartError: The file exists, is named otherwise, or lies in what isn't a folder.
    """
    if path.suffix != _SUFFIX:
        raise WarmstartError(f"--out: expected a file named NAME{_SUFFIX}, found {path}.")
    check_new(path)
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise WarmstartError(f"--out: {above} is a file; expected a folder for {path.name}.")


def _show(outcome: Settings) -> None:
    """Print what came out, for people."""
    loss = outcome["loss"]
    console().print(
        f"{outcome['updates']:,} updates of {outcome['objective']} on {outcome['frames']:,} frames in "
        f"{outcome['seconds']:.0f} s: loss {loss['first']:.4g} → {loss['last']:.4g}"
    )
    rows = [(task, f"{r2['before']:.3f}", f"{r2['after']:.3f}") for task, r2 in outcome["probe"].items()]
    if rows:
        print_table("Mean R² of the state from a history", ["task", "before", "after"], rows)
    console().print(f"Encoder: {outcome['encoder']}")
