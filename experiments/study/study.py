"""A study: source, target, arms, seeds, evaluation. One dataclass, one YAML file, one command.

What a user writes is kept as written; the accessors (`seed_list`, `arm_list`, …) give it in one shape. What
follows from it (trials, resolved settings) is in `plan.py`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from warmstart.agents.checkpoints import places
from warmstart.agents.checkpoints.places import CHOICES, METADATA, TRIALS_FILE, find_checkpoint, split_choice
from warmstart.agents.hub.reference import is_reference
from warmstart.agents.settings.encoder_training import EncoderTraining
from warmstart.core.bounds import Before, Bounds, Count, Natural, SettingError, Settings, show
from warmstart.core.documents import Document, dump_yaml
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import check, placed, read, setting_names, to_plain
from warmstart.experiments.engines.table import read_engine
from warmstart.experiments.study.evaluation import Evaluation
from warmstart.sim2real.world_config import WorldConfig

WORLD_KEYS = setting_names(WorldConfig)
"""What an arm may say of its training simulation."""
ARM_KEYS = ("name", "method", "obs", "vision", "algorithm", "reward", "optional")
"""What an arm may say beside that and its method's options."""

MOST_SEEDS = 10_000
"""Most seeds of a study."""


def _written_vision(value: Any) -> Any:
    """An encoder's text stands for a `EncoderTraining` of it."""
    if isinstance(value, Mapping) and not isinstance(value.get("encoder"), str):
        raise WarmstartError("expected the encoder's text under the key `encoder`.")
    return {"encoder": value} if isinstance(value, str) else value


OptionalVision = Annotated[EncoderTraining | None, Before(_written_vision)]


@dataclass(frozen=True)
class Arm:
    """One method with its options, under a name that curves and tables show."""

    name: str
    method: str
    options: Settings = field(default_factory=dict)
    """Of the method."""
    obs: Literal["state", "pixels"] | None = None
    """`state` lets this arm observe states where the tasks show pixels, an oracle; `pixels` the frames alone
    where they show both."""
    vision: OptionalVision = None
    """How this arm sees, in place of the study's `vision`."""
    algorithm: Settings = field(default_factory=dict)
    """Settings of the algorithm that differ from the study's in this arm."""
    reward: str | Settings | None = None
    """What this arm trains on in place of the task's reward: `state_entropy`, or a mapping of its `name` and
    options; None for the task's own. Evaluation is by the task's in any case."""
    optional: bool = False
    """Whether the arm is left out, with a note, where the weights of its encoder aren't on this machine."""
    world: Settings = field(default_factory=dict)
    """How the simulation that this arm trains in differs from its task, by `WORLD_KEYS`."""

    @classmethod
    def from_plain(cls, value: Any) -> Settings:
        """Sort what a study says of an arm: a method's name, or one flat mapping."""
        if isinstance(value, str):
            return {"name": value, "method": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("method"), str):
            message = f"expected a method's name or a mapping with `method`, found {show(value)}."
            raise SettingError((), message)
        said = {key: item for key, item in value.items() if item is not None}
        return {
            "name": value["method"],
            **{key: said[key] for key in ARM_KEYS if key in said},
            "world": {key: said[key] for key in WORLD_KEYS if said.get(key)},
            "options": {k: item for k, item in value.items() if k not in (*ARM_KEYS, *WORLD_KEYS)},
        }

    def to_mapping(self) -> dict[str, object]:
        """Give everything as one flat mapping, as in YAML."""
        own = {key: to_plain(getattr(self, key)) for key in ARM_KEYS if getattr(self, key)}
        return {**own, **to_plain(self.world), **to_plain(self.options)}


@dataclass(frozen=True)
class Study:
    """Warm starts against a cold start on one target task."""

    name: str
    """Name of the study; its run goes to `runs/NAME` unless told otherwise."""
    target: str
    """Task text of the target: `ID[:option=value,…][@parameter=value,…]`, or a registered target's name."""
    target_steps: Count
    """Environment steps that every arm may take in the target, critic fitting included."""
    source: str | None = None
    """Task text of the source, on which one agent per seed is trained; or the path of a checkpoint, a trial
    or a run (`PATH`, `PATH:best`), or a repository on the hub (`hf:OWNER/NAME@COMMIT`; without a commit the
    run records the one that it has now), which then serves every seed (this understates the variance: the
    report says so). None where no arm needs one."""
    source_steps: Natural = 0
    """Environment steps that a source agent is trained for; 0 where `source` is a checkpoint."""
    algorithm: str | Settings = "ppo"
    """`ppo`, `sac`, `td3`, `tqc` or `crossq`; or a mapping of its `name` and the settings that differ from
    the task's defaults."""
    source_algorithm: str | Settings | None = None
    """The same for the source agents, where they shall differ; None for the target's settings."""
    source_reward: str | Settings = "task"
    """What the source agents train on: `task`, its own reward; or another one in its place, `state_entropy`,
    so that they are trained without the task's reward; or a mapping of its `name` and options. Evaluation is
    by the task's in any case."""
    arms: Sequence[str | Settings | Arm] = ("scratch", "fine_tune")
    """Methods to compare: names, or mappings of `method`, optionally `name`, the method's options, `reward`,
    for pixels `vision`, `obs`, `algorithm` and `optional`, and of the simulation that it trains in
    `randomize`, `curriculum`, `imperfections`, `disturbances`, `identify`, `privileged`, `history` and
    `reality_steps`."""
    vision: str | Settings | EncoderTraining | None = None
    """How agents see where the tasks show pixels: an encoder's text (`squeezenet1_1:weights=imagenet`), or a
    mapping of `encoder` and settings (`train`, `pretrain`, …)."""
    reality: str | None = None
    """Name or file of a reality whose believed task is the target. Every arm is then evaluated in it, and
    trains in the target unless it says otherwise."""
    judge_range: str = "medium"
    """Recipe of the range around the target in which final agents are judged where there is a reality:
    `light`, `medium`, `heavy` or `none`."""
    map: Sequence[str] = ()
    """One or two sweeps such as `torso.mass=x0.5:x2:5`: where there is a reality, the final agent of each
    arm's first seed is mapped over them."""
    baseline: str = "scratch"
    """Name of the arm that the others are compared with."""
    seeds: Annotated[int, Bounds(0, MOST_SEEDS)] | Sequence[Natural] = 10
    """Seeds: n for 0 … n-1, or a list. Arms are paired by seed."""
    evaluation: Evaluation | Settings = field(default_factory=Evaluation)
    """How agents are evaluated."""
    observation_map: Mapping[str, str | None] = field(default_factory=dict)
    """For spaces that differ: target observation name to source observation name, beside equal names; null
    leaves a dimension fresh."""
    action_map: Mapping[str, str | None] = field(default_factory=dict)
    """The same for actions."""
    source_observation_names: Sequence[str] | None = None
    """Observation names of a foreign checkpoint, in order; None where it brings its own."""
    source_action_names: Sequence[str] | None = None
    """Action names of a foreign checkpoint, in order; None where it brings its own."""
    source_task: str | None = None
    """Task that a foreign checkpoint was trained in, which has the names and gears of its dimensions; None
    where it brings its own."""
    source_normalizer: str | None = None
    """Path of the file that SB3's `VecNormalize.save` wrote for a foreign checkpoint: a pickle, of which
    nothing is run. A person has to have named it once (`warmstart.core.trust`)."""
    keep_replay: bool = False
    """Whether the last checkpoints of off-policy agents keep their replay buffers, for `data: replay` in
    other studies; source agents keep theirs where an arm asks for it."""
    source_activation: str | None = None
    """Activation function of a checkpoint of rsl_rl, whose files don't say it; None for `elu`."""
    source_onnx: str | None = None
    """ONNX model of mjlab's that names the dimensions of such a checkpoint; None for the one beside it."""
    device: str = "cpu"
    """Where networks live: `cpu`, `cuda` or `auto`; small state policies are fastest on the CPU."""
    torch_threads: Count = 1
    """Threads of torch in each trial; part of a result's identity, as it changes the bits."""
    engine: str | Settings | None = None
    """Who runs the trials: `local`, `ray` or `slurm`; or a mapping of its `name` and settings. The local one
    where nothing is said. No part of a result's identity."""

    def __post_init__(self) -> None:
        """Check whatever can be checked without building anything."""
        check(self)
        if not self.name or "/" in self.name or self.name in (".", ".."):
            raise SettingError(("name",), f"expected a name for a folder, found {self.name!r}.")
        for key in ("algorithm", "source_algorithm"):
            value = getattr(self, key)
            if isinstance(value, Mapping) and not isinstance(value.get("name"), str):
                message = "expected the algorithm's name under the key `name`: ppo, sac, td3, tqc or crossq."
                raise SettingError((key,), message)
        if self.source is None and self.source_steps:
            raise SettingError(("source_steps",), "there is no `source` to train for these steps.")
        if self.source and self.source_steps < 1 and self.source_checkpoint is None:
            folder, _, word = self.source.rpartition(":")
            if "/" in folder and Path(folder).is_dir():
                raise SettingError(("source",), str(unknown_name(f"checkpoint of {folder}", word, CHOICES)))
            if "/" in self.source and not re.search(r"-v\d+($|[:@])", self.source):
                raise SettingError(("source",), f"There is no checkpoint at {self.source}.")
            what = "missing: for how many steps is a source agent trained?"
            if Path(self.source).exists():
                what = f"missing; {self.source} exists, but it is no checkpoint and holds none."
            raise SettingError(("source_steps",), what)
        for key in ("source_task", "source_normalizer", "source_activation", "source_onnx"):
            if getattr(self, key) is not None and self.source_checkpoint is None:
                raise SettingError((key,), "describes a checkpoint, but `source` is not the path of one.")
        if self.device not in ("auto", "cpu") and not self.device.startswith("cuda"):
            raise SettingError(("device",), f"expected auto, cpu or cuda, found {self.device!r}.")
        if not self.seed_list:
            raise SettingError(("seeds",), f"expected at least one seed, found {show(self.seeds)}.")
        for index, seed in enumerate(self.seed_list):
            if seed in self.seed_list[:index]:
                raise SettingError(("seeds", index), f"the seed {seed} is given twice.")
        _ = self.protocol, self.usual_vision, read_engine(self.engine, ("engine",))
        _check_arms(self.arm_list, self.baseline)

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, one by one."""
        return tuple(range(self.seeds) if isinstance(self.seeds, int) else self.seeds)

    @property
    def arm_list(self) -> tuple[Arm, ...]:
        """The arms with everything that is said of them."""
        found: tuple[Arm, ...] = read(tuple[Arm, ...], tuple(self.arms), ("arms",))
        return found

    @property
    def usual_vision(self) -> EncoderTraining | None:
        """How arms see that say nothing else."""
        found: EncoderTraining | None = read(OptionalVision, self.vision, ("vision",))
        return found

    @property
    def protocol(self) -> Evaluation:
        """The evaluation with its intervals filled in."""
        written: Evaluation = read(Evaluation, self.evaluation, ("evaluation",))
        every = written.every or max(1, self.target_steps // 20)
        return replace(written, every=every, source_every=written.source_every or every)

    @property
    def source_checkpoint(self) -> Path | None:
        """Path of the checkpoint where the source is one, or the folder of a trial or run that holds it.

        Raises:
            WarmstartError: The folder holds none, or several.
        """
        if not self.source:
            return None
        path, word = split_choice(self.source)
        inside = (METADATA, f"{places.LAST}/{METADATA}", f"{places.BEST}/{METADATA}", TRIALS_FILE)
        held = (
            word is not None or is_reference(self.source) or any((path / name).is_file() for name in inside)
        )
        if (
            not held
            and path.suffix not in (".zip", ".pt")
            and not self.source.startswith(("./", "../", "/", "~"))
        ):
            return None
        found: Path = placed(("source",), find_checkpoint, self.source)
        return found

    def with_steps(self, target_steps: int) -> "Study":
        """The same study with other steps in the target, evaluated as often, the same share in a reality.

        Raises:
            SettingError: There is none.
        """
        share = target_steps / self.target_steps
        given = read(Evaluation, self.evaluation).every
        evaluation = replace(self.protocol, every=max(1, round(share * given)) if given else 0)
        arms = list(self.arm_list)
        for index, arm in enumerate(arms):
            real = arm.world.get("reality_steps")
            if isinstance(real, int):
                scaled = {**arm.world, "reality_steps": max(1, round(share * real))}
                arms[index] = replace(arm, world=scaled)
        return replace(self, target_steps=target_steps, arms=arms, evaluation=evaluation)

    def to_mapping(self) -> dict[str, object]:
        """Give the study as plain data; `Study.from_document` reads it back."""
        typed = {"arms": [arm.to_mapping() for arm in self.arm_list], "seeds": self.seed_list}
        data = {item.name: getattr(self, item.name) for item in fields(self)}
        return {key: to_plain(v) for key, v in (data | typed | {"evaluation": self.protocol}).items()}

    def to_yaml(self, comment: str = "") -> str:
        """Write the study as YAML."""
        return dump_yaml(self.to_mapping(), comment)

    @classmethod
    def from_document(cls, document: Document) -> "Study":
        """Read a study strictly.

        Raises:
            WarmstartError: Unknown key (with its line and the nearest match), wrong type, missing or unsound
                value.
        """
        return document.read(cls)


def _check_arms(arms: tuple[Arm, ...], baseline: str) -> None:
    names = [arm.name for arm in arms]
    if not arms:
        raise SettingError(("arms",), "expected at least one arm, found an empty list.")
    for index, name in enumerate(names):
        if name in names[:index]:
            message = f"the name {name!r} is given twice; set `name` on one of them."
            raise SettingError(("arms", index), message)
        if name in ("", "source", "random") or "/" in name:
            raise SettingError(("arms", index), f"{name!r} can't be the name of an arm.")
    if baseline not in names:
        text = f"the baseline {baseline!r} is not among the arms {', '.join(names)}; add it to the arms."
        raise SettingError(("baseline",), text)
