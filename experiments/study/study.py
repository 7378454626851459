"""A study: source, target, arms, seeds, evaluation. One dataclass, one YAML file, one command.

What a user writes is kept as written; the accessors (`seed_list`, `arm_list`, …) give it in one shape. What
follows from it (trials, resolved settings) is in `plan.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from warmstart.core.documents import Document, dump_yaml, parse_yaml, read_yaml
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import Place, SettingError, replaced, to_plain

T = TypeVar("T")
_PRESETS = "warmstart.experiments.presets"
WORLD_KEYS = (
    "randomize",
    "curriculum",
    "imperfections",
    "disturbances",
    "identify",
    "privileged",
    "history",
    "reality_steps",
)
"""What an arm may say of the simulation that it trains in; see `WorldConfig`."""
ARM_KEYS = ("obs", "vision", "algorithm", "optional", *WORLD_KEYS)
"""What an arm may say beside its name, its method and the method's options."""


class StudyError(SettingError):
    """A mistake in one field of a study; `place` leads to it."""


@dataclass(frozen=True)
class Evaluation:
    """How agents are evaluated: deterministic policy, paired seeds, one grid of steps that includes 0."""

    every: int = 0
    """Training steps between two evaluations; 0 for a twentieth of the target's steps."""
    episodes: int = 16
    """Episodes of one evaluation."""
    seed: int = 1_000_000
    """Seed of the first evaluation episode; the others count on from it. The same at every point of the grid,
    for every arm and every seed of the study."""
    source_every: int = 0
    """The same as `every` while the source agents train; 0 for `every`."""


@dataclass(frozen=True)
class Arm:
    """One method with its options, under a name that curves and tables show."""

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the method."""
    obs: str | None = None
    """`state` lets this arm observe states where the tasks show pixels: an oracle."""
    vision: str | Mapping[str, Any] | None = None
    """How this arm sees, in place of the study's `vision`: an encoder's text or a mapping of settings."""
    algorithm: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the algorithm that differ from the study's in this arm."""
    optional: bool = False
    """Whether the arm is left out, with a note, where the weights of its encoder aren't on this machine."""
    world: Mapping[str, Any] = field(default_factory=dict)
    """How the simulation that this arm trains in differs from its task: `randomize`, `curriculum`,
    `imperfections`, `disturbances`, `identify`, `privileged`, `history`, `reality_steps`."""

    def to_mapping(self) -> dict[str, Any]:
        """Give name, method and options as one flat mapping, as in YAML."""
        keys = [key for key in ARM_KEYS if key not in WORLD_KEYS]
        own = {key: to_plain(getattr(self, key)) for key in keys if getattr(self, key)}
        mine = {"name": self.name, "method": self.method, **own, **to_plain(self.world)}
        return {**mine, **to_plain(self.options)}


@dataclass(frozen=True)
class Study:
    """Warm starts against a cold start on one target task."""

    name: str
    """Name of the study; its run goes to `runs/NAME` unless told otherwise."""
    target: str
    """Task text of the target: `ID[:option=value,…][@parameter=value,…]`, or a registered target's name."""
    target_steps: int
    """Environment steps that every arm may take in the target, critic fitting included."""
    source: str | None = None
    """Task text of the source, on which one agent per seed is trained; or the path of a checkpoint, which
    then serves every seed (this understates the variance: the report says so). None where no arm needs
    one."""
    source_steps: int = 0
    """Environment steps that a source agent is trained for; 0 where `source` is a checkpoint."""
    algorithm: str | Mapping[str, Any] = "ppo"
    """`ppo`, `sac` or `td3`; or a mapping of its `name` and the settings that differ from the task's
    defaults."""
    source_algorithm: str | Mapping[str, Any] | None = None
    """The same for the source agents, where they shall differ; None for the target's settings."""
    arms: Sequence[str | Mapping[str, Any]] = ("scratch", "fine_tune")
    """Methods to compare: names, or mappings of `method`, optionally `name`, the method's options, and for
    pixels `vision`, `obs: state`, `algorithm` and `optional`, and of the simulation that it trains in
    `randomize`, `curriculum`, `imperfections`, `disturbances`, `identify`, `privileged`, `history` and
    `reality_steps`."""
    vision: str | Mapping[str, Any] | None = None
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
    seeds: int | Sequence[int] = 10
    """Seeds: n for 0 … n-1, or a list. Arms are paired by seed."""
    evaluation: Evaluation | Mapping[str, Any] = field(default_factory=Evaluation)
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
    """Path of the file that SB3's `VecNormalize.save` wrote for a foreign checkpoint. It is a pickle, which
    can run code: only one that you trust."""
    device: str = "cpu"
    """Where networks live: `cpu`, `cuda` or `auto`; small state policies are fastest on the CPU."""
    torch_threads: int = 1
    """Threads of torch in each trial; part of a result's identity, as it changes the bits."""

    def __post_init__(self) -> None:
        """Check whatever can be checked without building anything."""
        if not self.name or "/" in self.name or self.name in (".", ".."):
            raise StudyError(("name",), f"expected a name for a folder, found {self.name!r}.")
        _check_texts(self)
        if self.target_steps < 1:
            raise StudyError(("target_steps",), f"expected at least 1 step, found {self.target_steps}.")
        if self.source is None and self.source_steps:
            raise StudyError(("source_steps",), "there is no `source` to train for these steps.")
        if self.source and self.source_steps < 1 and self.source_checkpoint is None:
            raise StudyError(("source_steps",), "missing: for how many steps is a source agent trained?")
        for key in ("source_task", "source_normalizer"):
            if getattr(self, key) is not None and self.source_checkpoint is None:
                raise StudyError((key,), "describes a checkpoint, but `source` is not the path of one.")
        if self.torch_threads < 1:
            raise StudyError(("torch_threads",), f"expected at least 1, found {self.torch_threads}.")
        if self.device not in ("auto", "cpu") and not self.device.startswith("cuda"):
            raise StudyError(("device",), f"expected auto, cpu or cuda, found {self.device!r}.")
        _check_evaluation(self.protocol)
        _check_arms(self.arm_list, self.baseline)
        _ = self.seed_list

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, one by one."""
        seeds = self.seeds
        if isinstance(seeds, int):
            if seeds < 1:
                raise StudyError(("seeds",), f"expected at least one seed, found {seeds}.")
            return tuple(range(seeds))
        if not seeds:
            raise StudyError(("seeds",), "expected at least one seed, found an empty list.")
        for index, seed in enumerate(seeds):
            if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
                raise StudyError(("seeds", index), f"expected a whole number of at least 0, found {seed!r}.")
            if seed in seeds[:index]:
                raise StudyError(("seeds", index), f"the seed {seed} is given twice.")
        return tuple(seeds)

    @property
    def arm_list(self) -> tuple[Arm, ...]:
        """The arms with name, method and options."""
        return tuple(_read_arm(arm, ("arms", index)) for index, arm in enumerate(self.arms))

    @property
    def protocol(self) -> Evaluation:
        """The evaluation with its intervals filled in."""
        written = self.evaluation
        if not isinstance(written, Evaluation):
            values = written
            written = checked(("evaluation",), lambda: replaced(Evaluation(), values))
        every = written.every or max(1, self.target_steps // 20)
        return Evaluation(every, written.episodes, written.seed, written.source_every or every)

    @property
    def source_checkpoint(self) -> Path | None:
        """Path of the checkpoint where the source is one rather than a task."""
        if not self.source:
            return None
        path = Path(self.source).expanduser()
        looks_like_one = path.suffix == ".zip" or self.source.startswith(("./", "../", "/", "~"))
        return path if looks_like_one or (path / "checkpoint.json").is_file() else None

    def with_steps(self, target_steps: int) -> "Study":
        """The same study with other steps in the target, evaluated as often, the same share in a reality.

        Raises:
            StudyError: There is none.
        """
        share = target_steps / self.target_steps
        evaluation = self.protocol
        own = self.evaluation if isinstance(self.evaluation, Mapping) else vars(self.evaluation)
        every = max(1, round(share * evaluation.every)) if own.get("every") else 0
        evaluation = replace(evaluation, every=every)
        arms = [
            {**arm, "reality_steps": max(1, round(share * arm["reality_steps"]))}
            if isinstance(arm, Mapping) and isinstance(arm.get("reality_steps"), int)
            else arm
            for arm in self.arms
        ]
        return replace(self, target_steps=target_steps, arms=arms, evaluation=evaluation)

    def to_mapping(self) -> dict[str, Any]:
        """Give the study as plain data; `Study.from_document` reads it back."""
        data = {item.name: to_plain(getattr(self, item.name)) for item in fields(self)}
        data["arms"] = [arm.to_mapping() for arm in self.arm_list]
        data["seeds"] = list(self.seed_list)
        data["evaluation"] = to_plain(self.protocol)
        return data

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


def checked(place: Place, make: Callable[[], T]) -> T:
    """Do something, and say of a mistake where in the study it stands."""
    try:
        return make()
    except StudyError:
        raise
    except SettingError as error:
        raise StudyError((*place, *error.place), error.message) from None
    except WarmstartError as error:
        raise StudyError(place, str(error)) from None


def preset_names() -> tuple[str, ...]:
    """Names of the studies that ship with warmstart."""
    files = resources.files(_PRESETS).iterdir()
    return tuple(sorted(item.name.removesuffix(".yaml") for item in files if item.name.endswith(".yaml")))


def preset_comment(name: str) -> str:
    """Say what a preset asks: the comment at the top of its file, in one paragraph."""
    lines = resources.files(_PRESETS).joinpath(f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    head = lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))]
    return " ".join(line.lstrip("# ").strip() for line in head)


def study_document(name: str | Path) -> Document:
    """Read a preset by its name, a YAML file by its path, or a run directory's own study.

    Raises:
        WarmstartError: Neither a preset nor a file; not valid YAML.
    """
    path = Path(name).expanduser()
    if str(name) in preset_names():
        text = resources.files(_PRESETS).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        return parse_yaml(text, f"preset {name}")
    if path.is_dir() and (path / "study.yaml").is_file():
        return read_yaml(path / "study.yaml")
    if path.is_file():
        return read_yaml(path)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise WarmstartError(f"There is no study file {path}. Presets: {', '.join(preset_names())}.")
    raise unknown_name("preset", str(name), preset_names())


def load_study(name: str | Path) -> Study:
    """Read and check a preset by its name, a YAML file by its path, or a run directory's own study."""
    return Study.from_document(study_document(name))


def _check_texts(study: Study) -> None:
    optional = ("source", "source_task", "source_normalizer", "reality")
    for key in ("target", "baseline", "device", "judge_range", *optional):
        value = getattr(study, key)
        if key in optional and value is None:
            continue
        if not isinstance(value, str) or not value:
            raise StudyError((key,), f"expected text, found {value!r}.")
    for key in ("algorithm", "source_algorithm"):
        value = getattr(study, key)
        if isinstance(value, Mapping) and not isinstance(value.get("name"), str):
            raise StudyError((key,), "expected the algorithm's name under the key `name`: ppo, sac or td3.")


def _check_evaluation(evaluation: Evaluation) -> None:
    for key, least in (("every", 1), ("source_every", 1), ("episodes", 1), ("seed", 0)):
        if getattr(evaluation, key) < least:
            found = getattr(evaluation, key)
            raise StudyError(("evaluation", key), f"expected at least {least}, found {found}.")


def _check_arms(arms: tuple[Arm, ...], baseline: str) -> None:
    names = [arm.name for arm in arms]
    if not arms:
        raise StudyError(("arms",), "expected at least one arm, found an empty list.")
    for index, name in enumerate(names):
        if name in names[:index]:
            raise StudyError(("arms", index), f"the name {name!r} is given twice; set `name` on one of them.")
        if name in ("source", "random") or "/" in name:
            raise StudyError(("arms", index), f"{name!r} can't be the name of an arm.")
    if baseline not in names:
        text = f"the baseline {baseline!r} is not among the arms {', '.join(names)}; add it to the arms."
        raise StudyError(("baseline",), text)


def _read_arm(arm: str | Mapping[str, Any], place: Place) -> Arm:
    if isinstance(arm, str):
        return Arm(arm, arm)
    if not isinstance(arm, Mapping) or not isinstance(arm.get("method"), str):
        raise StudyError(place, f"expected a method's name or a mapping with `method`, found {arm!r}.")
    name = arm.get("name", arm["method"])
    if not isinstance(name, str) or not name:
        raise StudyError((*place, "name"), f"expected text, found {name!r}.")
    options = {key: value for key, value in arm.items() if key not in ("name", "method", *ARM_KEYS)}
    obs, vision, algorithm, optional = (arm.get(key) for key in ("obs", "vision", "algorithm", "optional"))
    world = {key: arm[key] for key in WORLD_KEYS if arm.get(key)}
    if obs not in (None, "state"):
        raise StudyError((*place, "obs"), f"expected `state` (an oracle), or nothing; found {obs!r}.")
    if vision is not None and not isinstance(vision, str | Mapping):
        raise StudyError((*place, "vision"), f"expected an encoder or a mapping, found {vision!r}.")
    if algorithm is not None and not isinstance(algorithm, Mapping):
        raise StudyError((*place, "algorithm"), f"expected a mapping of settings, found {algorithm!r}.")
    if optional not in (None, True, False):
        raise StudyError((*place, "optional"), f"expected true or false, found {optional!r}.")
    return Arm(name, arm["method"], options, obs, vision, algorithm or {}, bool(optional), world)
