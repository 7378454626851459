"""Fine-tuning: go on from the source's actor, critic and normaliser."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from typing_extensions import override

from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.settings.config import AlgorithmConfig, PPOConfig
from warmstart.core.bounds import Before, Natural, NonNegative
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext, act_from_first_step
from warmstart.transfer.carry.exploration import Exploration, Floor, Keep, read_exploration
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import EVERY_SETTING, CarryingMethod, TransferMethod, register_method
from warmstart.transfer.methods.critic import critic_steps, fit_critic
from warmstart.transfer.methods.schedules import LearningRateWarmUp

_OFF_POLICY = ("sac", "td3", "tqc", "crossq")
CRITIC_FIT_STEPS = {"ppo": 16_384, **dict.fromkeys(_OFF_POLICY, 5_000)}
"""Environment steps of the critic's fit; off policy those of WSRL (2412.07762)."""

WARM_UP_STEPS = {"ppo": 16_384, **dict.fromkeys(_OFF_POLICY, 1_000)}
"""Environment steps over which the learning rate rises."""

LOG_STD_FLOOR = -1.0
"""Least ``log_std`` that a fine-tuned PPO starts with: σ of 0.37 in units of the action. With the source's
own (-3.4 once aligned, -2.3) ten of ten double pendulums and one of three cheetahs hardly learned."""


def _read_exploration(value: Any) -> Exploration | None:
    return None if value is None else read_exploration(value)


@dataclass(frozen=True)
class CriticFitting(TransferMethod):
    """A method that fits the critic before the actor moves, and lets the learning rate rise after that."""

    critic_fit_steps: Natural | None = None
    """Environment steps in which the frozen policy acts and the critic is fitted, counted as training's;
    ``None`` takes 16,384 for PPO (rounded up to whole rollouts) and 5,000 for SAC and TD3, but a quarter of a
    trial's steps where that would take them all; 0 leaves the fit out."""

    critic_updates: Natural = 2_000
    """Gradient steps of that fit, for SAC and TD3; PPO takes ``n_epochs`` passes over each rollout."""

    critic_learning_rate: NonNegative | None = None
    """Learning rate of that fit; ``None`` takes the agent's."""

    warm_up_steps: Natural | None = None
    """Environment steps over which the learning rate then rises from zero; ``None`` takes 16,384 for PPO and
    1,000 for SAC and TD3; 0 starts at the full rate."""

    @override
    def prepare(
        self, model: BaseAlgorithm, callback: MaybeCallback = None, max_steps: int | None = None
    ) -> int:
        return fit_critic(
            model,
            self.fit_steps(algorithm_name(model)),
            callback,
            updates=self.critic_updates,
            learning_rate=self.critic_learning_rate,
            max_steps=max_steps,
        )

    @override
    def callbacks(self, report: TransferReport) -> list[BaseCallback]:
        steps = WARM_UP_STEPS[report.algorithm] if self.warm_up_steps is None else self.warm_up_steps
        return [LearningRateWarmUp(steps)] if steps else []

    def fit_steps(self, algorithm: str) -> int:
        """Return the environment steps of the critic's fit."""
        return CRITIC_FIT_STEPS[algorithm] if self.critic_fit_steps is None else self.critic_fit_steps


@register_method
@dataclass(frozen=True)
class FineTune(CriticFitting, CarryingMethod):
    """Carry actor, critic and normaliser, fit the critic to the frozen policy, then train everything.

    Fitting first is worth more than carrying the critic (Actor-Critic Pretraining, 2602.23804); for SAC and
    TD3 the replay buffer starts with steps of the frozen policy (WSRL, 2412.07762). Optimizers start fresh,
    the learning rate rises from zero.
    """

    name: ClassVar[str] = "fine_tune"
    title: ClassVar[str] = "fine-tuning with the critic fitted first"
    paper: ClassVar[str] = "2602.23804"
    serves: ClassVar[tuple[str, ...]] = EVERY_SETTING

    exploration: Annotated[Exploration | None, Before(_read_exploration)] = None
    """What becomes of ``log_std`` (PPO) or the entropy coefficient (SAC): ``Keep()``, ``Reset(value)`` or
    ``Floor(value)``; in YAML ``keep``, ``{reset: value}``, ``{floor: value}``. ``None`` takes ``Floor(-1.0)``
    for PPO's ``log_std``, since a source that has converged no longer explores, and ``Keep()`` elsewhere."""

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        report = self.carry(model, source, context, self.exploration_of(model))
        report.add_notes(act_from_first_step(model, self.fit_steps(algorithm_name(model))))
        return self.finish(model, report)

    def exploration_of(self, model: BaseAlgorithm) -> Exploration:
        """Return what becomes of a model's exploration."""
        if self.exploration is not None:
            return self.exploration
        return Floor(LOG_STD_FLOOR) if hasattr(model.policy, "log_std") else Keep()


def fit_within(method: TransferMethod, budget: int, config: AlgorithmConfig) -> tuple[TransferMethod, str]:
    """Keep the critic's fit from taking all the steps that there are.

    Args:
        method: Any method; those without a critic fit stay as they are.
        budget: Environment steps of the fit and of learning together.
        config: What the agent is trained with.

    Returns:
        The method, with an explicit ``critic_fit_steps`` where the default was too long, and a note that says
        so (empty otherwise).

    Raises:
        WarmstartError: If ``critic_fit_steps`` was given and leaves nothing to learn.
    """
    if not isinstance(method, CriticFitting) or not method.trains:
        return method, ""
    asked = method.fit_steps(config.algorithm)
    whole = isinstance(config, PPOConfig)
    size = config.n_envs * (config.n_steps if isinstance(config, PPOConfig) else 1)
    taken = critic_steps(asked, size, budget if whole else None)
    if asked < budget and taken < budget:
        return method, ""
    if method.critic_fit_steps is not None:
        raise WarmstartError(
            f"critic_fit_steps of {method.name} is {asked:,}, which takes all of target_steps ({budget:,}) "
            "and leaves nothing to learn: expected fewer. Lower critic_fit_steps (0 leaves the fit out), or "
            "raise target_steps."
        )
    steps = max(budget // 4 // size, int(size < budget)) * size
    rounded = f", in whole rollouts of {size:,}" if whole else ""
    return replace(method, critic_fit_steps=steps), (
        f"The critic's fit of {asked:,} steps would have taken the whole budget of {budget:,}; it is limited "
        f"to a quarter{rounded}: {steps:,} steps. critic_fit_steps sets it."
    )
