"""The parts of the simulation that an agent trains in: what draws, disturbs and widens, from `WorldConfig`.

What draws and disturbs is imported when it is needed: every trial's process imports this module.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from warmstart.agents.algorithms.seams import Feedback
from warmstart.agents.observing.base import Observing
from warmstart.agents.observing.history import ObservationHistory
from warmstart.agents.observing.privileged import PrivilegedObservation
from warmstart.core.bounds import SettingError, Settings
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import placed, read
from warmstart.envs.describe import describe
from warmstart.envs.tasks.hooks import ContextSource, Perturbation
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.identification.settings import IdentifySettings
from warmstart.sim2real.world_config import IDENTIFIED, WorldConfig, around_identified

if TYPE_CHECKING:
    from warmstart.sim2real.curricula.base import Curriculum
    from warmstart.sim2real.randomization.terms import Term


def resolved(config: WorldConfig, task: Task) -> Settings:
    """A world with its recipes written out, as plain values; what is off is left out.

    Raises:
        WarmstartError: A part isn't sound for the task.
    """
    from warmstart.sim2real.imperfections.disturbances import Disturbances
    from warmstart.sim2real.imperfections.imperfections import Imperfections

    imperfections = read(Imperfections, config.imperfections, ("imperfections",))
    imperfect: Settings = {} if imperfections.is_off and not config.identify else imperfections.to_json()
    if config.identify and isinstance(config.imperfections, Mapping):
        # what is off stands, too: it comes before what is identified
        off = {k: v for k, v in config.imperfections.items() if k not in imperfect and k != "challenge"}
        imperfect = {**imperfect, **off}
    parts = {
        "randomize": placed(("randomize",), _randomize, config.randomize, task),
        "curriculum": dict(config.curriculum),
        "imperfections": imperfect,
        "disturbances": read(Disturbances, config.disturbances, ("disturbances",)).to_json(),
        "identify": dict(config.identify),
        **{key: getattr(config, key) for key in ("privileged", "history", "reality_steps")},
    }
    return {key: value for key, value in parts.items() if value}


def _randomize(written: str | Settings, task: Task) -> str | Settings:
    """A randomization with its recipe written out; see `WorldConfig.randomize`."""
    from warmstart.sim2real.randomization.recipes import randomize_terms

    if written == IDENTIFIED or not written:
        return written
    around = around_identified(written)
    if isinstance(written, Mapping):
        written = {key: value for key, value in written.items() if key != IDENTIFIED}
    terms, correlations = randomize_terms(written, task)
    found: dict[str, Any] = {f"{index}": term.to_json() for index, term in enumerate(terms)}
    if correlations:
        index = {term.name: f"{i}" for i, term in enumerate(terms)}
        found["correlations"] = [
            {"between": [index[name] for name in each.between], "r": each.r} for each in correlations
        ]
    return {**found, IDENTIFIED: True} if around else found


def world_vision(world: Settings, *, drawn: bool) -> Observing | None:
    """How an agent of states observes in a world beside its plain observations; None for no other way.

    Args:
        world: What `resolved` returned.
        drawn: Whether physics is drawn, as it isn't about a rejected fit: a privileged critic then has
            nothing to see.
    """
    if world.get("privileged") and drawn:
        return PrivilegedObservation(who="critic")
    return ObservationHistory(int(world["history"])) if world.get("history") else None


@dataclass(frozen=True)
class TrainingWorld:
    """The parts of a world, for one training."""

    context_source: ContextSource | None = None
    """Draws physics and what frames look like."""
    perturbations: tuple[Perturbation, ...] = ()
    """Change actions, simulations and observations."""
    curriculum: "Curriculum | None" = None
    """The context source, where its ranges widen."""

    @property
    def feedback(self) -> tuple[Feedback, ...]:
        """What listens to how training goes."""
        return () if self.curriculum is None else (self.curriculum,)

    @property
    def terms(self) -> "tuple[Term, ...]":
        """What is randomized, at its widest."""
        return tuple(getattr(self.context_source, "randomized", ()))


def with_identified(world: Settings, recipe: Settings) -> dict[str, Any]:
    """A world with an identification's recipe in the place of ``identified``."""
    written = world.get("randomize")
    if not around_identified(written):
        return dict(world)
    others = {k: v for k, v in written.items() if k != IDENTIFIED} if isinstance(written, Mapping) else {}
    return {**world, "randomize": {**others, **recipe}}


def training_world(world: Settings, task: Task, seed: int, visual: Settings | None = None) -> TrainingWorld:
    """Make the parts of a world.

    Args:
        world: What `resolved` returned, with `with_identified` where it says ``identified``.
        task: The task that is trained in.
        seed: Of every draw.
        visual: Terms of what frames look like.

    Raises:
        WarmstartError: A part isn't sound for the task.
    """
    if not world and not visual:
        return TrainingWorld()
    from warmstart.sim2real.curricula.table import read_curriculum
    from warmstart.sim2real.imperfections.disturbances import Disturbances
    from warmstart.sim2real.imperfections.imperfections import Imperfections
    from warmstart.sim2real.imperfections.paths import perturbations
    from warmstart.sim2real.randomization.randomization import Randomization, read_terms

    disturbing = read(Disturbances, world.get("disturbances", {})).perturbations(seed)
    acting = (*disturbing, *perturbations(read(Imperfections, world.get("imperfections", {})), seed))
    terms, correlations = read_terms(world.get("randomize", {}))
    seen, together = read_terms(visual or {})
    if not (terms or seen):
        return TrainingWorld(None, acting)
    drawn = Randomization((*terms, *seen), seed, (*correlations, *together))
    if len(drawn.randomized) > 1 or drawn.randomized[0].each:
        parameters = describe(task).parameters
        if parameters is None:
            raise WarmstartError(f"{task} has no physical parameters that could be randomized.")
        drawn = drawn.expanded(parameters)
    if not world.get("curriculum"):
        return TrainingWorld(drawn, acting)
    if drawn.correlations:
        raise WarmstartError("A curriculum draws its terms independently: leave correlations out.")
    curriculum = read_curriculum(world["curriculum"], drawn.randomized, seed)
    return TrainingWorld(curriculum, acting, curriculum)


def check_world(world: Settings, task: Task, visual: Settings | None = None) -> None:
    """See that a world can be made for a task.

    Raises:
        WarmstartError: It can't.
    """
    made = training_world(with_identified(world, {}), task, 0, visual)
    source, acting = made.context_source, made.perturbations
    env = make_vec(task, 1, 0, n_threads=1, context_source=source, perturbations=acting)
    env.reset(seed=0)
    env.close()


def check_identify(settings: Settings, task: Task) -> None:
    """See that an identification can be done for a task.

    Args:
        settings: What `IdentifySettings` is read from.
        task: The nominal task.

    Raises:
        SettingError: A setting or parameter is unknown, or a setting, range or parameter isn't sound.
    """
    from warmstart.sim2real.identification.recording import recording_steps
    from warmstart.sim2real.identification.replay import check_parameters

    config: IdentifySettings = read(IdentifySettings, settings, ("identify",))
    try:
        check_parameters(task, config.parameters)
        recording_steps(task, config.seconds)
    except WarmstartError as error:
        raise SettingError(("identify",), str(error)) from None
