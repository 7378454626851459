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
from warmstart.envs.layouts import Layout
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
from warmstart.transfer.carrying import CarryingMethod
from warmstart.transfer.fine_tuning import fit_within
from warmstart.transfer.matching import Kind, match, named
from warmstart.transfer.methods import TransferMethod, make_method
from warmstart.transfer.spaces import flat_size
from warmstart.transfer.warm_start import read_source

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
    normalizer: Path | None = None
    """The trusted `VecNormalize` file that goes with it."""
    normalizer_hash: str = ""
    """sha256 of that file."""

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
    normalizer, normalizer_hash = _given_normalizer(study)
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
                source_task=(study.source_task or "") if warm else "",
                source_normalizer=normalizer_hash if warm else "",
            )
            targets.append(PlannedTrial(config, arm.name, source.hash if source else None, method.trains))
    needed = {trial.needs for trial in targets}
    sources = [trial for trial in trials.values() if trial.hash in needed]
    planned = (PlannedTrial(chance, RANDOM_ARM, trains=False), *sources, *targets)
    return Plan(study, planned, checkpoint, identity, normalizer, normalizer_hash)


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
        method = _method(arm.method, arm.options, ("arms", index), target_config, study.target_steps)
        if method.needs_source and study.source is None:
            raise StudyError(("source",), f"missing: {arm.name} starts from a source task or a checkpoint.")
        arms.append({"name": arm.name, **to_plain(method.to_json())})
    source_task, normalizer = study.source_task, study.source_normalizer
    if source_task is not None:
        known = source_task
        source_task = str(_checked(("source_task",), lambda: Task.parse(known)))
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
        source_task=source_task,
        source_normalizer=None if normalizer is None else str(Path(normalizer).expanduser().resolve()),
    )
    return explicit, target_config, source_config


@dataclass(frozen=True)
class _Side:
    """What is known of the agents on one side of a warm start before any of them is built."""

    text: str
    algorithm: str
    activation: str
    standardises: bool
    spaces: tuple[Any, Any]
    layouts: tuple[Layout | None, Layout | None]


def check_buildable(plan: Plan) -> None:
    """Build each environment once; see that the algorithm fits its actions and that warm starts can be made.

    Raises:
        StudyError: An unknown environment, option or physical parameter, an algorithm that can't act there, a
            name in a map that neither side has, or a source whose algorithm, dimensions or normaliser don't
            go with the target's.
    """
    study, target_config, source_config = resolve(plan.study)
    target = _built_side(study.target, ("target",), target_config)
    if study.source is None:
        return
    if plan.checkpoint is None:
        source = _built_side(study.source, ("source",), source_config)
    else:
        source = _given_side(plan.checkpoint, study, plan.normalizer)
    warm = [make_method(arm.method, **arm.options) for arm in study.arm_list]
    carrying = [method for method in warm if isinstance(method, CarryingMethod)]
    if carrying:
        _check_pair(study, source, target, any(method.missing_normalizer == "error" for method in carrying))


def _check_pair(study: Study, source: _Side, target: _Side, needs_normalizer: bool) -> None:
    """See that the source's policy can be carried into the target."""
    if source.algorithm != target.algorithm:
        raise StudyError(
            ("algorithm",),
            f"the source was trained by {source.algorithm}, and the target is {target.algorithm}: their "
            f"networks mean different things. Use {source.algorithm}.",
        )
    given = (study.source_observation_names, study.source_action_names)
    kinds: tuple[Kind, Kind] = ("observation", "action")
    for index, kind in enumerate(kinds):
        names, mapping = given[index], getattr(study, f"{kind}_map")
        theirs = named(names, kind) if names is not None else source.layouts[index]
        sizes = (flat_size(source.spaces[index]), flat_size(target.spaces[index]))
        place: Place = (f"source_{kind}_names",) if names is not None else ("source",)
        if names is None and study.source_task is not None:
            place = ("source_task",)
        for ours, its in mapping.items():
            sides = ((ours, study.target, target.layouts[index]), (its, source.text, theirs))
            for name, where, layout in sides:
                if name is not None and layout is not None and name not in layout.names:
                    wrong = unknown_name(f"dimension of {where}", name, layout.names)
                    raise StudyError((f"{kind}_map", ours), str(wrong))
        matching = _checked(
            (f"{kind}_map",) if mapping else place,
            lambda: match(theirs, target.layouts[index], sizes, mapping, kind),  # noqa: B023 (called here)
        )
        if kind == "action" and not matching.matched and names is not None:
            raise StudyError(
                place, f"none of {', '.join(names)} is an action of {study.target}: give an action_map."
            )
    if type(source.spaces[1]) is not type(target.spaces[1]):
        raise StudyError(("source",), f"its actions are {source.spaces[1]}, the target's {target.spaces[1]}.")
    if source.activation != target.activation:
        raise StudyError(
            ("algorithm",),
            f"the source's networks use {source.activation}, the target's {target.activation}: set "
            f"`activation: {source.activation}` under `algorithm`.",
        )
    if not isinstance(source.spaces[0], Box):
        return
    if target.standardises and not source.standardises:
        raise StudyError(
            ("algorithm",),
            "the target standardises its observations (normalize_obs), but the source has no statistics of "
            "its own. If it was trained with VecNormalize, give that file as source_normalizer; else set "
            "`normalize_obs: false` under `algorithm`.",
        )
    if source.standardises and not target.standardises and needs_normalizer:
        raise StudyError(
            ("algorithm",),
            "the source was trained on standardised observations, but the target's are as they are: set "
            "`normalize_obs: true` under `algorithm`, or the arm's option `missing_normalizer: fold`.",
        )


def _built_side(text: str, place: Place, config: AlgorithmConfig) -> _Side:
    """Build an environment of a task, to see what it is."""
    env: Any = _checked(place, lambda: make_vec(text, 1, seed=0, n_threads=1))
    try:
        spaces = (env.single_observation_space, env.single_action_space)
        if config.algorithm != "ppo" and not isinstance(spaces[1], Box):
            raise StudyError(
                ("algorithm",),
                f"{config.algorithm} acts in continuous spaces, but {text} has {spaces[1]}; use ppo.",
            )
        layouts = (env.observation_layout, env.action_layout)
        return _Side(text, config.algorithm, config.activation, config.normalize_obs, spaces, layouts)
    finally:
        env.close()


def _given_side(path: Path, study: Study, normalizer: Path | None) -> _Side:
    """Read a given checkpoint; its names may come from a task."""
    _checked(("source_normalizer",), lambda: load_checkpoint(path, trust_normalizer=normalizer))
    place = ("source",) if study.source_task is None else ("source_task",)
    found = _checked(
        place, lambda: read_source(path, source_task=study.source_task, trust_normalizer=normalizer)
    )
    assert found is not None
    usual = "tanh" if found.algorithm == "ppo" else "relu"
    return _Side(
        str(path),
        found.algorithm,
        str(found.policy_kwargs.get("activation", usual)),
        found.normalizer is not None and found.normalizer.normalize_obs,
        (found.observation_space, found.action_space),
        (found.observation_layout, found.action_layout),
    )


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


def _method(
    name: str, options: Mapping[str, Any], place: Place, config: AlgorithmConfig, steps: int
) -> TransferMethod:
    kind = type(_checked((*place, "method"), lambda: make_method(name)))
    valid = [item.name for item in fields(kind)]
    for option in options:
        if option not in valid:
            raise StudyError((*place, option), str(unknown_name(f"option of {name}", option, valid)))
    try:
        method = make_method(name, **options)
        method.check_algorithm(config.algorithm)
        fit_within(method, steps, config)
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


def _given_normalizer(study: Study) -> tuple[Path | None, str]:
    """Path and sha256 of the trusted `VecNormalize` file, if there is one."""
    if study.source_normalizer is None:
        return None, ""
    path = Path(study.source_normalizer)
    try:
        return path, hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        message = f"expected a file that VecNormalize.save wrote; {path} can't be read: {error.strerror}."
        raise StudyError(("source_normalizer",), message) from None


def content_hash(path: Path) -> str:
    """First 16 hex digits of the sha256 of a file, or of a folder's files by name."""
    digest = hashlib.sha256()
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
