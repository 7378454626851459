"""What a transfer method is: the extension point of this room.

A method of your own is one frozen dataclass that derives from ``TransferMethod`` (or from one of the methods
of this room), names itself and is registered; its fields are its options.
"""

from dataclasses import dataclass, fields, replace
from typing import ClassVar, TypeVar

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.type_aliases import MaybeCallback
from typing_extensions import override

from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.trainability import fresh_optimizers
from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import check, to_plain
from warmstart.transfer.carry.carrying import CarryOptions, TransferContext, carry
from warmstart.transfer.carry.exploration import Exploration, write_exploration
from warmstart.transfer.carry.freezing import frozen_names
from warmstart.transfer.carry.report import TransferReport

SHIFTS = ("inductive", "transductive")
"""Settings in which the source was trained on its task's reward."""
EVERY_SETTING = (*SHIFTS, "unsupervised")


@dataclass(frozen=True)
class TransferMethod:
    """How an agent starts in the target. Fills the seams of an agent; see ``docs/own_method.md``.

    The two phases are public: ``initialise`` (no environment step), then ``prepare`` (steps that are
    counted), then the agent learns with ``callbacks``.
    """

    name: ClassVar[str] = ""
    """What it is called in studies."""

    title: ClassVar[str] = ""
    """What it is, in a few words."""

    paper: ClassVar[str] = ""
    """arXiv number of the paper that it follows; empty where there is none."""

    fills: ClassVar[tuple[str, ...]] = ("initialise",)
    """Seams that it fills."""

    serves: ClassVar[tuple[str, ...]] = SHIFTS
    """Where it makes sense: the task differs (inductive), the domain (transductive), or the source had no
    reward (unsupervised), so that neither its policy's returns nor its critic mean anything."""

    trains: ClassVar[bool] = True
    """Whether the agent learns after ``prepare``."""

    needs_source: ClassVar[bool] = True
    """Whether it starts from a checkpoint."""

    algorithms: ClassVar[tuple[str, ...]] = ("ppo", "sac", "td3", "tqc", "crossq")
    """Algorithms it makes sense for."""

    needs_seed: ClassVar[bool] = False
    """Whether what it draws is the point of it, so that it must be seeded."""

    def __post_init__(self) -> None:
        check(self)

    @property
    def carries(self) -> bool:
        """Whether the source's networks go into the agent, so that the two must be alike."""
        return False

    def seams(self, source: Checkpoint | None) -> Seams:
        """What the method puts into an agent of ours when it is built: loss terms, experience, rates."""
        del source
        return Seams()

    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        """Set the parameters, the normaliser and what is frozen; takes no environment step.

        Args:
            model: PPO, SAC or TD3, plain SB3's or warmstart's, in the target's environment.
            source: What to start from.
            context: Names, maps and the generator.

        Returns:
            What was done, tensor by tensor.

        Raises:
            WarmstartError: Source, model and method don't go together.
        """
        raise NotImplementedError(f"{type(self).__name__} has no initialise()")

    def prepare(
        self, model: BaseAlgorithm, callback: MaybeCallback = None, max_steps: int | None = None
    ) -> int:
        """Use environment steps before learning starts, with the callback running in them.

        Args:
            model: The initialised agent.
            callback: As for ``learn``.
            max_steps: Budget that mustn't be exceeded.

        Returns:
            Steps used; they are counted in ``model.num_timesteps``, and belong into ``report.steps``.
        """
        del model, callback, max_steps
        return 0

    def callbacks(self, report: TransferReport) -> list[BaseCallback]:
        """Return what ``model.learn`` must call: schedules."""
        del report
        return []

    def amend(self, report: TransferReport, model: BaseAlgorithm) -> None:
        """Say in the report what ``prepare`` found, decided or changed."""
        del report, model

    def finish(self, model: BaseAlgorithm, report: TransferReport) -> TransferReport:
        """Give the model fresh optimizers, mark what is frozen, and attach the method's callbacks."""
        fresh_optimizers(model)
        frozen = frozen_names(model)
        report.entries = tuple(
            replace(entry, frozen=entry.frozen or entry.name in frozen) for entry in report.entries
        )
        callbacks = self.callbacks(report)
        if callbacks:
            report.callback = callbacks[0] if len(callbacks) == 1 else CallbackList(callbacks)
        return report

    def check_algorithm(self, algorithm: str) -> None:
        """Refuse an algorithm that the method makes no sense for."""
        if algorithm not in self.algorithms:
            raise WarmstartError(
                f"{self.name} works with {', '.join(self.algorithms)}; this agent is {algorithm}."
            )

    def needed(self, model: BaseAlgorithm, source: Checkpoint | None) -> Checkpoint:
        """The source, which has to be there, of an agent that the method makes sense for.

        Raises:
            WarmstartError: There is none, or the agent's algorithm is another.
        """
        self.check_algorithm(algorithm_name(model))
        if source is None:
            raise WarmstartError(f"{self.name} starts from a checkpoint; none was given.")
        return source

    def to_json(self) -> State:
        """Return the method's name and options as plain JSON values; ``make_method`` reads them."""
        options = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"method": self.name} | {
            name: write_exploration(value) if isinstance(value, Exploration) else to_plain(value)
            for name, value in options.items()
        }


@dataclass(frozen=True)
class CarryingMethod(CarryOptions, TransferMethod):
    """A method that starts from the source's weights and normaliser; the base of most."""

    @property
    @override
    def carries(self) -> bool:
        return True

    def carry(
        self,
        model: BaseAlgorithm,
        source: Checkpoint | None,
        context: TransferContext,
        exploration: Exploration | None = None,
    ) -> TransferReport:
        """Put the source's weights, normaliser and exploration into the model; see `carry`.

        Raises:
            WarmstartError: There is no source, or source and model don't go together.
        """
        return carry(model, self.needed(model, source), context, self, exploration, self.name)


METHODS: dict[str, type[TransferMethod]] = {}
"""All registered methods by name; importing ``warmstart.transfer.table`` registers those of this
room."""

Method = TypeVar("Method", bound=type[TransferMethod])


def register_method(method: Method) -> Method:
    """Add a class to the table of methods; a class decorator.

    Raises:
        WarmstartError: It isn't a frozen dataclass derived from ``TransferMethod``, or the name is taken.
    """
    if not (
        isinstance(method, type)
        and issubclass(method, TransferMethod)
        and "__dataclass_fields__" in vars(method)
    ):
        raise WarmstartError(f"{method!r} must be a dataclass that derives from warmstart.TransferMethod.")
    if not vars(method)["__dataclass_params__"].frozen:
        raise WarmstartError(f"{method.__name__} must be frozen: @dataclass(frozen=True).")
    if not method.name.isidentifier():
        raise WarmstartError(
            f"{method.__name__}.name must be a plain word such as 'my_method', not {method.name!r}."
        )
    taken, own = (f"{c.__module__}.{c.__qualname__}" for c in (METHODS.get(method.name, method), method))
    if taken != own:
        raise WarmstartError(f"A transfer method {method.name!r} exists already: {taken}.")
    METHODS[method.name] = method
    return method
