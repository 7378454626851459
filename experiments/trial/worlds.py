"""The worlds of a study's trials: the reality they are judged in, identified physics, what training draws."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.base_class import BaseAlgorithm

from warmstart.agents.algorithms.seams import EvaluationResult
from warmstart.agents.build import make_training_env
from warmstart.agents.checkpoints.checkpoint import checkpoint_of
from warmstart.agents.checkpoints.normalization import read_normalizer, write_normalizer
from warmstart.agents.checkpoints.places import LAST, TRIALS
from warmstart.agents.settings.config import AlgorithmConfig
from warmstart.core.bounds import Settings, State
from warmstart.core.documents import Document, dump_yaml
from warmstart.core.errors import WarmstartError
from warmstart.core.files import write_json, write_text
from warmstart.core.plain import placed, read
from warmstart.envs.sb3 import env_attribute
from warmstart.envs.tasks.task import Task
from warmstart.experiments.records import schema
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.records import CONFIG, CURRICULUM, GAP, MAP
from warmstart.experiments.records.schema import read_file
from warmstart.sim2real.world import TrainingWorld, training_world, with_identified, world_vision
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
    write_text(path, dump_yaml({**reality.to_json(), "sha256": reality.sha256}))


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
    run = directory.parent.parent
    place = run / TRIALS / config.identification / IDENTIFICATION
    found = read_file(place, schema.IDENTIFICATION, run)
    if found is None:
        raise WarmstartError(f"The identification of this trial is missing: trial {config.identification}.")
    return found


def training_task(config: TrialConfig, found: Settings) -> Task:
    """The task that a trial trains in: the identified one, or its own.

    Ranges around what was identified are about the nominal task: in the identified one they'd count twice.
    """
    own = not found or around_identified(config.world.get("randomize"))
    return Task.parse(config.task) if own else Task.parse(str(found["task"]))


def randomized(config: TrialConfig, directory: Path) -> State:
    """What a trial's training draws, as `read_terms` reads it, with what its identification found."""
    found = identified(config, directory)
    drawn = with_identified(config.world, found.get("recipe", {})).get("randomize", {})
    told = Document(drawn, str(directory / CONFIG))
    return told.checked(lambda: dict(read(Settings, drawn, ("world", "randomize"))))


def terms_of(checkpoint: Path | None) -> "tuple[Term, ...]":
    """What a trial's agent was trained on, from its checkpoint's path; nothing for other checkpoints.

    Terms that a curriculum widened are as wide as it got.
    """
    from warmstart.sim2real.randomization.distributions import Uniform
    from warmstart.sim2real.randomization.randomization import read_terms

    if checkpoint is None or not (checkpoint.parent / CONFIG).is_file():
        return ()
    drawn = randomized(TrialConfig.read(checkpoint.parent), checkpoint.parent)
    told = Document(drawn, str(checkpoint.parent / CONFIG))
    terms = told.checked(lambda: placed(("world", "randomize"), read_terms, drawn))[0]
    path = checkpoint.parent / CURRICULUM
    state = read_file(path, schema.CURRICULUM, path.parent.parent.parent)
    if state is None:
        return terms
    ends = [f"{name}/{end}" for name in state["terms"] for end in ("low", "high")]
    last = state["history"][-1] if state["history"] else {}
    if len(state["terms"]) != len(terms) or any(last.get(end) is None for end in ends):
        raise WarmstartError(f"{path}: expected a history of the ends of {len(terms)} terms.")
    pairs = [(float(last[f"{name}/low"]), float(last[f"{name}/high"])) for name in state["terms"]]
    reached = Document(state, str(path)).checked(
        lambda: [placed(("history",), Uniform, *pair) for pair in pairs]  # from low to high
    )
    return tuple(replace(term, distribution=drawn) for term, drawn in zip(terms, reached, strict=True))


def trial_world(config: TrialConfig, task: Task, found: Settings) -> TrainingWorld:
    """What a trial's training draws and disturbs; what was identified stands in for `identified`."""
    world = with_identified(config.world, found.get("recipe", {}))
    if found.get("imperfections"):
        world["imperfections"] = {**found["imperfections"], **world.get("imperfections", {})}
    return training_world(world, task, config.seed, config.vision.get("randomize", {}))


_COUNTED = ("_evaluated", "_diverged", "_diverged_in_evaluation")


class TrialWorld:
    """Where one trial trains and is judged, and what is counted there."""

    def __init__(self, config: TrialConfig, directory: Path) -> None:
        self.config, self.directory = config, directory
        self.identified = identified(config, directory)
        self.reality = trial_reality(config, directory)
        self.task = training_task(config, self.identified)
        self.training = trial_world(config, self.task, self.identified)
        self.vision = world_vision(config.world, drawn=bool(self.training.terms))
        self.reality_steps = int(config.world.get("reality_steps", 0))
        self._evaluated, self._diverged, self._diverged_in_evaluation = 0, 0, 0
        self.in_reality = False

    @property
    def played(self) -> "Task | Reality":
        """Where the agent is evaluated."""
        return Task.parse(self.config.task) if self.reality is None else self.reality

    def state_dict(self) -> State:
        """How often a simulation diverged so far.

        Raises:
            WarmstartError: The agent is in the reality by now.
        """
        if self.in_reality:
            raise WarmstartError("a reality can't be put back into a state in which it was.")
        return {name: getattr(self, name) for name in _COUNTED}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned."""
        for name in _COUNTED:
            setattr(self, name, state[name])

    def count(self, result: EvaluationResult) -> None:
        """Count an evaluation's steps, and its simulations that diverged."""
        self._evaluated += int(sum(result.lengths))
        self._diverged_in_evaluation += result.diverged

    def enter_reality(self, model: BaseAlgorithm, algorithm: AlgorithmConfig) -> None:
        """Let an agent go on in the reality, with the statistics that it has."""
        assert self.reality is not None
        self.in_reality = True
        old: Any = model.get_env()
        vision = env_attribute(old, "vision")
        config = self.config
        kept = {"vision": vision, "reward": config.reward or "task"}
        env = make_training_env(algorithm, self.reality, config.seed, n_threads=1, **kept)
        self._diverged += int(env_attribute(old, "n_diverged") or 0)
        statistics = read_normalizer(old)
        if statistics is not None:
            write_normalizer(env, statistics)
        model.set_env(env)
        own: Any = model
        gone = self.training.feedback  # a curriculum knows nothing of episodes that it didn't begin
        own.seams = replace(own.seams, feedback=tuple(x for x in own.seams.feedback if x not in gone))
        old.close()

    def divergence(self, model: BaseAlgorithm) -> Sequence[str]:
        """What the report says of simulations that diverged."""
        self._diverged += int(env_attribute(model.get_env(), "n_diverged") or 0)
        told = (
            (self._diverged, "training and were begun anew"),
            (self._diverged_in_evaluation, "evaluations, which ended their episodes"),
        )
        return [f"{number:,} simulations diverged in {where}." for number, where in told if number]

    def judge(self, model: BaseAlgorithm) -> Sequence[str]:
        """Measure how much of its return a final agent keeps in the reality, and write it down."""
        if self.reality is None:
            return ()
        from warmstart.sim2real.gap import measure_gap
        from warmstart.sim2real.randomization.recipes import randomize_terms
        from warmstart.sim2real.robustness import Sweep, robustness_map, trained_on, usual_threshold

        config, task = self.config, self.reality.task
        checkpoint, seed = checkpoint_of(model), config.evaluation_seed
        level, episodes = str(config.reality["range"]), max(16, config.evaluation_episodes)
        drawn = ((), ()) if level == "none" else randomize_terms(level, task)
        gap = measure_gap("", checkpoint, self.reality, *drawn, episodes=episodes, seed=seed, n_threads=1)
        taken = int(env_attribute(model.get_env(), "interactions") or 0)
        steps = {
            "interactions": taken + int(self.identified.get("interactions", 0)),
            "evaluation_interactions": self._evaluated + gap.interactions,
        }
        write_json(self.directory / GAP, {**gap.to_json(), **steps})
        written = list(config.reality.get("map", ()))
        if written:
            sweeps = [Sweep.parse(text) for text in written]
            found = robustness_map("", checkpoint, task, sweeps, episodes=MAPPED, seed=seed, n_threads=1)
            trained = trained_on(sweeps, terms_of(self.directory / LAST), task)
            plain = found.to_json(usual_threshold(gap.to_json()["nominal"]))
            write_json(self.directory / MAP, {**plain, "sweeps": written, "trained": trained})
        return ()
