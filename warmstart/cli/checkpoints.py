"""Checkpoints that a command was given: loaded, named, and checked to fit a task."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.cli.console import note
from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError

if TYPE_CHECKING:
    from warmstart.agents.checkpoints.checkpoint import Checkpoint
    from warmstart.agents.checkpoints.policy import Policy
    from warmstart.envs.tasks.task import Task
    from warmstart.sim2real.reality import Reality


@dataclass(frozen=True, eq=False)
class Named:
    """A checkpoint, and what tables call it: seeds of an arm have the same name, others don't."""

    name: str
    checkpoint: "Checkpoint"

    def is_oracle_in(self, reality: "Reality") -> bool:
        """Whether a study trained it in a reality alone: from scratch, from its first step to its last."""
        from warmstart.experiments.records.config import TrialConfig
        from warmstart.experiments.records.records import CONFIG

        path = self.checkpoint.path
        if path is None or not (path.parent / CONFIG).is_file():
            return False
        config = TrialConfig.read(path.parent)
        there = config.reality.get("sha256") == reality.sha256 and config.method.get("method") == "scratch"
        return there and int(config.world.get("reality_steps", 0)) >= config.steps > 0


def oracles_in(path: Path, reality: "Reality") -> "list[Named]":
    """What ``--oracle`` names: one arm or checkpoint.

    Raises:
        WarmstartError: It is a run with other arms, none of which was trained in the reality.
    """
    found = named_checkpoints([path], reality.task)
    trained = [each for each in found if each.is_oracle_in(reality)]
    if trained or len({each.name for each in found}) == 1:
        return trained or found
    raise WarmstartError(
        f"--oracle: expected an arm of {path} that was trained in {reality.name} throughout, found "
        f"{', '.join(dict.fromkeys(each.name for each in found))}: give a checkpoint."
    )


def named_checkpoints(paths: Sequence[Path], task: "Task") -> list[Named]:
    """Checkpoints with names, those of a run by arm; each is checked to fit the task.

    Raises:
        WarmstartError: There is none, or one doesn't fit.
    """
    if not paths:
        raise WarmstartError("Expected at least one CHECKPOINT, found none.")
    from warmstart.agents.checkpoints.fitting import check_fit
    from warmstart.agents.checkpoints.places import CHOICES, TRIALS_FILE, find_checkpoint, split_choice
    from warmstart.agents.loading import load_checkpoint
    from warmstart.experiments.run.reading import statuses

    found: list[tuple[Path, str, Path]] = []  # what was given, the arm if there are several, the checkpoint
    for place, given in {path.expanduser().resolve(): path.expanduser() for path in paths}.items():
        path, word = split_choice(given)
        folder = CHOICES[word or "last"]
        if not (path / TRIALS_FILE).is_file() or (path / folder).is_dir():
            found.append(
                (place.parent if place.name in CHOICES.values() else place, "", find_checkpoint(given))
            )
            continue
        targets = [
            (state.arm, state.directory / folder)
            for state in statuses(path)
            if state.kind == "target" and (state.directory / folder).is_dir()
        ]
        if not targets:
            find_checkpoint(given)  # says why there is none
            raise WarmstartError(f"{path} holds no checkpoint of a target arm.")
        several = len({arm for arm, _ in targets}) > 1
        found += [(place, arm if several else "", where) for arm, where in targets]
    names = _names({(place, arm) for place, arm, _ in found})
    checkpoints = []
    for place, arm, where in found:
        checkpoint = load_checkpoint(where)
        for remark in checkpoint.notes:
            note(f"{names[place, arm]}: {remark}")
        check_fit(checkpoint, task, where)
        checkpoints.append(Named(names[place, arm], checkpoint))
    return checkpoints


def _names(places: Collection[tuple[Path, str]]) -> dict[tuple[Path, str], str]:
    """A name for each path and arm: no longer than it takes to tell them apart."""
    depth, names = 0, dict[tuple[Path, str], str]()
    while len(set(names.values())) < len(places) or not all(names.values()):
        shown = {place: place[0].parts[len(place[0].parts) - depth :] for place in places}
        names = {place: "/".join([*shown[place], *([place[1]] if place[1] else [])]) for place in places}
        depth += 1
    return names


def load_policy(path: Path, task: "Task", device: str, told: Settings) -> "Policy":
    """The policy of a checkpoint (of a run: its only one), checked to fit the task."""
    from warmstart.agents.build import choose_device
    from warmstart.agents.checkpoints.fitting import check_fit

    checkpoint = load_told(path, told)
    check_fit(checkpoint, task, path)
    return checkpoint.policy(choose_device(device, checkpoint.observation_space))


def load_policies(words: Sequence[str], task: "Task", told: Settings) -> "dict[str, Policy]":
    """The policies of several checkpoints by name, on the CPU, each checked to fit the task.

    Args:
        words: ``CHECKPOINT`` or ``NAME=CHECKPOINT``; one without a name has as much of its path as tells it
            from the others.
        task: Where they are to act.
        told: What is known of the first, as ``load_checkpoint`` takes it.

    Raises:
        WarmstartError: There is no such checkpoint, one doesn't fit the task, or two have the same name.
    """
    from warmstart.agents.checkpoints.places import CHOICES

    split = [_split_name(word) for word in words]
    places = {path: path.expanduser().resolve() for _, path in split}
    if len(set(places.values())) < len(split):
        twice = next(path for path in places if sum(places[other] == places[path] for _, other in split) > 1)
        raise WarmstartError(f"{twice} is given twice: expected different checkpoints.")
    shown = {p: (p.parent if p.name in CHOICES.values() else p, "") for p in places.values()}
    names = _names(shown.values() if len(set(shown.values())) == len(shown) else {(p, "") for p in shown})
    policies: dict[str, Policy] = {}
    for number, (name, path) in enumerate(split):
        name = name or names.get(shown[places[path]]) or names[places[path], ""]
        if name in policies:
            raise WarmstartError(f"Two checkpoints are called {name!r}: expected NAME=CHECKPOINT of each.")
        policies[name] = load_policy(path, task, "cpu", {} if number else told)
    return policies


def checkpoint_path(word: str) -> Path:
    """The path of ``CHECKPOINT`` or ``NAME=CHECKPOINT``."""
    return _split_name(word)[1]


def _split_name(word: str) -> tuple[str, Path]:
    """``NAME=CHECKPOINT`` as its two parts; the name is empty where there is none, or a path holds the =."""
    name, equals, path = word.partition("=")
    named = equals and path and "/" not in name and not Path(word).expanduser().exists()
    return (name, Path(path)) if named else ("", Path(word))


def load_told(path: Path, told: Settings) -> "Checkpoint":
    """A checkpoint (of a run: its only one); says what of it couldn't be read, or is missing.

    Args:
        path: The checkpoint.
        told: What is known of it, as ``load_checkpoint`` takes it.
    """
    from warmstart.agents.loading import load_checkpoint

    checkpoint = load_checkpoint(path, **told)
    for remark in checkpoint.notes:
        note(remark)
    if checkpoint.format == "sb3" and checkpoint.normalizer is None:
        note(
            "An SB3 zip holds no VecNormalize statistics: observations are passed on as they are. If it was "
            "\ntrained with VecNormalize, give its file with --trust-normalizer."
        )
    return checkpoint


def follow_source(source: "Checkpoint", task: str, algorithm: str) -> str | Settings:
    """Give the target's algorithm the source's normalisation and networks, and say what that changes."""
    from warmstart.agents.checkpoints.architecture import is_simba
    from warmstart.agents.checkpoints.recurrent import refuse_recurrent
    from warmstart.agents.settings.config import POLICY_KWARGS, config_class
    from warmstart.agents.settings.defaults import default_config
    from warmstart.envs.tasks.task import Task

    refuse_recurrent(source.algorithm)
    if algorithm != source.algorithm:
        return algorithm
    network = "simba" if is_simba(source.policy_kwargs) else "plain"
    usual = default_config(config_class(algorithm).algorithm, Task.parse(task), network)
    statistics = source.normalizer
    settings = {
        "normalize_obs": statistics is not None and statistics.normalize_obs,
        "normalize_reward": statistics is not None and statistics.normalize_reward,
        "activation": source.policy_kwargs.get("activation", "tanh" if algorithm == "ppo" else "relu"),
        **_source_networks(source, usual),
        "policy_kwargs": {k: v for k, v in source.policy_kwargs.items() if k in POLICY_KWARGS[algorithm]},
    }
    changed = {key: value for key, value in settings.items() if getattr(usual, key) != value}
    if network == "simba":
        changed["network"] = network
    if not changed:
        return algorithm
    text = f"The target is built as the source was: {', '.join(f'{k}={v}' for k, v in changed.items())}."
    if statistics is None and "normalize_obs" in changed:
        text += " If it was trained with VecNormalize, give that file: --trust-normalizer FILE."
    note(text)
    return {"name": algorithm, **changed}


def _source_networks(source: "Checkpoint", usual: Any) -> Settings:
    """Widths of a source's networks, and how it explores, as settings of the target."""
    held = source.policy_kwargs
    widths = held.get("net_arch", SB3_WIDTHS[source.algorithm])
    second = "vf" if source.algorithm == "ppo" else "qf"
    of_each = isinstance(widths, dict)
    own, critic = (widths.get("pi", []), widths.get(second, [])) if of_each else (widths, widths)
    settings = dict[str, Any](net_arch=tuple(own), use_sde=bool(held.get("use_sde", False)))
    if own != critic or usual.critic_net_arch is not None:
        settings["critic_net_arch"] = tuple(critic)
    if source.algorithm == "ppo" or settings["use_sde"]:
        settings["log_std_init"] = float(held.get("log_std_init", 0.0 if source.algorithm == "ppo" else -3.0))
    if source.algorithm != "ppo":
        settings["n_critics"] = int(held.get("n_critics", 2))
    if source.algorithm == "tqc":
        settings["n_quantiles"] = int(held.get("n_quantiles", 25))
    return settings


SB3_WIDTHS: dict[str, Any] = {
    "ppo": [64, 64],
    "sac": [256, 256],
    "td3": [400, 300],
    "tqc": [256, 256],
    "crossq": {"pi": [256, 256], "qf": [1024, 1024]},
}
"""What SB3 and sb3-contrib build where a model's ``policy_kwargs`` name no widths."""


def source_vision(source: "Checkpoint") -> Settings | None:
    """How a source's agent sees, as settings: the target's has to see alike."""
    from warmstart.agents.observing.base import EncodedFrames, StackedFrames

    if isinstance(source.vision, EncodedFrames):  # the encoder itself comes along with the checkpoint
        return {"encoder": source.vision.encoder.backbone.name, "train": "frozen"}
    if isinstance(source.vision, StackedFrames):
        kwargs = source.policy_kwargs["features_extractor_kwargs"]
        separator = "," if ":" in kwargs["encoder"] else ":"
        text = f"{kwargs['encoder']}{separator}frames={source.vision.frames}"
        own = {name: kwargs.get(name, 0) for name in ("random_shift", "adapter_rank")}
        return {"encoder": text, "train": "fine_tuned", **own}
    return None
