"""Fit the critic to the frozen policy in the target before the actor may move.

A fresh or stale critic ruins a good actor in the first updates (Actor-Critic Pretraining, 2602.23804). PPO's
value function is regressed on the policy's returns; the others first collect steps of the frozen policy
(WSRL, 2412.07762) and then update only their critics.
"""

import math
from typing import Any

import torch
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import PPO, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback, TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import polyak_update
from torch.nn import functional

from warmstart.agents.algorithms.crossq import joint_loss, next_actions
from warmstart.agents.algorithms.tqc import quantile_loss, target_quantiles
from warmstart.agents.algorithms.trainability import named_entries
from warmstart.agents.evaluation import LONGEST
from warmstart.agents.extractors.policies import ENCODER_POLICIES
from warmstart.core.errors import WarmstartError

OffPolicy = SAC | TD3 | TQC | CrossQ


def fit_critic(
    model: BaseAlgorithm,
    steps: int,
    callback: MaybeCallback = None,
    *,
    updates: int = 2_000,
    learning_rate: float | None = None,
    max_steps: int | None = None,
) -> int:
    """Let the frozen policy act in the target and fit the critic to what it earns.

    The steps are counted in ``model.num_timesteps`` and the callback runs in them. The actor, the entropy
    coefficient and all optimizer moments are bit for bit as before; so are the learning-rate schedule and the
    progress that it is asked with.

    Args:
        model: PPO, SAC, TD3, TQC or CrossQ, plain or warmstart's own, with its environment.
        steps: Environment steps. PPO rounds up to whole rollouts (``n_steps × n_envs``).
        callback: Called as in ``learn``, but for the end of training, which is still to come; ends the fit
            early by returning ``False``.
        updates: Gradient steps on the critics after the collection (off policy).
        learning_rate: Of the fit; ``None`` takes the model's current one.
        max_steps: Budget that mustn't be exceeded; PPO rounds it down to whole rollouts.

    Returns:
        The environment steps used: more than ``steps`` where a ``HerReplayBuffer``, which draws from ended
        episodes only, needs more for its first.

    Raises:
        WarmstartError: If the model is of another class, or the buffer's first episode doesn't end.
    """
    if steps < 0 or updates < 0:
        raise WarmstartError(
            f"Fitting the critic takes 0 steps and updates or more, not {steps} and {updates}."
        )
    if not isinstance(model, PPO | SAC | TD3 | TQC | CrossQ):
        raise WarmstartError(
            f"The critic of {type(model).__name__} can't be fitted. Expected PPO, SAC, TD3, TQC or CrossQ."
        )
    limit = steps if max_steps is None else min(steps, max_steps)
    if isinstance(model, PPO):
        limit = critic_steps(steps, model.n_steps * model.n_envs, max_steps)
    if limit <= 0:
        return 0
    start, progress = model.num_timesteps, model._current_progress_remaining
    rate = learning_rate if learning_rate is not None else float(model.lr_schedule(progress))
    _, running = model._setup_learn(limit, callback, False, type(model).__name__)
    running.on_training_start({"self": model}, globals())
    if isinstance(model, PPO):
        _fit_value(model, limit // (model.n_steps * model.n_envs), running, rate)
    else:
        if _collect(model, limit, max_steps, running):
            fit_q(model, updates, rate)
    model._current_progress_remaining = progress
    return model.num_timesteps - start


def critic_steps(steps: int, rollout: int, max_steps: int | None = None) -> int:
    """Return the steps that PPO's fit takes: rounded up to whole rollouts, within the budget if any."""
    rounds = -(-steps // rollout)
    return rollout * (rounds if max_steps is None else min(rounds, max_steps // rollout))


def _fit_value(model: PPO, rounds: int, callback: BaseCallback, learning_rate: float) -> None:
    """Regress the value function on the returns of the frozen policy.

    The targets are discounted Monte Carlo returns, bootstrapped only where a rollout ends (λ = 1): λ-returns
    would lean on the critic that is still wrong.
    """
    assert model.env is not None
    policy, buffer = model.policy, model.rollout_buffer
    critic = [entry.parameter for entry in named_entries(policy) if entry.role == "critic"]
    parameters = [parameter for parameter in critic if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, eps=1e-5) if parameters else None
    gae_lambda, buffer.gae_lambda = buffer.gae_lambda, 1.0
    try:
        for _ in range(rounds):
            if not model.collect_rollouts(model.env, callback, buffer, n_rollout_steps=model.n_steps):
                return
            losses = []
            for _epoch in range(model.n_epochs if optimizer is not None else 0):
                for batch in buffer.get(model.batch_size):
                    values = policy.predict_values(batch.observations).flatten()
                    loss = functional.mse_loss(values, batch.returns)
                    assert optimizer is not None
                    losses.append(descend(model, optimizer, parameters, loss, model.max_grad_norm))
            _log(model, "fit/value_loss", losses)
    finally:
        buffer.gae_lambda = gae_lambda


def descend(
    model: BaseAlgorithm,
    optimizer: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    loss: torch.Tensor,
    max_norm: float = math.inf,
    *,
    allow_unused: bool = False,
) -> float:
    """Take one step down the gradient of a loss, which no other parameter gets; returns the loss.

    Entries that the agent's trainability holds don't move.
    """
    gradients = torch.autograd.grad(loss, parameters, allow_unused=allow_unused)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    rules = getattr(model, "trainability", None)
    if rules is not None:
        rules.hold(model.policy)
    if max_norm < math.inf:
        torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def _log(model: BaseAlgorithm, name: str, losses: list[float]) -> None:
    if losses:
        model.logger.record(name, sum(losses) / len(losses))
        model.logger.dump(step=model.num_timesteps)


def needs_an_episode(model: BaseAlgorithm) -> bool:
    """Whether learning would draw from a HerReplayBuffer at once, and none of its episodes has ended yet."""
    if not isinstance(model, SAC | TD3 | TQC | CrossQ) or model.learning_starts > model.num_timesteps:
        return False
    return not _can_draw(model)


def _can_draw(model: OffPolicy) -> bool:
    buffer = model.replay_buffer
    return not isinstance(buffer, HerReplayBuffer) or bool((buffer.ep_length > 0).any())


def _collect(model: OffPolicy, steps: int, budget: int | None, callback: BaseCallback) -> bool:
    """Let the frozen policy act until the buffer can be drawn from; False if the callback ended it."""
    assert model.env is not None
    assert model.replay_buffer is not None
    used, size, longest = 0, -(-steps // model.n_envs), LONGEST * model.n_envs
    while True:
        every = TrainFreq(size, TrainFrequencyUnit.STEP)
        rollout = model.collect_rollouts(
            model.env, callback, every, model.replay_buffer, model.action_noise, learning_starts=0
        )
        used, size = used + size * model.n_envs, 1
        if not rollout.continue_training:
            return False
        if _can_draw(model):
            return True
        if used + model.n_envs > min(longest, longest if budget is None else budget):
            raise WarmstartError(
                f"HerReplayBuffer draws from ended episodes only, and none ended in {used:,} steps: give "
                "more steps (max_steps), or a time limit (gymnasium.make(..., max_episode_steps=1000))."
            )


def fit_q(model: OffPolicy, updates: int, learning_rate: float) -> None:
    """Update the critics and their targets towards the frozen policy's Q-values, from the replay buffer."""
    assert model.replay_buffer is not None
    parameters = [p for p in _own_parameters(model) if p.requires_grad]
    if not parameters:
        return
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    model.critic.set_training_mode(True)
    losses = []
    for _ in range(updates):
        batch = model.replay_buffer.sample(model.batch_size, env=model._vec_normalize_env)
        losses.append(descend(model, optimizer, parameters, _loss(model, batch)))
        if not isinstance(model, CrossQ):
            polyak_update(model.critic.parameters(), model.critic_target.parameters(), model.tau)
    model.critic.set_training_mode(False)
    _log(model, "fit/critic_loss", losses)


def _loss(model: OffPolicy, batch: Any) -> torch.Tensor:
    """Loss of the critics against what the frozen policy earns."""
    if isinstance(model, TQC | CrossQ) and model.use_sde:
        model.actor.reset_noise()
    if isinstance(model, TQC):
        return quantile_loss(model, batch, target_quantiles(model, batch, _coefficient(model)))
    if isinstance(model, CrossQ):
        return joint_loss(model, batch, _coefficient(model), *next_actions(model, batch))
    discounts = batch.discounts if batch.discounts is not None else model.gamma
    with torch.no_grad():
        targets = batch.rewards + (1 - batch.dones) * discounts * _next_values(model, batch)
    found = model.critic(batch.observations, batch.actions)
    return torch.stack([functional.mse_loss(q, targets) for q in found]).sum()


def _coefficient(model: SAC | TQC | CrossQ) -> torch.Tensor:
    """The entropy coefficient, which is held."""
    return model.ent_coef_tensor if model.log_ent_coef is None else model.log_ent_coef.detach().exp()


def _own_parameters(model: OffPolicy) -> list[torch.nn.Parameter]:
    """The critics' parameters but for an encoder that the frozen actor shares with them."""
    shared = isinstance(model.policy, tuple(ENCODER_POLICIES.values()))
    return [
        parameter
        for name, parameter in model.critic.named_parameters()
        if not (shared and name.startswith("features_extractor.backbone."))
    ]


def _next_values(model: SAC | TD3, batch: Any) -> torch.Tensor:
    """Return what the frozen policy's next actions are worth to the target critics. Shape: (batch, 1).

    SAC: min Q' − α log π, α held (Haarnoja et al. 1812.05905). TD3: min Q' at the action with clipped noise
    (Fujimoto et al. 1802.09477).
    """
    if isinstance(model, SAC):
        alpha = _coefficient(model)
        if model.use_sde:
            model.actor.reset_noise()
        actions, log_prob = model.actor.action_log_prob(batch.next_observations)
        penalty = alpha * log_prob.reshape(-1, 1)
    else:
        noise = torch.randn_like(batch.actions) * model.target_policy_noise
        noise = noise.clamp(-model.target_noise_clip, model.target_noise_clip)
        actions = (model.actor_target(batch.next_observations) + noise).clamp(-1, 1)
        penalty = torch.zeros(())
    values = torch.cat(model.critic_target(batch.next_observations, actions), dim=1)
    return values.amin(dim=1, keepdim=True) - penalty
