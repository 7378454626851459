"""What becomes of the source's exploration: the ``log_std`` of PPO, the entropy coefficient of SAC.

A source that trained for long has a collapsed ``log_std`` or a tiny entropy coefficient, and no longer
explores (myosuite #27).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.transfer.carry.report import Action, TransferEntry, TransferReport


@dataclass(frozen=True)
class Keep:
    """Carry the source's value."""

    def __call__(self, value: float) -> float:
        """Return the source's value."""
        return value


@dataclass(frozen=True)
class Reset:
    """Start from a value of one's own."""

    value: float
    """``log_std`` for PPO; the entropy coefficient itself, not its logarithm, for SAC."""

    def __call__(self, value: float) -> float:  # noqa: ARG002
        """Return the value to start from."""
        return self.value


@dataclass(frozen=True)
class Floor:
    """Carry the source's value, raised to a lower bound."""

    value: float
    """Lower bound: of ``log_std`` for PPO; of the entropy coefficient, not its logarithm, for SAC."""

    def __call__(self, value: float) -> float:
        """Return the larger of the two."""
        return max(value, self.value)


Exploration = Keep | Reset | Floor


_VALUED: dict[str, type[Reset | Floor]] = {"reset": Reset, "floor": Floor}


def read_exploration(value: Any) -> Exploration:
    """Read the form that YAML and JSON have: ``keep``, ``{reset: 0.1}`` or ``{floor: -1.0}``.

    Raises:
        WarmstartError: It has another form.
    """
    if isinstance(value, Exploration):
        return value
    if value == "keep":
        return Keep()
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, number),) = value.items()
        if name not in _VALUED:
            raise unknown_name("exploration", str(name), ("keep", *_VALUED))
        if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
            return _VALUED[name](float(number))
    raise WarmstartError(
        f"exploration is {value!r}. Expected Keep(), Reset(value) or Floor(value); in YAML: keep, "
        f"{{reset: value}} or {{floor: value}}."
    )


def write_exploration(exploration: Exploration) -> str | dict[str, float]:
    """Return the form that YAML and JSON have; the inverse of ``read_exploration``."""
    name = type(exploration).__name__.lower()
    return name if isinstance(exploration, Keep) else {name: exploration.value}


def set_exploration(
    model: BaseAlgorithm, source: Checkpoint, exploration: Exploration | None, report: TransferReport
) -> None:
    """Keep, reset or floor the exploration, and say so in the report.

    PPO: ``log_std``, of every action. SAC: the entropy coefficient, learned (``log_ent_coef``) or fixed.

    Raises:
        WarmstartError: The agent has no such number, or a coefficient isn't positive.
    """
    if isinstance(model, SAC | TQC | CrossQ):
        report.entries += (_set_entropy_coefficient(model, source, exploration),)
    elif exploration is None or isinstance(exploration, Keep):
        return
    elif isinstance(model, PPO):
        _set_log_std(model, exploration, report)
    else:
        raise WarmstartError(
            f"{type(model).__name__} explores by its action_noise and has nothing to "
            f"{type(exploration).__name__.lower()}: give the model another action_noise, and leave "
            "exploration at keep."
        )


def _set_log_std(model: PPO, exploration: Reset | Floor, report: TransferReport) -> None:
    log_std = getattr(model.policy, "log_std", None)
    if log_std is None:
        raise WarmstartError(
            "This policy's actions are discrete; it has no log_std. Leave exploration at keep."
        )
    before = log_std.detach().clone()
    with torch.no_grad():
        log_std.copy_(before.cpu().clone().apply_(exploration))
    if isinstance(exploration, Reset) or not torch.equal(before, log_std):
        verb: Action = "reset" if isinstance(exploration, Reset) else "floored"
        reason = f"{verb} to {exploration.value:g}, so that it explores"
        report.change("log_std", action=verb, reason=reason)


def _set_entropy_coefficient(
    model: SAC | TQC | CrossQ, source: Checkpoint, exploration: Exploration | None
) -> TransferEntry:
    logarithm = source.tensors.get("extra.log_ent_coef")
    carried: float | None = None
    if logarithm is not None:
        carried = math.exp(float(logarithm.reshape(-1)[0]))
    elif "extra.ent_coef_tensor" in source.tensors:
        carried = float(source.tensors["extra.ent_coef_tensor"].reshape(-1)[0])
    learned = model.log_ent_coef is not None
    name, shape = ("extra.log_ent_coef", (1,)) if learned else ("extra.ent_coef_tensor", ())
    if (
        exploration is None
        or (carried is None and not isinstance(exploration, Reset))
        or (isinstance(exploration, Keep) and not learned)
    ):
        why = "the target's own" if learned else "fixed by the target's ent_coef"
        return TransferEntry(name, None, shape, "untouched", False, why)
    value = exploration(carried if carried is not None else 0.0)
    if not (value > 0.0 and math.isfinite(value)):
        raise WarmstartError(f"SAC's entropy coefficient must be positive; exploration gives {value:g}.")
    with torch.no_grad():
        if model.log_ent_coef is None:
            model.ent_coef_tensor.fill_(value)
        elif logarithm is not None and value == carried:
            model.log_ent_coef.copy_(logarithm.reshape(1))  # exact
        else:
            model.log_ent_coef.fill_(math.log(value))
    action: Action = "copied"
    why = f"coefficient {value:g}"
    if isinstance(exploration, Reset):
        action, why = "reset", f"coefficient reset to {value:g}"
    elif value != carried:
        action, why = "floored", f"coefficient {carried:g} → {value:g}"
    return TransferEntry(name, None if carried is None else shape, shape, action, False, why)
