"""The resolved configuration of one trial; its hash names the trial's directory.

Holds whatever decides the result and nothing else: no paths, worker counts or hosts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib import metadata
from pathlib import Path

from warmstart.core.bounds import Count, Natural, Settings, State
from warmstart.core.documents import Document
from warmstart.core.errors import WarmstartError
from warmstart.core.files import json_hash, parse_json, read_text, write_json
from warmstart.core.plain import to_plain
from warmstart.experiments.records.records import CONFIG
from warmstart.experiments.records.schema import Kind, Step

MOST_POINTS = 1_000_000
"""Most evaluations of a trial."""
SOURCE_ARM = "source"
RANDOM_ARM = "random"
ENCODER_ARM = "encoder"
IDENTIFY_ARM = "identify"
_LEFT_OUT_IF_EMPTY = {"vision", "encoder", "world", "reality", "identification"}
_LEFT_OUT_IF_EMPTY |= {"source_task", "source_normalizer", "source_activation", "source_onnx", "stopping"}
_LEFT_OUT_IF_EMPTY |= {"replay", "reward"}
"""Fields that the JSON leaves out where they are empty: trials that don't need them keep their hashes."""
ENGINES = ("gymnasium", "mujoco", "numpy", "stable-baselines3", "torch", "warmstart")


@dataclass(frozen=True)
class TrialConfig:
    """One arm and one seed, completely resolved."""

    kind: Kind
    """`encoder`: a visual encoder, pretrained on frames; `identify`: physics, identified in a reality;
    `source`: an agent to start from; `target`: an arm's agent; `random`: uniformly random actions."""
    task: str
    """Canonical text of the task that is trained and evaluated on."""
    seed: Natural = 0
    """Seed of every random draw of the trial; evaluation has its own."""
    steps: Step = 0
    """Environment steps of training."""
    algorithm: Settings = field(default_factory=dict)
    """`algorithm` and every setting of it; empty for `random`."""
    method: Settings = field(default_factory=dict)
    """The transfer `method`'s name and every option of it; empty for `random`."""
    source: str = ""
    """Hash of the trial, or of the given checkpoint's content, that it starts from; empty for none."""
    vision: Settings = field(default_factory=dict)
    """Its encoder: every setting of `EncoderTraining`, the weights named without their path and with their
    `sha256`; empty where it observes states."""
    encoder: str = ""
    """Hash of the trial that pretrains the encoder; empty for none."""
    world: Settings = field(default_factory=dict)
    """How the simulation that is trained in differs from the task, recipes written out; empty for not at
    all."""
    reward: Settings = field(default_factory=dict)
    """`name` and options of what it trains on in place of the task's reward; empty for that itself, by which
    it is evaluated in any case."""
    reality: Settings = field(default_factory=dict)
    """`name` and `sha256` of the reality that it is evaluated in, and the recipe of the `range` in which it
    is judged, too; empty for none."""
    identification: str = ""
    """Hash of the trial that identifies the task's physics in the reality; empty for none."""
    evaluation_every: Natural = 0
    """Training steps between two evaluations; 0 for none but the first and the last."""
    stopping: Settings = field(default_factory=dict)
    """When training ends early: `stop_at`, a return, and `patience`, evaluations without a better one; empty
    for never."""
    evaluation_episodes: Natural = 0
    """Episodes of an evaluation; 0 for no evaluation at all."""
    evaluation_seed: Natural = 0
    """Seed of the first evaluation episode."""
    observation_map: Mapping[str, str | None] = field(default_factory=dict)
    """Target observation name to source observation name, where they differ."""
    action_map: Mapping[str, str | None] = field(default_factory=dict)
    """The same for actions."""
    source_observation_names: Sequence[str] | None = None
    """Observation names of a foreign checkpoint; None where it brings its own."""
    source_action_names: Sequence[str] | None = None
    """Action names of a foreign checkpoint; None where it brings its own."""
    source_task: str = ""
    """Task with the names of a foreign checkpoint's dimensions; empty for none."""
    source_normalizer: str = ""
    """sha256 of the trusted `VecNormalize` file of a foreign checkpoint; empty for none."""
    replay: bool = False
    """Whether its last checkpoint keeps the replay buffer."""
    source_activation: str = ""
    """Activation function that was said of a checkpoint of rsl_rl; empty for its usual one."""
    source_onnx: str = ""
    """sha256 of the ONNX model that names the dimensions of a checkpoint of rsl_rl; empty for none."""
    device: str = "cpu"
    """Where networks live."""
    torch_threads: Count = 1
    """Threads of torch."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that compute the result."""
    plugins: Mapping[str, str] = field(default_factory=dict)
    """Name and sha256 of each plugin."""

    @property
    def hash(self) -> str:
        """First 16 hex digits of the sha256 of the configuration's canonical JSON."""
        return json_hash(self.to_json())[:16]

    @property
    def grid(self) -> tuple[int, ...]:
        """Training steps at which the trial is evaluated: 0, every so many, and the end."""
        if self.evaluation_episodes == 0:
            return ()
        every = self.evaluation_every or max(self.steps, 1)
        return (*range(0, max(self.steps, 1), every), self.steps) if self.steps else (0,)

    def to_json(self) -> State:
        """Give the configuration as plain data."""
        plain: State = to_plain(asdict(self))
        return {key: value for key, value in plain.items() if value or key not in _LEFT_OUT_IF_EMPTY}

    def write(self, directory: Path) -> None:
        """Write `trial.json`."""
        write_json(directory / CONFIG, self.to_json(), durable=True)

    @classmethod
    def read(cls, directory: Path) -> "TrialConfig":
        """Read a trial directory's configuration.

        Raises:
            WarmstartError: There is none, or it isn't one of this version's.
        """
        path = directory / CONFIG
        names = {item.name for item in fields(cls)}
        try:
            data = parse_json(read_text(path, within=directory.parent.parent), str(path))
        except FileNotFoundError:
            raise WarmstartError(f"{directory} is not a trial: it has no {CONFIG}.") from None
        if not isinstance(data, dict):
            raise WarmstartError(f"{path} is not a trial's: expected an object with {', '.join(names)}.")
        odd_names = (set(data) ^ names) - _LEFT_OUT_IF_EMPTY
        if odd_names:
            odd = ", ".join(sorted(odd_names))
            raise WarmstartError(f"{path} was written by another version of warmstart (differs in: {odd}).")
        config: TrialConfig = Document(data, str(path)).read(cls)
        if config.steps > MOST_POINTS * max(1, config.evaluation_every or config.steps):
            raise WarmstartError(f"{path}: expected at most {MOST_POINTS:,} evaluations, found more.")
        return config


@dataclass(frozen=True, eq=False)
class PlannedTrial:
    """One trial and its place in the study."""

    config: TrialConfig
    arm: str
    """Arm's name; `source` and `random` for trials that serve all arms."""
    needs: str | None = None
    """Hash of the trial that must be done first."""
    trains: bool = True
    """Whether its agent learns; otherwise it is evaluated once."""
    hash: str = ""

    def __post_init__(self) -> None:
        """Compute the hash once."""
        object.__setattr__(self, "hash", self.config.hash)

    @property
    def steps(self) -> int:
        """Training steps that it takes."""
        return self.config.steps if self.trains else 0

    @property
    def evaluations(self) -> int:
        """Evaluations that it makes."""
        return len(self.config.grid) if self.trains else 1

    @property
    def label(self) -> str:
        """What progress and messages call it."""
        return trial_label(self.config.kind, self.arm, self.config.seed)


def trial_label(kind: Kind, arm: str, seed: int) -> str:
    """What progress and messages call a trial."""
    return arm if kind == "random" else f"{arm} · seed {seed}"


@cache
def engine_versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    return {name: metadata.version(name) for name in ENGINES}
