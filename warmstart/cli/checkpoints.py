"""Checkpoints that a command was given: loaded, named, and checked to fit a task."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.cli.console import note
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
    from warmstart.agents.checkpoints.loading import load_checkpoint
    from warmstart.experiments.records.config import ENCODER_ARM, RANDOM_ARM, SOURCE_ARM
    from warmstart.experiments.records.records import CHECKPOINT
    from warmstart.experiments.run.reading import TRIALS_FILE, statuses

    found: list[
        tuple[Path, str, Path]
    ] = []  # what was given, the arm where there are several, the checkpoint
    for place, path in {given.expanduser().resolve(): given.expanduser() for given in paths}.items():
        if not (path / TRIALS_FILE).is_file() or (path / CHECKPOINT).is_dir():
            found.append((place.parent if place.name == CHECKPOINT else place, "", path))
            continue
        targets = [
            (state.arm, state.directory / CHECKPOINT)
            for state in statuses(path)
            if state.arm not in (RANDOM_ARM, SOURCE_ARM, ENCODER_ARM)
            and (state.directory / CHECKPOINT).is_dir()
        ]
        if not targets:
            raise WarmstartError(f"{path} holds no checkpoint: none of its trials has finished.")
        several = len({arm for arm, _ in targets}) > 1
        found += [(place, arm if several else "", where) for arm, where in targets]
    names = _names({(place, arm) for place, arm, _ in found})
    checkpoints = []
    for place, arm, where in found:
        direct = where / CHECKPOINT if (where / CHECKPOINT).is_dir() else where
        checkpoint = load_checkpoint(direct)
        check_fit(direct, checkpoint, task)
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


def load_policy(path: Path, task: "Task", device: str, trust_normalizer: Path | None) -> "Policy":
    """The policy of a checkpoint (of a run: its only one), checked to fit the task."""
    from warmstart.agents.build import choose_device
    from warmstart.agents.checkpoints.loading import load_checkpoint
    from warmstart.experiments.run.reading import resolve_checkpoint

    checkpoint = load_checkpoint(resolve_checkpoint(path), trust_normalizer=trust_normalizer)
    if checkpoint.format == "sb3" and checkpoint.normalizer is None:
        note(
            "An SB3 zip holds no VecNormalize statistics: observations are passed on as they are. If it was "
        )
        note("trained with VecNormalize, give its file with --trust-normalizer.")
    check_fit(path, checkpoint, task)
    return checkpoint.policy(choose_device(device, checkpoint.observation_space))


def check_fit(path: Path, checkpoint: "Checkpoint", task: "Task") -> None:
    """Raise where a checkpoint's policy doesn't observe or act as a task's environments do."""
    from warmstart.envs.vector import make_vec

    env = make_vec(task, 1, n_threads=1)
    try:
        env = env if checkpoint.vision is None else checkpoint.vision.wrap(env)
        for kind in ("observation", "action"):
            _check_fit(path, checkpoint, task, env, kind)
    finally:
        env.close()


def _check_fit(path: Path, checkpoint: "Checkpoint", task: "Task", env: Any, kind: str) -> None:
    """Raise where observations or actions of checkpoint and task differ in shape, kind or names."""
    own, there = getattr(checkpoint, f"{kind}_space"), getattr(env, f"single_{kind}_space")
    trained = checkpoint.task or "an unnamed task"
    advice = "`warmstart transfer` carries the policy over, matching dimensions by name."
    if (
        type(own) is not type(there)
        or own.shape != there.shape
        or getattr(own, "n", 0) != getattr(there, "n", 0)
    ):
        raise WarmstartError(
            f"The policy in {path} (trained in {trained}) has {kind}s {_size(own)}, those of {task} are "
            f"{_size(there)}. {advice}"
        )
    layout, theirs = getattr(checkpoint, f"{kind}_layout"), getattr(env, f"{kind}_layout")
    if layout is not None and theirs is not None and layout.names != theirs.names:
        other = next((a, b) for a, b in zip(layout.names, theirs.names, strict=True) if a != b)
        raise WarmstartError(
            f"The policy in {path} (trained in {trained}) has other {kind}s than {task}: {other[0]} where "
            f"the task has {other[1]}. {advice}"
        )


def _size(space: Any) -> str:
    return f"{type(space).__name__}({space.n})" if hasattr(space, "n") else f"of shape {space.shape}"
