"""Carry a source's policy, critic and normaliser into an agent: what most methods begin with.

May import ``envs`` and ``agents``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from warmstart.agents.algorithms.off_policy import OffPolicySeams
from warmstart.agents.algorithms.trainability import fresh_optimizers
from warmstart.agents.checkpoints.architecture import ACTIVATIONS, algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.normalization import read, write
from warmstart.agents.checkpoints.policy import load_tensors
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.alignment import Alignment, align
from warmstart.transfer.carry.exploration import Exploration, Keep, Reset
from warmstart.transfer.carry.freezing import frozen_names
from warmstart.transfer.carry.layouts import environment_layouts, environment_name, flat_size
from warmstart.transfer.carry.matching import Matching, match
from warmstart.transfer.carry.normalizer import (
    MissingNormalizer,
    RewardStatistics,
    StatisticsTransfer,
    transfer_statistics,
)
from warmstart.transfer.carry.report import TransferEntry, TransferReport
from warmstart.transfer.carry.scaling import action_scaling
from warmstart.transfer.methods.base import TransferContext, TransferMethod, check_choice, check_number


@dataclass(frozen=True)
class CarryingMethod(TransferMethod):
    """A method that starts from the source's weights and normaliser; the base of most."""

    normalizer_count: int = 100_000
    """Observations (and returns) that carried statistics count as, at most: the fewer, the sooner they
    adapt."""

    reward_statistics: RewardStatistics = "keep"
    """``keep`` the scale of the source's rewards, which its critic knows, or ``reset`` it for another
    scale."""

    missing_normalizer: MissingNormalizer = "error"
    """If the source standardises its observations and the target doesn't: ``error``, or ``fold`` the
    statistics into the first layers."""

    widening_noise: float = 0.0
    """Noise on the units that widening copies, as a fraction of the weights' standard deviation."""

    def __post_init__(self) -> None:
        """Check the options."""
        check_number(self.name, "normalizer_count", self.normalizer_count, 1, whole=True)
        check_number(self.name, "widening_noise", self.widening_noise, 0)
        check_choice(self.name, "reward_statistics", self.reward_statistics, ("keep", "reset"))
        check_choice(self.name, "missing_normalizer", self.missing_normalizer, ("error", "fold"))

    def carry(
        self,
        model: BaseAlgorithm,
        source: Checkpoint | None,
        context: TransferContext,
        exploration: Exploration | None = None,
    ) -> TransferReport:
        """Put the source's weights, normaliser and exploration into the model.

        Args:
            model: PPO, SAC or TD3 with its environment.
            source: What is carried.
            context: Names, maps and the generator.
            exploration: What becomes of ``log_std`` or the entropy coefficient; ``None`` leaves the target's.

        Returns:
            The report, nothing frozen yet.

        Raises:
            WarmstartError: If source and model don't go together.
        """
        algorithm = algorithm_name(model)
        self.check_algorithm(algorithm)
        source = self._checked(source, model, algorithm)
        observations, actions = _matchings(model, source, context)
        statistics = self._statistics(model, source, observations)
        scaling = action_scaling(
            actions, source.action_space, model.action_space, squashed=algorithm != "ppo"
        )
        alignment = Alignment(
            algorithm,
            observations,
            statistics.inputs,
            actions,
            scaling,
            context.generator,
            float(self.widening_noise),
            statistics.folded,
        )
        tensors, entries = align(source.policy_tensors, _cpu(model.policy.state_dict()), alignment)
        load_tensors(model.policy, tensors)
        if statistics.state is not None and model.env is not None:
            write(model.env, statistics.state)
        model._last_obs = None
        notes = (
            *observations.notes("observation"),
            *actions.notes("action"),
            *scaling.notes,
            *statistics.notes,
        )
        report = TransferReport(
            self.name,
            algorithm,
            source_name(source),
            environment_name(model.env),
            (*entries, *statistics.entries),
            notes,
        )
        set_exploration(model, source, exploration, report)
        if report.copied == 0:
            raise WarmstartError(f"Nothing of {report.source} could be carried to {report.target}.\n{report}")
        return report

    def _checked(self, source: Checkpoint | None, model: BaseAlgorithm, algorithm: str) -> Checkpoint:
        if source is None:
            raise WarmstartError(f"{self.name} starts from a checkpoint; none was given.")
        if source.algorithm != algorithm:
            raise WarmstartError(
                f"The source was trained by {source.algorithm.upper()}, the target is {algorithm.upper()}: "
                f"their networks mean different things. Use {source.algorithm.upper()} in the target."
            )
        theirs = source.policy_kwargs.get("activation", "tanh" if algorithm == "ppo" else "relu")
        cls: Any = getattr(model.policy, "activation_fn", None)
        ours = next(
            (name for name, known in ACTIVATIONS.items() if known is cls), getattr(cls, "__name__", theirs)
        )
        if theirs != ours:
            raise WarmstartError(
                f"The source's networks use {theirs}, the target's {ours}: the same weights would compute "
                f"something else. Build the target with activation_fn={theirs}."
            )
        return source

    def _statistics(self, model: BaseAlgorithm, source: Checkpoint, matching: Matching) -> StatisticsTransfer:
        return transfer_statistics(
            source.normalizer,
            None if model.env is None else read(model.env),
            matching,
            source.observation_space,
            model.observation_space,
            count=self.normalizer_count,
            rewards=self.reward_statistics,
            missing=self.missing_normalizer,
        )


def set_exploration(
    model: BaseAlgorithm, source: Checkpoint | None, exploration: Exploration | None, report: TransferReport
) -> None:
    """Keep, reset or floor the exploration, and say so in the report.

    PPO: ``log_std``, of every action. SAC: the entropy coefficient, learned (``log_ent_coef``) or fixed.

    Raises:
        WarmstartError: If the agent has no such number, or a coefficient isn't positive.
    """
    if isinstance(model, PPO):
        _set_log_std(model, exploration, report)
    elif isinstance(model, SAC):
        _set_entropy_coefficient(model, source, exploration, report)
    elif exploration is not None and not isinstance(exploration, Keep):
        raise WarmstartError(
            f"{type(model).__name__} explores by its action_noise and has nothing to "
            f"{type(exploration).__name__.lower()}: give the model another action_noise, and leave "
            "exploration at keep."
        )


def _set_log_std(model: PPO, exploration: Exploration | None, report: TransferReport) -> None:
    log_std = getattr(model.policy, "log_std", None)
    if exploration is None or isinstance(exploration, Keep):
        return
    if log_std is None:
        raise WarmstartError(
            "This policy's actions are discrete; it has no log_std. Leave exploration at keep."
        )
    before = log_std.detach().clone()
    with torch.no_grad():
        log_std.copy_(before.cpu().clone().apply_(exploration))
    if isinstance(exploration, Reset) or not torch.equal(before, log_std):
        verb = "reset" if isinstance(exploration, Reset) else "floored"
        replace_entry(
            report, "log_std", action=verb, reason=f"{verb} to {exploration.value:g}, so that it explores"
        )


def _set_entropy_coefficient(
    model: SAC, source: Checkpoint | None, exploration: Exploration | None, report: TransferReport
) -> None:
    known = {} if source is None else source.tensors
    if "extra.log_ent_coef" in known:
        carried: float | None = math.exp(float(known["extra.log_ent_coef"].reshape(-1)[0]))
    elif "extra.ent_coef_tensor" in known:
        carried = float(known["extra.ent_coef_tensor"].reshape(-1)[0])
    else:
        carried = None
    learned = model.log_ent_coef is not None
    name = "extra.log_ent_coef" if learned else "extra.ent_coef_tensor"
    shape = (1,) if learned else ()
    keeps = exploration is None or isinstance(exploration, Keep)
    if (
        exploration is None
        or (carried is None and not isinstance(exploration, Reset))
        or (keeps and not learned)
    ):
        why = "the target's own" if learned else "fixed by the target's ent_coef"
        report.entries += (TransferEntry(name, None, shape, "untouched", False, why),)
        return
    value = exploration(carried if carried is not None else 0.0)
    if not (value > 0.0 and math.isfinite(value)):
        raise WarmstartError(f"SAC's entropy coefficient must be positive; exploration gives {value:g}.")
    with torch.no_grad():
        if learned:
            exact = known.get("extra.log_ent_coef") if value == carried else None
            if exact is not None:
                model.log_ent_coef.copy_(exact.reshape(1))  # type: ignore[union-attr]
            else:
                model.log_ent_coef.fill_(math.log(value))  # type: ignore[union-attr]
        else:
            model.ent_coef_tensor.fill_(value)
    source_shape = None if carried is None else shape
    if isinstance(exploration, Reset):
        entry = TransferEntry(name, source_shape, shape, "reset", False, f"coefficient reset to {value:g}")
    elif value != carried:
        entry = TransferEntry(
            name, source_shape, shape, "floored", False, f"coefficient {carried:g} → {value:g}"
        )
    else:
        entry = TransferEntry(name, source_shape, shape, "copied", False, f"coefficient {value:g}")
    report.entries += (entry,)


def act_from_first_step(model: BaseAlgorithm, collected: int) -> tuple[str, ...]:
    """Let SAC and TD3 act with their policy from the first step, not uniformly at random (SB3 #1916, #435).

    Plain SB3 ties the first gradient step to the end of the random actions (``learning_starts``), so both
    begin at once; an agent of ours keeps its ``learning_starts``, no later than ``collected`` steps.

    Args:
        model: The agent.
        collected: Steps that will be in the replay buffer before learning; 0 if none.

    Returns:
        A note on what was changed.
    """
    if not isinstance(model, OffPolicyAlgorithm):
        return ()
    if isinstance(model, OffPolicySeams):
        model.random_steps = 0
        if collected:
            model.learning_starts = min(model.learning_starts, collected)
        return (f"No random actions; the first gradient step comes after {model.learning_starts:,} steps.",)
    model.learning_starts = 0
    return ("learning_starts is now 0: no random actions, and gradient steps from the start of learn.",)


def finish(model: BaseAlgorithm, method: TransferMethod, report: TransferReport) -> TransferReport:
    """Give the model fresh optimizers, mark what is frozen, and attach the method's callbacks."""
    fresh_optimizers(model)
    frozen = frozen_names(model)
    report.entries = tuple(
        replace(entry, frozen=entry.frozen or entry.name in frozen) for entry in report.entries
    )
    callbacks = method.callbacks(report)
    if callbacks:
        from stable_baselines3.common.callbacks import CallbackList

        report.callback = callbacks[0] if len(callbacks) == 1 else CallbackList(callbacks)
    return report


def replace_entry(report: TransferReport, name: str, **changes: Any) -> None:
    """Change fields of one entry of a report."""
    report.entries = tuple(
        replace(entry, **changes) if entry.name == name else entry for entry in report.entries
    )


def source_name(source: Checkpoint) -> str:
    """Return what a report calls a source: its task, or the last part of its path."""
    return source.task or (source.path.name if source.path is not None else "a model")


def _matchings(
    model: BaseAlgorithm, source: Checkpoint, context: TransferContext
) -> tuple[Matching, Matching]:
    ours = environment_layouts(model.env)
    observations = match(
        context.source_observations or source.observation_layout,
        context.target_observations or ours[0],
        (flat_size(source.observation_space), flat_size(model.observation_space)),
        context.observation_map,
        "observation",
    )
    actions = match(
        context.source_actions or source.action_layout,
        context.target_actions or ours[1],
        (flat_size(source.action_space), flat_size(model.action_space)),
        context.action_map,
        "action",
    )
    if type(source.action_space) is not type(model.action_space):
        raise WarmstartError(
            f"The source's actions are {type(source.action_space).__name__}, the target's "
            f"{type(model.action_space).__name__}: they can't be matched."
        )
    return observations, actions


def _cpu(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}
