"""Behaviour cloning before learning: from recorded steps alone (Rajeswaran et al. 2017, 1709.10087)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from torch.nn import functional
from typing_extensions import override

from warmstart.agents.algorithms.terms import ActionTargets
from warmstart.agents.algorithms.trainability import named_entries
from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Count, Natural, NonNegative
from warmstart.transfer.carry.carrying import TransferContext, act_from_first_step
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import register_method
from warmstart.transfer.methods.fine_tuning import CriticFitting
from warmstart.transfer.methods.scratch import untouched
from warmstart.transfer.replaying.datasets import REPLAY_DATA, Steps, recorded
from warmstart.transfer.teaching.imitation import imitate
from warmstart.transfer.teaching.teacher import EDGE, LEAST_LOG_STD, standardised


@register_method
@dataclass(frozen=True)
class Clone(CriticFitting):
    """Teach a fresh actor recorded actions, fit a fresh critic to what it then earns, and learn by reward.

    The steps are those of a dataset, or of the source in its own task. The normaliser starts with their
    observations' statistics.
    """

    name: ClassVar[str] = "clone"
    title: ClassVar[str] = "behaviour cloning of recorded steps, then reward"
    paper: ClassVar[str] = "1709.10087"

    data: str | None = None
    """``minari:ID``, a dataset on this machine; ``PATH.csv``, an exported policy's log; ``replay``,
    the replay buffer that the source was saved with; None takes rollouts of the source in its own task."""

    data_steps: Count = 20_000
    """How many steps the source takes there."""

    updates: Natural = 5_000
    """Gradient steps of the actor, in batches of 256."""

    learning_rate: NonNegative = 1e-3
    """Of those."""

    @property
    def needs_source(self) -> bool:  # type: ignore[override]
        """Whether the steps are a source's."""
        return self.data in (None, REPLAY_DATA)

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        self.check_algorithm(algorithm_name(model))
        steps = recorded(self.data, self.data_steps, source, model, context)
        report = self.finish(model, untouched(self.name, model, source))
        wrapper = model.get_vec_normalize_env()
        if wrapper is not None and wrapper.norm_obs:
            moments: Any = wrapper.obs_rms
            moments.update(steps.taken.observations)
            report.add_notes(["The observations' statistics start with those of the recorded steps."])
        observations = standardised(model, steps.taken.observations)
        seed = int(context.generator.integers(2**31))
        targets = action_targets(model, steps)
        left = imitate(model, observations, targets, self.updates, self.learning_rate, seed)
        report.add_notes(
            [f"After {self.updates:,} updates the divergence from the recorded actions is {left:.3g}."]
        )
        for entry in named_entries(model.policy):
            if entry.role == "actor" and self.updates:
                report.change(entry.names[0], action="reinitialised", reason="taught the recorded actions")
        report.add_notes(steps.notes)
        report.add_notes(act_from_first_step(model, self.fit_steps(algorithm_name(model))))
        return report


def action_targets(model: BaseAlgorithm, steps: Steps) -> ActionTargets:
    """Recorded actions as targets of an agent's distribution, as wide as a fine-tuned one starts."""
    actions = steps.taken.actions
    if isinstance(model.action_space, spaces.Discrete):
        chosen = functional.one_hot(torch.as_tensor(actions).long().flatten(), int(model.action_space.n))
        mean = chosen.float().clamp(min=1e-6).log()
        return ActionTargets(*(part.to(model.device) for part in (mean, mean, torch.ones(len(mean), 1))))
    space = model.action_space
    assert isinstance(space, spaces.Box)
    mean = torch.as_tensor(np.asarray(actions), dtype=torch.float32)
    if not isinstance(model, PPO):
        low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)
        mean = ((2 * mean - low - high) / (high - low)).clamp(-EDGE, EDGE)
        mean = mean if isinstance(model, TD3) else torch.atanh(mean)
    weight = torch.as_tensor(steps.known, dtype=torch.float32).expand_as(mean)
    parts = (mean, torch.full_like(mean, LEAST_LOG_STD), weight)
    return ActionTargets(*(part.to(model.device) for part in parts))
