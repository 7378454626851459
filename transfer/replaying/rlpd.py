"""Learning with prior data: half of every batch from recorded steps (RLPD, Ball et al. 2023, 2302.02948)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from typing_extensions import override

from warmstart.agents.algorithms.base import part
from warmstart.agents.algorithms.seams import Experience, Seams
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Bounds, Count
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import register_method
from warmstart.transfer.replaying.datasets import REPLAY_DATA, recorded
from warmstart.transfer.teaching.fading import Fade, Fading
from warmstart.transfer.teaching.rollouts import Transitions
from warmstart.transfer.teaching.starting import FreshOrCarried


@dataclass(frozen=True)
class Fixed:
    """A share that stays: what is left of one that fades when its buffer is saved."""

    value: float

    def __call__(self) -> float:
        """Return it."""
        return self.value


class MixedReplayBuffer(ReplayBuffer):
    """A replay buffer of whose batches a share comes from another one, which stays as it is."""

    prior: ReplayBuffer
    share: Callable[[], float]

    @classmethod
    def around(
        cls, own: ReplayBuffer, prior: ReplayBuffer, share: Callable[[], float]
    ) -> "MixedReplayBuffer":
        """The same buffer, with the other beside it."""
        found = cls.__new__(cls)
        vars(found).update(vars(own), prior=prior, share=share)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "share": Fixed(self.share())}

    @override
    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        count = round(self.share() * batch_size)
        if count == 0:
            return super().sample(batch_size, env)
        theirs = self.prior.sample(count, env)
        if count == batch_size:
            return theirs
        ours = super().sample(batch_size - count, env)
        both = zip(ours[:5], theirs[:5], strict=True)
        return ReplayBufferSamples(*(torch.cat(pair) for pair in both))


class PriorData(Experience):
    """Puts a buffer of recorded steps beside the agent's own."""

    def __init__(self, share: float, fading: Fading) -> None:
        self.weight, self.fading = share, fading
        self.steps: Transitions | None = None

    @override
    def seed_buffer(self, model: BaseAlgorithm) -> int:
        own: Any = model.replay_buffer  # type: ignore[attr-defined]
        if isinstance(own, HerReplayBuffer) or type(own) is not ReplayBuffer:
            raise WarmstartError(f"Recorded steps go beside a ReplayBuffer, not a {type(own).__name__}.")
        if self.steps is None:
            return 0
        prior = filled(self.steps, model)
        model.replay_buffer = MixedReplayBuffer.around(  # type: ignore[attr-defined]
            own, prior, lambda: self.weight * self.fading.share(model)
        )
        return len(self.steps)


def filled(steps: Transitions, model: BaseAlgorithm) -> ReplayBuffer:
    """A replay buffer that holds recorded steps; a step that ran out of time isn't an end."""
    found = ReplayBuffer(
        len(steps), model.observation_space, model.action_space, device=model.device, n_envs=1
    )
    policy: Any = model.policy
    found.observations[:, 0] = steps.observations
    found.next_observations[:, 0] = steps.next_observations
    found.actions[:, 0] = policy.scale_action(steps.actions)
    found.rewards[:, 0] = steps.rewards
    found.dones[:, 0] = steps.terminated
    found.pos, found.full = 0, True
    return found


@register_method
@dataclass(frozen=True)
class RLPD(FreshOrCarried):
    """Draw a share of every batch from recorded steps, the rest from the agent's own.

    The agent starts fresh, as in the paper, or ``carried``. The share stays or fades. Layer normalisation and
    many gradient steps for each step, which the paper also recommends, are settings of the algorithm
    (``network: simba``, ``gradient_steps``).
    """

    name: ClassVar[str] = "rlpd"
    title: ClassVar[str] = "half of every batch from recorded steps"
    paper: ClassVar[str] = "2302.02948"
    algorithms: ClassVar[tuple[str, ...]] = ("sac", "td3", "tqc", "crossq")
    fills: ClassVar[tuple[str, ...]] = ("initialise", "experience", "feedback")

    data: str | None = None
    """``minari:ID``, a dataset on this machine; ``PATH.csv``, an exported policy's log; ``replay``,
    the replay buffer that the source was saved with; None takes rollouts of the source in its own task."""

    data_steps: Count = 20_000
    """How many steps the source takes there."""

    share: Annotated[float, Bounds(0.0, 1.0)] = 0.5
    """Of each batch that are recorded steps; 0 discards them."""

    fade: Fade = "never"
    """What the share falls with: training ``steps``, the agent's ``performance``, or ``never``."""

    @property
    def needs_source(self) -> bool:  # type: ignore[override]
        """Whether the steps or the agent are a source's."""
        return self.data in (None, REPLAY_DATA) or self.start == "carried"

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        if not self.share:
            return Seams()
        fading = self.fading()
        return Seams(experience=PriorData(self.share, fading), feedback=(fading,))

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        report = super().initialise(model, source, context)
        if self.share:
            steps = recorded(self.data, self.data_steps, source, model, context)
            if not np.isfinite(steps.taken.rewards).all():
                raise WarmstartError(f"{self.data} holds steps without a reward: rlpd needs them.")
            part(model, PriorData).steps = steps.taken
            report.add_notes(steps.notes)
            if not np.all(steps.known):
                report.add_notes(["Actions that the recorded steps don't hold: the middle of their range."])
        return report
