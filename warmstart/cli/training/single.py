"""``warmstart train`` and ``transfer``: one agent, cold or warm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from warmstart.cli.checkpoints import follow_source, load_told, source_vision
from warmstart.cli.console import (
    CheckpointPath,
    OptionWords,
    Reading,
    TaskText,
    as_map,
    console,
    folder_name,
    in_words_of_the_command,
    values,
)
from warmstart.cli.study import Training, show
from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError
from warmstart.core.trust import trust

if TYPE_CHECKING:
    from warmstart.experiments.study.study import Study


@dataclass(frozen=True, kw_only=True)
class Single(Training):
    """Options of what trains one agent."""

    seed: int = 0
    """Seed of every random draw."""
    device: str = "cpu"
    """cpu, cuda or auto; small state policies are fastest on the CPU."""
    stop_at: float | None = None
    """Return of an evaluation at which training ends early."""
    patience: int = 0
    """Evaluations in a row without a better one after which it ends; 0 for never."""
    randomize: Annotated[tuple[str, ...], tyro.conf.arg(metavar="RECIPE|NAME=RANGE")] = ()
    """Physics drawn anew for every episode of training: light, medium, heavy, or friction=x0.6:x1.4
    torso.mass=x0.8:x1.3; a recipe may be followed by such terms."""
    imperfections: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CHALLENGE|NAME=VALUE")] = ()
    """What sensors and actuators do wrong in training: easy, medium, hard, or settings such as
    action_delay=2."""

    def world(self) -> Settings:
        """What of the simulation is said, as an arm of a study says it."""
        said = {
            "randomize": _named("--randomize", self.randomize, "recipe"),
            "imperfections": _named("--imperfections", self.imperfections, "challenge"),
        }
        return {name: value for name, value in said.items() if value}

    def protocol(self) -> Settings:
        """The study's `evaluation`."""
        return {"stop_at": self.stop_at, "patience": self.patience}


@dataclass(frozen=True)
class Train(Single):
    """Train an agent from scratch; its checkpoint can start others."""

    task: TaskText
    """For example HalfCheetah-v5 or Hopper-v5@torso.mass=x1.5."""
    algorithm: str = "ppo"
    """ppo, sac, td3, tqc or crossq."""
    network: str | None = None
    """plain, or simba (not for ppo): residual blocks, which learn from fewer steps and take longer for
    each."""
    encoder: str | None = None
    """Frozen encoder for a task with obs=pixels, such as squeezenet1_1:weights=imagenet or the file that
    `warmstart pretrain` wrote; NatureCNN, trained from scratch, by default."""
    steps: int = 1_000_000
    """Environment steps."""
    keep_replay: bool = False
    """Whether the checkpoint keeps the replay buffer (not of ppo), for rlpd with data=replay."""
    reward: str = "task"
    """What it trains on: task, its own reward; or in its place state_entropy, or {name: state_entropy,
    neighbours: 6}. Evaluation is by the task's. `warmstart list rewards` shows them."""

    def run(self) -> int:
        """Train."""
        from warmstart.core.documents import parse_yaml
        from warmstart.experiments.study.study import Study

        reward: str | Settings = self.reward
        if self.reward.startswith("{"):
            reward = parse_yaml(self.reward, "--reward").data
        name = reward if isinstance(reward, str) else reward.get("name")
        kind = "" if name == "task" else f"-{name}"
        named: str | Settings = self.algorithm
        if self.network is not None:
            named = {"name": self.algorithm, "network": self.network}
        return _run_single(
            lambda: Study(
                name=folder_name(f"{self.task}{kind}"),
                target=self.task,
                target_steps=self.steps,
                algorithm=named,
                arms=({"method": "scratch", "reward": reward, **self.world()},),
                vision=self.encoder,
                seeds=[self.seed],
                device=self.device,
                keep_replay=self.keep_replay,
                evaluation=self.protocol(),
            ),
            self,
        )


@dataclass(frozen=True)
class Transfer(Reading, Single):
    """Start an agent in a task from a checkpoint, and train it there."""

    checkpoint: CheckpointPath
    """Checkpoint directory, run, SB3 zip, rsl_rl's or mjlab's .pt, or hf:OWNER/NAME on the hub."""
    task: TaskText
    """The target task."""
    method: str = "fine_tune"
    """Transfer method; `warmstart list methods` shows them."""
    option: OptionWords = ()
    """Options of the method, such as critic_fit_steps=0 exploration={floor: -0.5}."""
    algorithm: str | None = None
    """ppo, sac, td3, tqc or crossq; the checkpoint's own by default."""
    steps: int = 250_000
    """Environment steps in the target, the fitting of the critic included."""
    source_task: str | None = None
    """Task that a foreign file was trained in, for the names and gears of its dimensions: Hopper-v5."""
    source_observation_names: tuple[str, ...] = ()
    """Names of a foreign file's observations, in order."""
    source_action_names: tuple[str, ...] = ()
    """Names of a foreign file's actions, in order."""
    observation_map: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TARGET=SOURCE")] = ()
    """Which observation of the source each one of the target is, where names differ: -NAME turns its sign
    round, nothing after the = leaves it fresh, '*=mirror' takes the others from the body's other side."""
    action_map: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TARGET=SOURCE")] = ()
    """The same for actions."""

    def run(self) -> int:
        """Transfer and train."""
        from warmstart.agents.checkpoints.places import find_checkpoint
        from warmstart.agents.hub.fetching import pinned
        from warmstart.agents.hub.reference import is_reference
        from warmstart.experiments.study.study import Study

        self.load_plugins(self.checkpoint)
        if self.trust_normalizer is not None:
            trust(self.trust_normalizer)
        given = pinned(self.checkpoint)
        path = find_checkpoint(given)
        found = load_told(path, self.told)
        observations = as_map("--observation-map", self.observation_map)
        actions = as_map("--action-map", self.action_map)
        options = values("--option", self.option)
        for name in ("name", "method"):
            if name in options:
                raise WarmstartError(f"--option {name}: the method is named by --method.")
        return _run_single(
            lambda: Study(
                name=f"{folder_name(self.task)}-{self.method}",
                source=given if is_reference(given) else str(path.resolve()),
                target=self.task,
                target_steps=self.steps,
                algorithm=follow_source(found, self.task, self.algorithm or found.algorithm),
                arms=({**options, **self.world(), "method": self.method, "name": self.method},),
                vision=source_vision(found),
                baseline=self.method,
                seeds=[self.seed],
                device=self.device,
                evaluation=self.protocol(),
                source_task=self.source_task,
                source_normalizer=None if self.trust_normalizer is None else str(self.trust_normalizer),
                source_activation=self.activation,
                source_onnx=None if self.onnx is None else str(self.onnx),
                source_observation_names=self.source_observation_names or None,
                source_action_names=self.source_action_names or None,
                observation_map=observations,
                action_map=actions,
            ),
            self,
            self.checkpoint,
        )


def _run_single(make_study: "Callable[[], Study]", options: Single, *sources: Path) -> int:
    from warmstart.core.bounds import SettingError
    from warmstart.experiments.run.reading import find_checkpoints
    from warmstart.experiments.run.run import run_study

    plugins = options.load_plugins(*sources)
    try:
        result = run_study(make_study(), options.out, plugins=plugins, **options.running)
    except SettingError as wrong:
        raise WarmstartError(in_words_of_the_command(wrong)) from None
    status = show(result, options.json)
    if not options.json:
        for curve in result.run.curves:
            first, last = curve.returns[[0, -1]]
            console().print(f"Return at the end: {last:,.1f} (at the start {first:,.1f})")
            if curve.stopped:
                console().print(f"Training ended early, after {curve.stopped_at:,} steps: {curve.stopped}.")
        for path in find_checkpoints(result.directory):
            console().print(f"Checkpoint: {path}")
    return status


def _named(flag: str, words: Sequence[str], kind: str) -> str | Settings:
    """A name alone, or settings, perhaps with a name before them."""
    names = [word for word in words if "=" not in word]
    if len(names) > 1:
        raise WarmstartError(f"{flag}: expected one {kind}, found {', '.join(names)}.")
    settings = values(flag, [word for word in words if "=" in word])
    if not settings:
        return names[0] if names else {}
    return {kind: names[0], **settings} if names else settings
