"""What a transfer method is: the extension point of this room.

A method of your own is one frozen dataclass that derives from ``TransferMethod`` (or from one of the methods
of this room), names itself and is registered; its fields are its options. May import ``envs`` and ``agents``.
"""

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback

from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.simulation.layouts import Layout
from warmstart.transfer.carry.exploration import Floor, Keep, Reset, write_exploration
from warmstart.transfer.carry.matching import DimensionMap
from warmstart.transfer.carry.report import TransferReport


@dataclass(frozen=True)
class TransferContext:
    """What a method is told besides its own options: names, maps and a generator."""

    generator: np.random.Generator
    """Every random draw of the method comes from it."""

    observation_map: DimensionMap = field(default_factory=dict)
    """``{target name: source name}`` where the names differ; ``None`` leaves a dimension fresh."""

    action_map: DimensionMap = field(default_factory=dict)
    """The same for actions."""

    source_observations: Layout | None = None
    """Layout of the source's observations; ``None`` takes the checkpoint's."""

    source_actions: Layout | None = None
    """Layout of the source's actions; ``None`` takes the checkpoint's."""

    target_observations: Layout | None = None
    """Layout of the target's observations; ``None`` takes the environment's."""

    target_actions: Layout | None = None
    """Layout of the target's actions; ``None`` takes the environment's."""


@dataclass(frozen=True)
class TransferMethod:
    """How an agent starts in the target. Fills the seams of an agent; see ``docs/own_method.md``.

    The two phases are public: ``initialise`` (no environment step), then ``prepare`` (steps that are
    counted), then the agent learns with ``callbacks``.
    """

    name: ClassVar[str] = ""
    """What it is called in studies."""

    trains: ClassVar[bool] = True
    """Whether the agent learns after ``prepare``."""

    needs_source: ClassVar[bool] = True
    """Whether it starts from a checkpoint."""

    algorithms: ClassVar[tuple[str, ...]] = ("ppo", "sac", "td3")
    """Algorithms it makes sense for."""

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
            WarmstartError: If source, model and method don't go together.
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

    def check_algorithm(self, algorithm: str) -> None:
        """Raise if the method makes no sense for an algorithm."""
        if algorithm not in self.algorithms:
            raise WarmstartError(
                f"{self.name} works with {', '.join(self.algorithms)}; this agent is {algorithm}."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the method's name and options as plain JSON values; ``make_method`` reads them."""
        options = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for name, value in options.items():
            if isinstance(value, Keep | Reset | Floor):
                options[name] = write_exploration(value)
            elif is_dataclass(value) and not isinstance(value, type):
                options[name] = asdict(value)
        return {"method": self.name, **options}


METHODS: dict[str, type[TransferMethod]] = {}
"""All registered methods by name. Import it from ``warmstart.transfer.methods.table``, which registers those
of this room."""

Method = TypeVar("Method", bound=type[TransferMethod])


def register_method(method: Method) -> Method:
    """Add a class to the table of methods; a class decorator.

    Raises:
        WarmstartError: If it isn't a frozen dataclass derived from ``TransferMethod``, or the name is taken.
    """
    if not (
        isinstance(method, type)
        and issubclass(method, TransferMethod)
        and "__dataclass_fields__" in vars(method)
    ):
        raise WarmstartError(
            f"{method!r} must be a dataclass that derives from warmstart.transfer.TransferMethod."
        )
    if not vars(method)["__dataclass_params__"].frozen:
        raise WarmstartError(f"{method.__name__} must be frozen: @dataclass(frozen=True).")
    if not method.name.isidentifier():
        raise WarmstartError(
            f"{method.__name__}.name must be a plain word such as 'my_method', not {method.name!r}."
        )
    taken = METHODS.get(method.name)
    if taken is not None and (taken.__module__, taken.__qualname__) != (
        method.__module__,
        method.__qualname__,
    ):
        raise WarmstartError(
            f"A transfer method {method.name!r} exists already: {taken.__module__}.{taken.__qualname__}."
        )
    METHODS[method.name] = method
    return method


def check_number(owner: str, name: str, value: object, low: float, whole: bool = False) -> None:
    """Raise unless an option is a number of at least ``low`` (a whole one, where asked)."""
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not value >= low:
        kind = "a whole number" if whole else "a number"
        raise WarmstartError(f"{owner}: {name} must be {kind} of at least {low:g}, not {value!r}.")


def check_choice(owner: str, name: str, value: object, valid: tuple[str, ...]) -> None:
    """Raise unless an option is one of the valid words."""
    if value not in valid:
        raise unknown_name(f"value of {owner}'s option {name}:", str(value), valid)
