"""A task: a Gymnasium id, options and a physical context, with one text form used everywhere.

``ID[:option=value,…][@parameter=value,…]``, for example ``HalfCheetah-v5@gravity=x0.5,torso.mass=x1.5``
or ``Ant-v5:without=[hip_4,ankle_4],time_limit=500@friction=x0.5``.
"""

import copy
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from warmstart.core.errors import WarmstartError
from warmstart.core.grammar import Scanner, Value, format_value
from warmstart.envs.tasks.contexts import Change, Context, format_context, parse_context, read_context

__all__ = ["Task", "Value"]

_ID = re.compile(r"(?:[A-Za-z_][\w.]*:)?(?:[\w-]+/)*[\w.-]*\w")
_TARGET_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")
_OPTION = re.compile(r"[A-Za-z_]\w*")
_OPTIONS_FOLLOW = re.compile(r"\s*:\s*[A-Za-z_]\w*\s*=")


@dataclass(frozen=True)
class Task:
    """What an agent is asked to do: an environment, how it is built, and its physics.

    Attributes:
        id: A Gymnasium id: ``HalfCheetah-v5``, ``ALE/Pong-v5``, ``my_module:MyEnv-v0``.
        options: Options by name, sorted: the environment's constructor arguments, ``time_limit`` (steps),
            ``frame_skip``, ``xml_file``, ``without`` (names of actuators that are removed).
        context: Changes of physical parameters; ``()`` is the nominal physics. Order matters: of two
            equally specific changes the later one wins.
    """

    id: str
    options: tuple[tuple[str, Value], ...] = ()
    context: Context = ()

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise WarmstartError(
                f"Expected a Gymnasium id such as 'HalfCheetah-v5', 'ALE/Pong-v5' or 'module:Name-v0', "
                f"found {self.id!r}."
            )
        options = [(name, _frozen(name, value)) for name, value in self.options]
        names = [name for name, _ in options]
        for name in names:
            if not _OPTION.fullmatch(name):
                raise WarmstartError(f"Expected an option's name (letters, digits, _), found {name!r}.")
            if names.count(name) > 1:
                raise WarmstartError(f"The option {name!r} of {self.id} is given twice; give it once.")
        object.__setattr__(self, "options", tuple(sorted(options, key=lambda option: option[0])))
        object.__setattr__(self, "context", tuple(self.context))

    @classmethod
    def parse(cls, text: str) -> "Task":
        """Read a task's text form, or the name of a registered target task.

        Args:
            text: ``ID[:option=value,…][@parameter=value,…]`` or a name such as ``hopper-heavy-torso``.

        Raises:
            WarmstartError: The text is not a task; the message points at the place.
        """
        if _TARGET_NAME.fullmatch(text.strip()):
            from warmstart.envs.robots.table import named_targets  # which loads mujoco

            target = named_targets().get(text.strip())
            text = text if target is None else target.changes
        return _read_task(Scanner(text, "task"))

    @property
    def module(self) -> str:
        """The module that the id names (``my_module:MyEnv-v0``); empty where it names none."""
        return self.id.rpartition(":")[0]

    def spec(self, time_limit: int | None) -> EnvSpec | None:
        """The Gymnasium spec of its id with its own options and time limit; None where none is registered."""
        found = copy.deepcopy(gymnasium.registry.get(self.id))
        if found is not None:
            found.kwargs |= {name: value for name, value in self.options if name != "time_limit"}
            found.max_episode_steps = time_limit
        return found

    def __str__(self) -> str:
        options = ",".join(f"{name}={format_value(value)}" for name, value in self.options)
        context = format_context(self.context)
        return self.id + (f":{options}" if options else "") + (f"@{context}" if context else "")

    def option(self, name: str, default: Value = None) -> Value:
        """Return an option's value, or ``default`` where the task doesn't give it."""
        return dict(self.options).get(name, default)

    def with_options(self, **options: Any) -> "Task":
        """Return this task with the given options set; the others stay."""
        return replace(self, options=tuple({**dict(self.options), **options}.items()))

    def with_context(self, *changes: Change | str) -> "Task":
        """Return this task with further changes, given as :class:`Change` or text, after its own."""
        added = (parse_context(change) if isinstance(change, str) else (change,) for change in changes)
        return replace(self, context=self.context + tuple(change for part in added for change in part))

    def nominal(self) -> "Task":
        """Return the same environment and options with nominal physics."""
        return replace(self, context=())


def _frozen(name: str, value: Any) -> Value:
    """Return an option's value as plain, hashable Python."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)  # 3 and 3.0 are the same task and print the same
    if isinstance(value, float) and math.isnan(value):
        raise WarmstartError(f"The option {name!r} is not a number (nan); give a number.")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Iterable) and not isinstance(value, dict | set | bytes):
        return tuple(_frozen(name, item) for item in value)
    raise WarmstartError(
        f"The option {name!r} has a value of type {type(value).__name__}, which a task's text cannot hold; "
        "expected a number, true, false, none, text or a list of these."
    )


def _read_task(scanner: Scanner) -> Task:
    identity = scanner.match(_id_before_options(scanner.text))
    if identity is None:
        raise scanner.fail("a Gymnasium id such as HalfCheetah-v5")
    options = _read_options(scanner) if scanner.accept(":") else ()
    context: Context = ()
    if scanner.accept("@"):
        context = read_context(scanner)
    elif not scanner.done:
        expected = "',', '@' or the end" if options else "':', '@' or the end"
        raise scanner.fail(expected)
    return Task(identity, options, context)


def _id_before_options(text: str) -> re.Pattern[str]:
    """Return the pattern of the id; a colon followed by ``name=`` belongs to the options, not to the id."""
    colon = _OPTIONS_FOLLOW.search(text)
    without_module = r"(?:[\w-]+/)*[\w.-]*\w"
    first_colon = text.find(":")
    has_module = first_colon >= 0 and (colon is None or first_colon < colon.start())
    return _ID if has_module else re.compile(without_module)


def _read_options(scanner: Scanner) -> tuple[tuple[str, Value], ...]:
    options: dict[str, Value] = {}
    while True:
        scanner.skip_space()
        start = scanner.position
        name = scanner.match(_OPTION)
        if name is None:
            raise scanner.fail("an option's name, as in time_limit=200")
        if name in options:
            raise scanner.fail(f"each option once ({name!r} was given before)", start)
        scanner.expect("=", f"'=' after the option {name!r}")
        options[name] = scanner.value()
        if not scanner.accept(","):
            scanner.skip_space()
            return tuple(options.items())
