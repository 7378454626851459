"""What the simulation that an agent trains in does beside its task, as settings; quick to import."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from warmstart.core.bounds import Natural, SettingError, Settings
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import check

IDENTIFIED = "identified"
"""As ``randomize``: what an identification left open."""


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """How the simulation in which an agent trains differs from its plain task; not at all by default."""

    randomize: str | Settings = field(default_factory=dict)
    """Terms, a recipe's name (``light``, ``medium``, ``heavy``), ``{recipe: light, torso.mass: x0.5:x2}``, or
    ``identified``: ranges around what an identification found, in place of the identified task.
    ``{recipe: medium, identified: true}`` has them for what was identified, and the recipe's for the rest."""
    curriculum: Settings = field(default_factory=dict)
    """``method`` and settings of a curriculum that widens those terms; empty for none."""
    imperfections: str | Settings = field(default_factory=dict)
    """What sensors and actuators do wrong, or a challenge's name."""
    disturbances: Settings = field(default_factory=dict)
    """Pushes and noisy starts."""
    identify: Settings = field(default_factory=dict)
    """``parameters`` with their ranges, ``delay`` and ``lag``, and ``seconds`` of data to record in the
    reality: what is identified before training, which then is in the identified task, with the delay, lag and
    noise that were found where ``imperfections`` say nothing else; empty for nothing."""
    privileged: bool = False
    """Whether the critic sees the physics that was drawn, too (asymmetric actor-critic)."""
    history: Natural = 0
    """Observations that the agent looks back on, with the actions between them; 0 for the newest alone."""
    reality_steps: Natural = 0
    """Of the training steps, how many at the end are taken in the reality."""

    def __post_init__(self) -> None:
        check(self)
        if self.history == 1:
            raise SettingError(("history",), "expected 0 or at least 2 observations, found 1.")
        if self.privileged and not self.randomize:
            raise WarmstartError("A privileged critic sees what is drawn: give randomize, too.")
        if self.privileged and self.history:
            raise WarmstartError("A privileged critic and a history don't go together: leave one out.")
        if self.curriculum and not self.randomize:
            raise WarmstartError("A curriculum widens randomized terms: give randomize, too.")
        if around_identified(self.randomize) and not self.identify:
            raise WarmstartError("randomize: identified needs identify, which finds what is left open.")
        if around_identified(self.randomize) and self.curriculum:
            raise WarmstartError(
                "A curriculum widens ranges, and around what was identified there are normal distributions: "
                "leave one of the two out."
            )

    @property
    def needs_reality(self) -> bool:
        """Whether something is done in a reality."""
        return bool(self.identify or self.reality_steps)


def around_identified(randomize: Any) -> bool:
    """Whether a randomization has ranges around what an identification found."""
    return randomize == IDENTIFIED or (isinstance(randomize, Mapping) and randomize.get(IDENTIFIED) is True)
