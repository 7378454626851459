"""What an arm of a study comes to: its method, tasks, algorithm and how it sees, all written out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from warmstart.agents.settings.config import AlgorithmConfig, config_class
from warmstart.agents.settings.defaults import default_config
from warmstart.agents.settings.vision import VisionConfig
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import Place, replaced, setting_names, to_plain
from warmstart.envs.frames.options import sees_pixels, state_task
from warmstart.envs.tasks.task import Task
from warmstart.experiments.study.study import ARM_KEYS, WORLD_KEYS, Arm, Study, StudyError, checked
from warmstart.sim2real.world import WorldConfig
from warmstart.transfer.methods.fine_tuning import fit_within
from warmstart.transfer.methods.table import TransferMethod, make_method


@dataclass(frozen=True)
class ResolvedArm:
    """One arm with nothing left to defaults."""

    name: str
    method: TransferMethod
    target: Task
    """The study's target, or the same task observed by its state."""
    source: Task | None
    """The task that its source agents train in; None where there is none, or a checkpoint is given."""
    algorithm: AlgorithmConfig
    """Of its target agents."""
    source_algorithm: AlgorithmConfig
    """Of its source agents."""
    vision: VisionConfig | None
    """How its agents see; None where they observe states."""
    sees_less: bool = False
    """Whether it observes states although the study's tasks show frames."""
    optional: bool = False
    """Whether it is left out where its encoder's weights are missing."""
    world: WorldConfig = field(default_factory=WorldConfig)
    """How the simulation that it trains in differs from its task."""

    def to_mapping(self) -> dict[str, Any]:
        """The arm as a study's YAML holds it."""
        own: dict[str, Any] = {}
        if self.vision is not None:
            own["vision"] = to_plain(self.vision)
        off = WorldConfig()
        own |= {
            key: to_plain(getattr(self.world, key))
            for key in WORLD_KEYS
            if getattr(self.world, key) != getattr(off, key)
        }
        return {"name": self.name, **own, **to_plain(self.method.to_json())}


def resolve_arm(study: Study, arm: Arm, place: Place, target: Task, source: Task | None) -> ResolvedArm:
    """Resolve one arm.

    Args:
        study: The study.
        arm: The arm as written.
        place: Where it stands, for errors.
        target: The study's target.
        source: The study's source task, if it names one.

    Raises:
        StudyError: An unknown algorithm, setting, method or option, or a way of seeing that doesn't fit.
    """
    if arm.obs == "state" and not sees_pixels(target):
        raise StudyError((*place, "obs"), f"{target} is observed by its state anyway; leave `obs` out.")
    seen = target if arm.obs is None else state_task(target)
    seen_source = source if arm.obs is None or source is None else state_task(source)
    written = arm.vision if arm.vision is not None else study.vision
    vision = None
    if sees_pixels(seen):
        vision = _vision(written, (*place, "vision") if arm.vision is not None else ("vision",))
    elif written is not None and (arm.vision is not None or not sees_pixels(target)):
        where = (*place, "vision") if arm.vision is not None else ("vision",)
        raise StudyError(where, f"{seen} shows no frames; add the option obs=pixels to the tasks.")
    algorithm = resolve_algorithm(study.algorithm, seen, ("algorithm",), {}, arm.algorithm, place)
    own = study.source_algorithm if study.source_algorithm is not None else study.algorithm
    own_place = "algorithm" if study.source_algorithm is None else "source_algorithm"
    same_networks = {key: getattr(algorithm, key) for key in ("net_arch", "critic_net_arch", "activation")}
    trained = seen_source if seen_source is not None else seen
    source_algorithm = resolve_algorithm(own, trained, (own_place,), same_networks, arm.algorithm, place)
    method = resolve_method(arm.method, arm.options, place, algorithm, study.target_steps)
    return ResolvedArm(
        arm.name,
        method,
        seen,
        seen_source,
        algorithm,
        source_algorithm,
        vision,
        arm.obs is not None,
        arm.optional,
        _world(study, arm, place, seen),
    )


def _world(study: Study, arm: Arm, place: Place, seen: Task) -> WorldConfig:
    """The simulation that an arm trains in."""
    world = checked(place, lambda: replaced(WorldConfig(), arm.world))
    if world.needs_reality and study.reality is None:
        key = "identify" if world.identify else "reality_steps"
        raise StudyError((*place, key), "is done in a reality: name one under `reality`.")
    for key in ("privileged", "history"):
        if getattr(world, key) and sees_pixels(seen):
            raise StudyError((*place, key), "is about agents that observe states, and this one sees frames.")
        if getattr(world, key) and arm.method != "scratch":
            raise StudyError((*place, key), f"is for agents from scratch; {arm.method} carries one over.")
    if world.reality_steps > study.target_steps:
        raise StudyError(
            (*place, "reality_steps"),
            f"expected at most the target's {study.target_steps:,} steps, found {world.reality_steps:,}.",
        )
    return world


def _vision(written: str | Mapping[str, Any] | None, place: Place) -> VisionConfig:
    default = VisionConfig(encoder="nature_cnn", train="fine_tuned")
    if written is None:
        return default
    if isinstance(written, str):
        return checked(place, lambda: VisionConfig(encoder=written))
    if not isinstance(written.get("encoder"), str):
        raise StudyError(place, "expected the encoder's text under the key `encoder`.")
    return checked(place, lambda: replaced(VisionConfig(), written))


def resolve_algorithm(
    written: str | Mapping[str, Any],
    task: Task,
    place: Place,
    unless_written: Mapping[str, Any],
    of_arm: Mapping[str, Any],
    arm_place: Place,
) -> AlgorithmConfig:
    """Resolve an algorithm's settings: the task's defaults, then the study's, then the arm's.

    Args:
        written: The study's algorithm: a name, or a mapping with settings.
        task: The task it trains in.
        place: Where it stands, for errors.
        unless_written: Settings that hold where the study says nothing.
        of_arm: The arm's own settings.
        arm_place: Where the arm stands.

    Raises:
        StudyError: An unknown algorithm or setting.
    """
    name = written if isinstance(written, str) else str(written["name"])
    settings = {} if isinstance(written, str) else {k: v for k, v in written.items() if k != "name"}
    name_place = place if isinstance(written, str) else (*place, "name")
    kind = checked(name_place, lambda: config_class(name))
    base = default_config(kind.algorithm, task)
    known = setting_names(kind)
    shared = {key: value for key, value in unless_written.items() if key in known and key not in settings}
    config = checked(place, lambda: replaced(base, {**shared, **settings}))
    return checked((*arm_place, "algorithm"), lambda: replaced(config, of_arm))


def resolve_method(
    name: str, options: Mapping[str, Any], place: Place, config: AlgorithmConfig, steps: int
) -> TransferMethod:
    """Make an arm's method and see that it fits the algorithm and the budget.

    Raises:
        StudyError: An unknown method or option, or one that doesn't fit.
    """
    kind = type(checked((*place, "method"), lambda: make_method(name)))
    valid = [item.name for item in fields(kind)]
    settings = [*ARM_KEYS, *valid]
    for option in options:
        if option not in valid:
            about = f"option of {name} or key of an arm"
            raise StudyError((*place, option), str(unknown_name(about, option, settings)))
    try:
        method = make_method(name, **options)
        method.check_algorithm(config.algorithm)
        fit_within(method, steps, config)
    except (WarmstartError, TypeError) as error:
        raise StudyError(place, str(error)) from None
    return method
