"""The six places at which a transfer method may act on an agent; nothing else of SB3 is changed.

Initialise, architecture, trainability, loss terms, experience, feedback. Every part that has a state can
give and take it as plain values.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from warmstart.agents.algorithms.trainability import Trainability
from warmstart.core.bounds import Settings, State
from warmstart.core.errors import WarmstartError

Observations = NDArray[Any] | dict[str, NDArray[Any]]
TensorObservations = torch.Tensor | dict[str, torch.Tensor]


class Stateful:
    """A part whose state outlives the process; the default has none."""

    def state_dict(self) -> State:
        """The state, as plain values and tensors."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Restore what ``state_dict`` returned."""
        if state:
            raise WarmstartError(f"{type(self).__name__} keeps no state, but was given {sorted(state)}.")


@dataclass(frozen=True)
class LossBatch:
    """What a loss term is given of one minibatch."""

    observations: TensorObservations
    """As the policy takes them (standardised where the agent standardises). Shape: (batch, …)."""
    actions: torch.Tensor
    """Actions in the minibatch, as the algorithm stores them. Shape: (batch, actions)."""
    step: int
    """Environment steps taken so far."""


class LossTerm(Stateful):
    """Something added to the loss of the actor or of the critic: KL to a teacher, L2-SP, EWC."""

    part: Literal["actor", "critic"] = "actor"
    """The loss it joins. PPO has one loss, so there it only says which role the term plays."""
    name: str = "term"
    """Under which ``train/NAME`` its mean is logged."""

    def loss(self, model: BaseAlgorithm, batch: LossBatch) -> torch.Tensor:
        """The term, weighted. Shape: ()."""
        raise NotImplementedError(f"{type(self).__name__} has no loss(model, batch).")


@dataclass(frozen=True)
class GuideActions:
    """Actions that replace the agent's own in some environments."""

    actions: NDArray[Any]
    """In the environment's range. Shape: (n_envs, actions), or (n_envs,) for Discrete."""
    mask: NDArray[np.bool_]
    """Where they replace the agent's. Shape: (n_envs,)."""
    log_probs: NDArray[np.float32] | None = None
    """For PPO: log-probabilities to be taken as those of the old policy. ``None`` takes the learner's own
    of these very actions, so that the ratio starts at 1 and the trust region is one around the learner.
    Shape: (n_envs,)."""
    learn: bool = True
    """Whether PPO learns from these steps; if not, they are left out of its loss."""


class Experience(Stateful):
    """Who acts, and what the replay buffer holds before the first step."""

    random_steps: int | None = None
    """SAC and TD3: steps that act uniformly at random; ``None`` leaves what the agent was built with."""

    def guide(
        self, observations: Observations, episode_steps: NDArray[np.int64], step: int
    ) -> GuideActions | None:
        """Actions of a guide policy, if any.

        Args:
            observations: As the environment gave them, not standardised. Shape: (n_envs, …).
            episode_steps: Steps since each environment's last reset. Shape: (n_envs,).
            step: Environment steps taken.
        """
        del observations, episode_steps, step
        return None

    def seed_buffer(self, model: BaseAlgorithm) -> int:
        """Fill ``model.replay_buffer`` before training starts; called once, for SAC and TD3.

        Returns:
            Number of transitions added.
        """
        del model
        return 0


@dataclass(frozen=True)
class EpisodeBatch:
    """Episodes of the training environments that have just ended, in the order in which they did."""

    returns: NDArray[np.float64]
    """Undiscounted, not scaled. Shape: (episodes,)."""
    lengths: NDArray[np.int64]
    """Steps. Shape: (episodes,)."""
    env_ids: NDArray[np.int64]
    """Environment of each. Shape: (episodes,)."""
    step: int
    """Environment steps taken so far."""


@dataclass(frozen=True)
class EvaluationResult:
    """The first episode of each environment; episode i always has the same seed."""

    returns: NDArray[np.float64]
    """Undiscounted returns. Shape: (episodes,)."""
    lengths: NDArray[np.int64]
    """Steps. Shape: (episodes,)."""
    step: int = 0
    """Point on the evaluation grid, in environment steps."""
    timesteps: int = 0
    """Environment steps that training had really taken."""
    seconds: float = 0.0
    """What the evaluation took."""
    diverged: int = 0
    """Simulations that diverged, which ended their episodes."""

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the returns over episodes."""
        return float(self.returns.std())


class Feedback(Stateful):
    """Listens to how training goes: curricula, decays, guards."""

    def on_episodes(self, batch: EpisodeBatch) -> None:
        """Called after each rollout in which an episode ended."""

    def on_evaluation(self, result: EvaluationResult) -> None:
        """Called after each evaluation."""


@dataclass
class Seams:
    """What a transfer method puts into an agent; an empty one changes nothing."""

    initialise: Callable[[BaseAlgorithm], None] | None = None
    """Called once with the agent when its networks have been built: what the parameters start as."""
    policy_kwargs: Settings = field(default_factory=dict)
    """Architecture: overrides of SB3's ``policy_kwargs``; a checkpoint records them."""
    trainability: Trainability | None = None
    """Which parameters move, when, at what learning rate."""
    loss_terms: tuple[LossTerm, ...] = ()
    """What is added to the loss."""
    experience: Experience | None = None
    """Who acts, and what the buffer holds."""
    feedback: tuple[Feedback, ...] = ()
    """Who is told of episodes and evaluations."""

    def state_dict(self) -> State:
        """State of every stateful part."""
        return {
            "loss_terms": [term.state_dict() for term in self.loss_terms],
            "experience": self.experience.state_dict() if self.experience else {},
            "feedback": [listener.state_dict() for listener in self.feedback],
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what ``state_dict`` returned of the same parts in the same order."""
        for kind, parts in (("loss_terms", self.loss_terms), ("feedback", self.feedback)):
            if len(state[kind]) != len(parts):
                raise WarmstartError(f"State of {len(state[kind])} {kind}, but the agent has {len(parts)}.")
            for part, values in zip(parts, state[kind], strict=True):
                part.load_state_dict(values)
        if self.experience is not None:
            self.experience.load_state_dict(state["experience"])
        elif state["experience"]:
            raise WarmstartError("State of an experience seam, but the agent has none.")
