"""Teach an actor by supervised learning, in the states and towards the actions that are given."""

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from warmstart.agents.algorithms.seams import TensorObservations
from warmstart.agents.algorithms.terms import ActionTargets, divergence
from warmstart.agents.algorithms.trainability import named_entries
from warmstart.transfer.methods.critic import descend

BATCH = 256


def imitate(
    model: BaseAlgorithm,
    observations: TensorObservations,
    targets: ActionTargets,
    updates: int,
    learning_rate: float,
    seed: int,
) -> float:
    """Bring an actor's distribution of actions to targets; the critic and all optimizers stay.

    Args:
        model: The agent.
        observations: As its policy takes them. Shape: (n, …).
        targets: Shape: (n, actions).
        updates: Gradient steps in batches of 256.
        learning_rate: Of Adam.
        seed: Of the batches.

    Returns:
        The mean divergence of the last hundred batches; NaN where there was nothing to do.
    """
    entries = (e for e in named_entries(model.policy) if e.role != "critic" and not e.target)
    parameters = [entry.parameter for entry in entries if entry.parameter.requires_grad]
    if not updates or not parameters:
        return float("nan")
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    losses = []
    model.policy.set_training_mode(True)
    for _ in range(updates):
        rows = torch.randint(len(targets.mean), (BATCH,), generator=generator)
        seen = (
            {key: value[rows] for key, value in observations.items()}
            if isinstance(observations, dict)
            else observations[rows]
        )
        loss = divergence(model, seen, ActionTargets(*(part[rows] for part in targets)))
        losses.append(descend(model, optimizer, parameters, loss, allow_unused=True))
    model.policy.set_training_mode(False)
    follower = getattr(model.policy, "actor_target", None)
    if follower is not None:
        follower.load_state_dict(model.policy.actor.state_dict())  # type: ignore[union-attr]
    return float(np.mean(losses[-100:]))
