"""What a study comes to: its trials in order, and what each needs.

Nothing is written or trained here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from warmstart.agents.hub.fetching import pinned
from warmstart.agents.hub.reference import is_reference
from warmstart.agents.rewards.table import recorded_reward
from warmstart.agents.settings.config import AlgorithmConfig
from warmstart.agents.settings.defaults import untuned
from warmstart.core.bounds import SettingError, Settings
from warmstart.core.plain import placed, to_plain
from warmstart.core.plugins import Plugin
from warmstart.envs.frames.options import sees_pixels, state_task
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.experiments.records.config import (
    ENCODER_ARM,
    IDENTIFY_ARM,
    RANDOM_ARM,
    SOURCE_ARM,
    PlannedTrial,
    TrialConfig,
    engine_versions,
)
from warmstart.experiments.study.arms import ResolvedArm, resolve_algorithms, resolve_arm
from warmstart.experiments.study.encoders import (
    encoder_trial,
    licence_notes,
    planned_vision,
    weights_missing,
)
from warmstart.experiments.study.given import given_source
from warmstart.experiments.study.study import Study
from warmstart.sim2real.randomization.recipes import randomize_terms
from warmstart.sim2real.reality import Reality, load_reality, reality_names
from warmstart.sim2real.robustness import Sweep
from warmstart.sim2real.world import resolved
from warmstart.transfer.replaying.datasets import REPLAY_DATA
from warmstart.transfer.table import make_method


@dataclass(frozen=True)
class Plan:
    """The trials of a study."""

    study: Study
    """The study with every setting written out."""
    trials: tuple[PlannedTrial, ...]
    """In the order in which they should start."""
    arms: tuple[ResolvedArm, ...] = ()
    """The arms with nothing left to defaults."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """What the run keeps copies of, by where in its directory: a given checkpoint, weights of encoders."""
    reality: Reality | None = None
    """What arms are evaluated in; the run keeps a sealed copy."""
    notes: tuple[str, ...] = ()
    """Why optional arms are left out, and what forbids commercial use."""

    @property
    def unique(self) -> tuple[PlannedTrial, ...]:
        """Each trial once: arms that come to the same share it."""
        return tuple({trial.hash: trial for trial in self.trials}.values())

    @property
    def steps(self) -> int:
        """Training steps of all trials, each counted once."""
        return sum(trial.steps for trial in self.unique)

    @property
    def evaluations(self) -> int:
        """Evaluation episodes of all trials."""
        return sum(trial.evaluations * trial.config.evaluation_episodes for trial in self.unique)


def make_plan(study: Study, plugins: tuple[Plugin, ...] = ()) -> Plan:
    """Resolve a study into its trials; loaded plugins are recorded in them.

    Raises:
        SettingError: An unknown task, algorithm, setting, method or option, or a source that can't be read.
    """
    study, arms, notes = resolve(study)
    reality = _given_reality(study)
    files: dict[str, Path] = {}
    given = given_source(study, files)
    visions = {arm.name: planned_vision(arm, files) for arm in arms}
    worlds = {arm.name: placed(("arms", i), resolved, arm.world, arm.target) for i, arm in enumerate(arms)}
    judged: Settings = {}
    if reality is not None:
        judged = {"name": reality.name, "sha256": reality.sha256, "range": study.judge_range}
    protocol = study.protocol
    chance = TrialConfig(
        kind="random",
        task=str(state_task(Task.parse(study.target))),
        evaluation_episodes=protocol.episodes,
        evaluation_seed=protocol.seed,
        reality=judged,
        versions=engine_versions(),
        plugins={plugin.name: plugin.sha256 for plugin in plugins},
    )
    before: list[PlannedTrial] = []
    targets: list[PlannedTrial] = []
    replays = any(getattr(arm.method, "data", None) == REPLAY_DATA for arm in arms)
    for seed, arm in product(study.seed_list, arms):
        warm = arm.method.needs_source
        shared = replace(chance, seed=seed, device=study.device, torch_threads=study.torch_threads)
        plain = replace(shared, reality={})
        encoder = encoder_trial(arm, plain, visions[arm.name])
        trained = replace(plain, vision=visions[arm.name], encoder=encoder.hash if encoder else "")
        identification = _identify_trial(arm, shared)
        source = None
        if warm and arm.source is not None:
            frames = sees_pixels(arm.source)
            config = replace(
                trained if frames else plain,
                kind="source",
                task=str(arm.source),
                steps=study.source_steps,
                algorithm=arm.source_algorithm.to_json(),
                reward=recorded_reward(arm.source_reward),
                method=make_method("scratch").to_json(),
                evaluation_every=protocol.source_every,
                replay=replays,
            )
            source = PlannedTrial(config, SOURCE_ARM, encoder.hash if encoder else None)
        before += [trial for trial in (encoder, identification, source) if trial is not None]
        mapped = {"map": list(study.map)} if study.map and seed == study.seed_list[0] else {}
        config = replace(
            trained,
            kind="target",
            task=str(arm.target),
            steps=study.target_steps,
            algorithm=arm.algorithm.to_json(),
            method=arm.method.to_json(),
            world=worlds[arm.name],
            reward=recorded_reward(arm.reward),
            reality={**judged, **mapped},
            identification=identification.hash if identification else "",
            replay=study.keep_replay,
            evaluation_every=protocol.every,
            stopping={
                key: value
                for key, value in (("stop_at", protocol.stop_at), ("patience", protocol.patience or None))
                if value is not None
            },
            **(given if warm else {}),
        )
        if source is not None:
            config = replace(config, source=source.hash)
        needs = source or identification or encoder
        targets.append(PlannedTrial(config, arm.name, needs.hash if needs else None, arm.method.trains))
    order = {ENCODER_ARM: 0, IDENTIFY_ARM: 0, SOURCE_ARM: 1}
    once = sorted({trial.hash: trial for trial in before}.values(), key=lambda trial: order[trial.arm])
    planned = (PlannedTrial(chance, RANDOM_ARM, trains=False), *once, *targets)
    return Plan(study, planned, arms, files, reality, (*notes, *licence_notes(arms)))


def _given_reality(study: Study) -> Reality | None:
    """The reality that a study is judged in, whose believed task is the study's target."""
    if study.reality is None:
        for key, idle in (("map", not study.map), ("judge_range", study.judge_range == "medium")):
            if not idle:
                raise SettingError((key,), "is for studies with a reality: name one under `reality`.")
        return None
    reality = placed(("reality",), load_reality, study.reality)
    if str(reality.task) != str(Task.parse(study.target)):
        raise SettingError(
            ("reality",), f"{reality.name} stands for {reality.task}, and the target is {study.target}."
        )
    if len(study.map) > 2:
        raise SettingError(("map",), f"expected one or two sweeps, found {len(study.map)}.")
    for index, text in enumerate(study.map):
        sweep = placed(("map", index), Sweep.parse, text)
        task = reality.task.with_context(sweep.changes()[0])
        placed(("map", index), make_vec, task, 1, n_threads=1).close()
    if study.judge_range != "none":
        placed(("judge_range",), randomize_terms, study.judge_range, reality.task)
    return reality


def _identify_trial(arm: ResolvedArm, shared: TrialConfig) -> PlannedTrial | None:
    """The trial that identifies an arm's physics in the reality, if there is one to do."""
    if not arm.world.identify:
        return None
    world = {"identify": to_plain(arm.world.identify)}
    config = replace(
        shared, kind="identify", task=str(arm.target), world=world, evaluation_episodes=0, evaluation_seed=0
    )
    return PlannedTrial(config, IDENTIFY_ARM, trains=False)


def resolve(study: Study) -> tuple[Study, tuple[ResolvedArm, ...], tuple[str, ...]]:
    """Write out what a study leaves to defaults, and check every name in it.

    Returns:
        The study with all settings explicit, its arms, and notes: why optional ones are left out, and what
        has no tuned values.

    Raises:
        SettingError: An unknown task, algorithm, setting, method or option.
    """
    target = placed(("target",), Task.parse, study.target)
    if study.source is not None:
        study = replace(study, source=placed(("source",), pinned, study.source))
    given = study.source_checkpoint
    source = None
    if study.source is not None and given is None:
        source = placed(("source",), Task.parse, study.source)
    if source is None and study.source_reward != "task":
        message = "is what a study's own source agents train on: name their task as `source`."
        raise SettingError(("source_reward",), message)
    arms: list[ResolvedArm] = []
    left_out: list[str] = []
    for index, written in enumerate(study.arm_list):
        place = ("arms", index)
        arm = resolve_arm(study, written, place, target, source)
        missing = weights_missing(arm, place)
        if missing:
            left_out.append(f"The arm {arm.name} is left out: {missing}")
            continue
        if arm.method.needs_source and study.source is None:
            raise SettingError(("source",), f"missing: {arm.name} starts from a source task or a checkpoint.")
        if arm.vision is not None and arm.vision.pretrain and arm.source is None:
            raise SettingError(("source",), f"missing: {arm.name} pretrains its encoder on frames of a task.")
        arms.append(arm)
    if study.baseline not in [arm.name for arm in arms]:
        raise SettingError(("baseline",), f"{study.baseline!r} is among the arms that are left out here.")
    config, source_config = resolve_algorithms(study, target, source, {}, ())
    source_task, normalizer = study.source_task, study.source_normalizer
    if source_task is not None:
        source_task = str(placed(("source_task",), Task.parse, source_task))
    source_text = str(source) if source is not None else study.source
    if given is not None and not is_reference(source_text or ""):
        source_text = str(given.resolve())
    explicit = replace(
        study,
        source=source_text,
        target=str(target),
        algorithm=_written(config),
        source_algorithm=None if source is None else _written(source_config),
        source_reward=recorded_reward(study.source_reward, ("source_reward",)) or "task",
        arms=tuple(arm.explicit(config) for arm in arms),
        vision=None,
        seeds=study.seed_list,
        evaluation=study.protocol,
        source_task=source_task,
        source_normalizer=None if normalizer is None else str(Path(normalizer).expanduser().resolve()),
        reality=_located(study.reality),
    )
    return explicit, tuple(arms), (*left_out, *_untuned(study, target, source))


def _untuned(study: Study, target: Task, source: Task | None) -> tuple[str, ...]:
    """What trains with values that nobody tuned for it, where the study leaves them to defaults."""
    found = []
    for written, task in ((study.algorithm, target), (study.source_algorithm or study.algorithm, source)):
        settings = {} if isinstance(written, str) else written
        name = written if isinstance(written, str) else written["name"]
        if task is not None and "learning_rate" not in settings:
            found.append(untuned(name, task))
    return tuple(dict.fromkeys(text for text in found if text))


def _located(reality: str | None) -> str | None:
    """A reality's name, or the whole path of its file."""
    if reality is None or reality in reality_names() or not Path(reality).expanduser().is_file():
        return reality
    return str(Path(reality).expanduser().resolve())


def _written(config: AlgorithmConfig) -> dict[str, object]:
    settings = config.written()
    return {"name": settings.pop("algorithm"), **settings}
