"""What an arm of a study comes to: its method, tasks, algorithm and vision, all written out."""

from dataclasses import dataclass, fields, replace

from warmstart.agents.hub.fetching import pinned
from warmstart.agents.rewards.base import RewardConfig
from warmstart.agents.rewards.table import read_reward, recorded_reward
from warmstart.agents.settings.config import AlgorithmConfig, config_class
from warmstart.agents.settings.defaults import default_config
from warmstart.agents.settings.encoder_training import EncoderTraining
from warmstart.core.bounds import Place, SettingError, Settings, show
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import placed, read, replaced, setting_names, to_plain
from warmstart.envs.frames.options import sees_pixels, state_task
from warmstart.envs.tasks.task import Task
from warmstart.experiments.study.study import ARM_KEYS, WORLD_KEYS, Arm, Study
from warmstart.sim2real.world_config import WorldConfig
from warmstart.transfer.methods.base import TransferMethod
from warmstart.transfer.methods.fine_tuning import fit_within
from warmstart.transfer.table import make_method


@dataclass(frozen=True)
class ResolvedArm:
    """One arm with nothing left to defaults."""

    written: Arm
    """The arm as the study has it."""
    method: TransferMethod
    target: Task
    """The study's target, or the same task observed by its state."""
    source: Task | None
    """The task that its source agents train in; None where there is none, or a checkpoint is given."""
    algorithm: AlgorithmConfig
    """Of its target agents."""
    source_algorithm: AlgorithmConfig
    """Of its source agents."""
    vision: EncoderTraining | None
    """What its agents observe of frames; None where they observe states."""
    world: WorldConfig
    """How the simulation that it trains in differs from its task."""
    reward: RewardConfig
    """What it trains on."""
    source_reward: RewardConfig
    """What its source agents train on."""

    @property
    def name(self) -> str:
        """Its name in curves and tables."""
        return self.written.name

    def explicit(self, usual: AlgorithmConfig) -> Arm:
        """The arm with every setting written out, those of its algorithm where they aren't the usual ones."""
        own, shared = self.algorithm.written(), usual.written()
        options = self.method.to_json()
        return replace(
            self.written,
            method=options.pop("method"),
            options=options,
            vision=self.vision,
            algorithm={key: value for key, value in own.items() if shared.get(key) != value},
            reward=recorded_reward(self.reward) or None,
            optional=False,
            world=to_plain(self.world, defaults=False),
        )


def resolve_arm(study: Study, arm: Arm, place: Place, target: Task, source: Task | None) -> ResolvedArm:
    """Resolve one arm, which stands at a place of the study.

    Raises:
        SettingError: An unknown algorithm, setting, method or option, or a vision that doesn't fit.
    """
    if arm.obs is not None and not sees_pixels(target):
        raise SettingError((*place, "obs"), f"{target} is observed by its state anyway; leave `obs` out.")
    observed = _observed(target, arm)
    observed_source = None if source is None else _observed(source, arm)
    where: Place = (*place, "vision") if arm.vision is not None else ("vision",)
    vision = arm.vision if arm.vision is not None else study.usual_vision
    if not sees_pixels(observed):
        if vision is not None and (arm.vision is not None or not sees_pixels(target)):
            raise SettingError(where, f"{observed} shows no frames; add the option obs=pixels to the tasks.")
        vision = None
    elif vision is None:
        vision = EncoderTraining(encoder="nature_cnn", train="fine_tuned")
    algorithms = resolve_algorithms(study, observed, observed_source, arm.algorithm, place)
    method = _method(arm, place, algorithms[0], study.target_steps)
    world = _world(study, arm, place, observed)
    rewards = (
        read_reward(arm.reward if arm.reward is not None else "task", (*place, "reward")),
        read_reward(study.source_reward, ("source_reward",)),
    )
    return ResolvedArm(arm, method, observed, observed_source, *algorithms, vision, world, *rewards)


def _observed(task: Task, arm: Arm) -> Task:
    """A task as an arm observes it; frames alone only where it shows any."""
    if arm.obs == "state":
        return state_task(task)
    return task.with_options(obs="pixels") if arm.obs == "pixels" and sees_pixels(task) else task


def _world(study: Study, arm: Arm, place: Place, observed: Task) -> WorldConfig:
    """The simulation that an arm trains in."""
    world: WorldConfig = read(WorldConfig, arm.world, place)
    if world.needs_reality and study.reality is None:
        key = "identify" if world.identify else "reality_steps"
        raise SettingError((*place, key), "is done in a reality: name one under `reality`.")
    for key in ("privileged", "history"):
        if getattr(world, key) and sees_pixels(observed):
            raise SettingError(
                (*place, key), "is about agents that observe states, and this one sees frames."
            )
        if getattr(world, key) and arm.method != "scratch":
            raise SettingError((*place, key), f"is for agents from scratch; {arm.method} carries one over.")
    if world.reality_steps > study.target_steps:
        raise SettingError(
            (*place, "reality_steps"),
            f"expected at most the target's {study.target_steps:,} steps, found {world.reality_steps:,}.",
        )
    return world


def resolve_algorithms(
    study: Study, target: Task, source: Task | None, of_arm: Settings, place: Place
) -> tuple[AlgorithmConfig, AlgorithmConfig]:
    """Resolve the settings of target and source agents: the task's defaults, the study's, then the arm's.

    Source agents have the target's networks unless the study says otherwise.

    Args:
        study: The study.
        target: What the arm's agents train in.
        source: What its source agents train in, if there is a source task.
        of_arm: The arm's own settings.
        place: Where the arm stands, for errors.

    Raises:
        SettingError: An unknown algorithm or setting.
    """

    def resolved(key: str, task: Task, usual: Settings) -> AlgorithmConfig:
        written = getattr(study, key)
        named = isinstance(written, str)
        settings = {} if named else dict(written)
        name = written if named else settings.pop("name")
        kind = placed((key,) if named else (key, "name"), config_class, name)
        known = {name: value for name, value in usual.items() if name in setting_names(kind)}
        given = {**known, **settings}
        network = of_arm.get("network", given.get("network", "plain"))
        if "network" not in setting_names(kind) and given.pop("network", "plain") != "plain":
            text = f"{show(network)} goes with sac, td3, tqc and crossq; {name} has plain networks."
            raise SettingError((key, "network"), text)
        given = {name: value for name, value in given.items() if name not in of_arm}
        config = replaced(default_config(kind.algorithm, task, network), given, (key,))
        return replaced(config, of_arm, (*place, "algorithm"))

    ours = resolved("algorithm", target, {})
    shared = ("net_arch", "critic_net_arch", "activation", "network")
    networks = {key: getattr(ours, key) for key in shared if hasattr(ours, key)}
    key = "algorithm" if study.source_algorithm is None else "source_algorithm"
    return ours, resolved(key, target if source is None else source, networks)


FURTHER_SOURCES = ("teachers", "sources")
"""Options of methods that are paths of further checkpoints."""


def _method(arm: Arm, place: Place, config: AlgorithmConfig, steps: int) -> TransferMethod:
    """Make an arm's method and see that it fits the algorithm and the budget.

    Raises:
        SettingError: An unknown method or option, or one that doesn't fit.
    """
    kind = type(placed(place, make_method, arm.method))
    valid = [item.name for item in fields(kind)]
    for option in arm.options:
        if option not in valid:
            about = f"option of {arm.method} or key of an arm"
            wrong = unknown_name(about, option, [*ARM_KEYS, *WORLD_KEYS, *valid])
            raise SettingError((*place, option), str(wrong))
    try:
        paths = {key: arm.options.get(key) for key in FURTHER_SOURCES}
        commits = {
            key: [*map(pinned, given)] for key, given in paths.items() if isinstance(given, list | tuple)
        }
        method = make_method(arm.method, **{**arm.options, **commits})
        method.check_algorithm(config.algorithm)
        fit_within(method, steps, config)
    except (WarmstartError, TypeError) as error:
        raise SettingError(place, str(error)) from None
    return method
