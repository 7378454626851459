"""The worlds of a study's trials: the reality they are judged in, identified physics, what training draws."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.agents.checkpoints.checkpoint import Checkpoint, checkpoint_of
from warmstart.core.bounds import Settings, State
from warmstart.core.documents import dump_yaml
from warmstart.core.errors import WarmstartError
from warmstart.core.files import read_json, write_json
from warmstart.envs.tasks.task import Task
from warmstart.experiments.records.config import TRIALS, TrialConfig
from warmstart.experiments.records.records import CHECKPOINT, CONFIG, CURRICULUM, GAP, MAP
from warmstart.sim2real.world import TrainingWorld, training_world, with_identified
from warmstart.sim2real.world_config import around_identified

if TYPE_CHECKING:
    from warmstart.sim2real.randomization.terms import Term
    from warmstart.sim2real.reality import Reality

MAPPED = 4
"""Episodes in each cell of an arm's map."""
REALITIES = "realities"
"""Folder of a run directory that holds its sealed reality."""
IDENTIFICATION = "identification.json"
"""What an identifying trial found."""


def keep_reality(reality: "Reality", run: Path) -> None:
    """Write a sealed copy of a reality into a run directory."""
    path = _copy(run, reality.sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_yaml({**reality.to_json(), "sha256": reality.sha256}), encoding="utf-8")


def trial_reality(config: TrialConfig, directory: Path) -> "Reality | None":
    """The reality that a trial is evaluated in, from the run's copy; None for none.

    Raises:
        WarmstartError: The copy is missing or was edited.
    """
    if not config.reality:
        return None
    from warmstart.sim2real.reality import load_reality

    reality = load_reality(_copy(directory.parent.parent, str(config.reality["sha256"])))
    if reality.sha256 != config.reality["sha256"]:
        raise WarmstartError(
            f"The reality of this trial is another one than it was planned with: {reality.name}."
        )
    return reality


def _copy(run: Path, sha256: str) -> Path:
    return run / REALITIES / f"{sha256[:16]}.yaml"


def identified(config: TrialConfig, directory: Path) -> Settings:
    """What the trial's identification found; empty where it has none."""
    if not config.identification:
        return {}
    found = read_json(directory.parent.parent / TRIALS / config.identification / IDENTIFICATION)
    if found is None:
        raise WarmstartError(f"The identification of this trial is missing: trial {config.identification}.")
    return dict(found)


def training_task(config: TrialConfig, found: Settings) -> Task:
    """The task that a trial trains in: the identified one, or its own.

    Ranges around what was identified are about the nominal task: in the identified one they'd count twice.
    """
    own = not found or around_identified(config.world.get("randomize"))
    return Task.parse(config.task) if own else Task.parse(str(found["task"]))


def randomized(config: TrialConfig, directory: Path) -> State:
    """What a trial's training draws, as `read_terms` reads it, with what its identification found."""
    found = identified(config, directory)
    return dict(with_identified(config.world, found.get("recipe", {})).get("randomize", {}))


def terms_of(checkpoint: Path | None) -> "tuple[Term, ...]":
    """What a trial's agent was trained on, from its checkpoint's path; nothing for other checkpoints.

    Terms that a curriculum widened are as wide as it got.
    """
    from warmstart.sim2real.randomization.distributions import Uniform
    from warmstart.sim2real.randomization.randomization import read_terms

    if checkpoint is None or not (checkpoint.parent / CONFIG).is_file():
        return ()
    terms = read_terms(randomized(TrialConfig.read(checkpoint.parent), checkpoint.parent))[0]
    state = read_json(checkpoint.parent / CURRICULUM)
    if state is None:
        return terms
    reached = state["history"][-1]
    ends = [(float(reached[f"{name}/low"]), float(reached[f"{name}/high"])) for name in state["terms"]]
    return tuple(replace(term, distribution=Uniform(*pair)) for term, pair in zip(terms, ends, strict=True))


def trial_world(config: TrialConfig, task: Task, found: Settings) -> TrainingWorld:
    """What a trial's training draws and disturbs.

    Args:
        config: The trial.
        task: What it trains in.
        found: What an identification found; its ranges stand in for `identified`.
    """
    world = with_identified(config.world, found.get("recipe", {}))
    if found.get("imperfections"):
        world["imperfections"] = {**found["imperfections"], **world.get("imperfections", {})}
    looks = config.vision.get("randomize", {})
    return training_world(world, task, config.seed, looks)


def measure_reality(
    model: Any,
    config: TrialConfig,
    reality: "Reality",
    directory: Path,
    interactions: int,
    evaluated: int,
) -> None:
    """Measure how much of its return a final agent keeps in a reality, and write it down.

    Args:
        model: The trained agent.
        config: The trial.
        reality: The reality.
        directory: The trial's.
        interactions: Steps that training took in the reality.
        evaluated: Steps that evaluations have taken in it.
    """
    from warmstart.sim2real.gap import measure_gap
    from warmstart.sim2real.randomization.recipes import randomize_terms
    from warmstart.sim2real.robustness import Sweep, robustness_map, trained_on, usual_threshold

    checkpoint: Checkpoint = checkpoint_of(model)
    level = str(config.reality["range"])
    terms, correlations = ((), ()) if level == "none" else randomize_terms(level, reality.task)
    gap = measure_gap(
        "",
        checkpoint,
        reality,
        terms,
        correlations,
        episodes=max(16, config.evaluation_episodes),
        seed=config.evaluation_seed,
        n_threads=1,
    )
    steps = {"interactions": interactions, "evaluation_interactions": evaluated + gap.interactions}
    write_json(directory / GAP, {**gap.to_json(), **steps})
    sweeps = [Sweep.parse(text) for text in config.reality.get("map", ())]
    if sweeps:
        found = robustness_map(
            "", checkpoint, reality.task, sweeps, episodes=MAPPED, seed=config.evaluation_seed, n_threads=1
        )
        threshold = usual_threshold(gap.to_json()["nominal"])
        trained = trained_on(sweeps, terms_of(directory / CHECKPOINT), reality.task)
        plain = {**found.to_json(threshold), "sweeps": list(config.reality["map"]), "trained": trained}
        write_json(directory / MAP, plain)
