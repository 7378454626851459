"""What a study comes to: its trials in order, what each needs, and what can be known to be wrong beforehand.

Nothing is written or trained here.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from gymnasium.spaces import Box

from warmstart.agents.checkpoints import load_checkpoint
from warmstart.agents.config import ALGORITHMS, AlgorithmConfig, config_class
from warmstart.agents.defaults import default_config
from warmstart.envs.errors import WarmstartError, unknown_name
from warmstart.envs.tasks import Task
from warmstart.envs.vector import make_vec
from warmstart.experiments.plugins import Plugin
from warmstart.experiments.settings import override, setting_names, to_plain
from warmstart.experiments.study import Study, StudyError
from warmstart.experiments.trial_config import (
    RANDOM_ARM,
    SOURCE_ARM,
    PlannedTrial,
    TrialConfig,
    engine_versions,
)
from warmstart.experiments.yaml_files import Place
from warmstart.transfer.methods import TransferMethod, make_method

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """The trials of a study."""

    study: Study
    """The study with every setting written out."""
    trials: tuple[PlannedTrial, ...]
    """In the order in which they should start."""
    checkpoint: Path | None = None
    """The given checkpoint that every warm start begins from; None where source agents are trained."""
    checkpoint_hash: str = ""
    """Hash of its content."""

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
    """Resolve a study into its trials.

    Args:
        study: The study.
        plugins: Loaded plugins, for the record.

    Raises:
        StudyError: An unknown task, algorithm, setting, method or option, or a source that can't be read.
    """
    study, target_config, source_config = resolve(study)
    checkpoint, identity = _given_checkpoint(study)
    protocol = study.protocol
    chance = TrialConfig(
        kind="random",
        task=study.target,
        evaluation_episodes=protocol.episodes,
        evaluation_seed=protocol.seed,
        versions=engine_versions(),
        plugins={plugin.name: plugin.sha256 for plugin in plugins},
    )
    shared = replace(chance, device=study.device, torch_threads=study.torch_threads)
    scratch = to_plain(make_method("scratch").to_json())
    trials: dict[int, PlannedTrial] = {}
    if checkpoint is None and study.source is not None:
        for seed in study.seed_list:
            config = replace(
                shared,
                kind="source",
                task=study.source,
                seed=seed,
                steps=study.source_steps,
                algorithm=source_config.to_json(),
                method=scratch,
                evaluation_every=protocol.source_every,
            )
            trials[seed] = PlannedTrial(config, SOURCE_ARM)
    methods = {arm.name: make_method(arm.method, **arm.options) for arm in study.arm_list}
    targets = []
    for seed in study.seed_list:
        for arm in study.arm_list:
            method = methods[arm.name]
            warm = method.needs_source
            source = trials.get(seed) if warm else None
            config = replace(
                shared,
                kind="target",
                seed=seed,
                steps=study.target_steps,
                algorithm=target_config.to_json(),
                method=to_plain(method.to_json()),
                source=(source.hash if source else identity) if warm else "",
                evaluation_every=protocol.every,
                observation_map=dict(study.observation_map) if warm else {},
                action_map=dict(study.action_map) if warm else {},
                source_observation_names=_names(study.source_observation_names) if warm else None,
                source_action_names=_names(study.source_action_names) if warm else None,
            )
            targets.append(PlannedTrial(config, arm.name, source.hash if source else None, method.trains))
    needed = {trial.needs for trial in targets}
    sources = [trial for trial in trials.values() if trial.hash in needed]
    return Plan(
        study, (PlannedTrial(chance, RANDOM_ARM, trains=False), *sources, *targets), checkpoint, identity
    )


def resolve(study: Study) -> tuple[Study, AlgorithmConfig, AlgorithmConfig]:
    """Write out what a study leaves to defaults, and check every name in it.

    Returns:
        The study with all settings explicit, and the configurations of target and source agents.

    Raises:
        StudyError: An unknown task, algorithm, setting, method or option.
    """
    target = _checked(("target",), lambda: Task.parse(study.target))
    target_config = _algorithm(study.algorithm, target, ("algorithm",), {})
    source_text: str | None = None
    if study.source is None:
        source_config = target_config
    elif study.source_checkpoint is None:
        text = study.source
        source = _checked(("source",), lambda: Task.parse(text))
        written = study.source_algorithm if study.source_algorithm is not None else study.algorithm
        own = "algorithm" if study.source_algorithm is None else "source_algorithm"
        same_networks = {
            key: getattr(target_config, key) for key in ("net_arch", "critic_net_arch", "activation")
        }
        source_config = _algorithm(written, source, (own,), same_networks)
        source_text = str(source)
    else:
        source_config, source_text = target_config, str(study.source_checkpoint.resolve())
    arms = []
    for index, arm in enumerate(study.arm_list):
        method = _method(arm.method, arm.options, ("arms", index), target_config.algorithm)
        if method.needs_source and study.source is None:
            raise StudyError(("source",), f"missing: {arm.name} starts from a source task or a checkpoint.")
        arms.append({"name": arm.name, **to_plain(method.to_json())})
    trains_sources = study.source is not None and study.source_checkpoint is None
    explicit = replace(
        study,
        source=source_text,
        target=str(target),
        algorithm=_written(target_config),
        source_algorithm=_written(source_config) if trains_sources else None,
        arms=tuple(arms),
        seeds=study.seed_list,
        evaluation=study.protocol,
    )
    return explicit, target_config, source_config


def check_buildable(plan: Plan) -> None:
    """Build each environment once; see that the algorithm fits its actions and that mapped names exist.

    Raises:
        StudyError: An unknown environment, option or physical parameter, an algorithm that can't act there,
            or a name in a map that neither task has.
    """
    study = plan.study
    target_names = _check_task(study.target, ("target",), study.algorithm)
    if study.source is None:
        return
    if plan.checkpoint is None:
        source_names = _check_task(study.source, ("source",), study.source_algorithm or study.algorithm)
    else:
        found = load_checkpoint(plan.checkpoint)
        layouts = (found.observation_layout, found.action_layout)
        source_names = tuple(layout.names if layout is not None else () for layout in layouts)  # type: ignore[assignment]
    given = (study.source_observation_names, study.source_action_names)
    for index, key in enumerate(("observation_map", "action_map")):
        sources = tuple(given[index] or source_names[index])
        for target, source in getattr(study, key).items():
            if target not in target_names[index]:
                wrong = unknown_name(f"dimension of {study.target}", target, target_names[index])
                raise StudyError((key, target), str(wrong))
            if source is not None and source not in sources:
                wrong = unknown_name(f"dimension of {study.source}", source, sources)
                raise StudyError((key, target), str(wrong))


def _check_task(
    text: str, place: Place, algorithm: str | Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Build an environment of a task; names of its observation and action dimensions."""
    name = algorithm if isinstance(algorithm, str) else str(algorithm["name"])
    env: Any = _checked(place, lambda: make_vec(text, 1, seed=0, n_threads=1))
    try:
        if name != "ppo" and not isinstance(env.single_action_space, Box):
            raise StudyError(
                ("algorithm",),
                f"{name} acts in continuous spaces, but {text} has {env.single_action_space}; use ppo.",
            )
        return tuple(env.observation_layout.names), tuple(env.action_layout.names)
    finally:
        env.close()


def _algorithm(
    written: str | Mapping[str, Any], task: Task, place: Place, unless_written: Mapping[str, Any]
) -> AlgorithmConfig:
    name = written if isinstance(written, str) else str(written["name"])
    settings = {} if isinstance(written, str) else {k: v for k, v in written.items() if k != "name"}
    name_place = place if isinstance(written, str) else (*place, "name")
    kind = _checked(name_place, lambda: config_class(name))
    base = default_config(kind.algorithm, task)
    known = setting_names(kind)
    shared = {key: value for key, value in unless_written.items() if key in known and key not in settings}
    return override(base, {**shared, **settings}, lambda key, text: StudyError((*place, key), text))


def _method(name: str, options: Mapping[str, Any], place: Place, algorithm: str) -> TransferMethod:
    kind = type(_checked((*place, "method"), lambda: make_method(name)))
    valid = [item.name for item in fields(kind)]
    for option in options:
        if option not in valid:
            raise StudyError((*place, option), str(unknown_name(f"option of {name}", option, valid)))
    try:
        method = make_method(name, **options)
        method.check_algorithm(algorithm)
    except (WarmstartError, TypeError) as error:
        raise StudyError(place, str(error)) from None
    return method


def _checked(place: Place, make: Callable[[], T]) -> T:
    try:
        return make()
    except StudyError:
        raise
    except WarmstartError as error:
        raise StudyError(place, str(error)) from None


def _written(config: AlgorithmConfig) -> dict[str, Any]:
    settings = config.to_json()
    return {"name": settings.pop("algorithm"), **settings}


def _names(names: Any) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _given_checkpoint(study: Study) -> tuple[Path | None, str]:
    """Path and content hash of the checkpoint that the study starts from, if it does."""
    path = study.source_checkpoint
    if path is None:
        return None, ""
    loaded = _checked(("source",), lambda: load_checkpoint(path))
    if loaded.algorithm not in ALGORITHMS:
        raise StudyError(("source",), f"{path} holds an agent of {loaded.algorithm}, which isn't supported.")
    return path, content_hash(path)


def content_hash(path: Path) -> str:
    """First 16 hex digits of the sha256 of a file, or of a folder's files by name."""
    digest = hashlib.sha256()
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
