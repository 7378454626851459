"""Warm-start RL without the old data (Zhou et al. 2024, 2412.07762)."""

from dataclasses import dataclass
from typing import ClassVar

from warmstart.core.bounds import Natural
from warmstart.transfer.methods.base import SHIFTS, register_method
from warmstart.transfer.methods.fine_tuning import FineTune


@register_method
@dataclass(frozen=True)
class WSRL(FineTune):
    """Go on from the source's actor and critics after some steps of the frozen policy; nothing is retained.

    The steps keep the critics' values from diverging where the old data is missing. Unlike ``fine_tune`` the
    critics aren't fitted to them first, and the learning rate doesn't rise.
    """

    name: ClassVar[str] = "wsrl"
    title: ClassVar[str] = "frozen policy first, no retention"
    paper: ClassVar[str] = "2412.07762"
    serves: ClassVar[tuple[str, ...]] = SHIFTS
    algorithms: ClassVar[tuple[str, ...]] = ("sac", "td3", "tqc", "crossq")

    critic_updates: Natural = 0
    """Gradient steps on the critics before the actor moves (0 in the paper)."""

    warm_up_steps: Natural | None = 0
    """Environment steps over which the learning rate rises."""
