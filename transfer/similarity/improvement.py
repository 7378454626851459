"""What one small step of the policy is worth under a critic that is fitted in the target."""

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch.distributions import Categorical, Normal, kl_divergence

from warmstart.agents.algorithms.terms import before_squashing
from warmstart.agents.evaluation import generators_kept
from warmstart.envs.tasks.task import Task
from warmstart.transfer.similarity.measures import Measure
from warmstart.transfer.similarity.playing import Played, play
from warmstart.transfer.teaching.teacher import Teacher

NAME = "one-step improvement"
STEP = 0.01
"""Mean KL divergence of the step, as trust regions have it (TRPO, 1502.05477)."""
LAMBDA = 0.95
"""Of the advantages (GAE, 1506.02438)."""
FEATURES = 128
RIDGE = 1e-2
"""Per step, of features of unit size."""
SWEEPS = 5
"""Fits of the critic, each to the λ-returns under the one before."""
FOLDS = 2

Floats = NDArray[np.float64]


class Sampler:
    """The source's policy as it explores: actions drawn from its distribution, and kept with what it saw."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self.inputs: list[torch.Tensor] = []
        self.chosen: list[torch.Tensor] = []

    def __call__(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Draw actions, in the target's range. Shape: (n, …)."""
        module: Any = self.teacher.policy.module
        inputs: Any = self.teacher.inputs(observations)
        with torch.no_grad():
            drawn: torch.Tensor = distribution(module, inputs).sample()  # type: ignore[no-untyped-call]
        self.inputs.append(inputs)
        self.chosen.append(drawn)
        acted = drawn.numpy()
        if not self.teacher.discrete and (module.squash_output or not hasattr(module, "mlp_extractor")):
            acted = module.unscale_action(np.tanh(acted))
        return self.teacher.in_target(acted)


def distribution(module: Any, inputs: torch.Tensor) -> Normal | Categorical:
    """What actions are drawn from, before squashing and clipping; gSDE's is its marginal."""
    if hasattr(module, "mlp_extractor"):
        found: Normal | Categorical = module.get_distribution(inputs).distribution
        return found
    mean, log_std = before_squashing(module.actor, inputs)
    return Normal(mean, log_std.exp())


def improvement(
    teacher: Teacher, task: Task, gain: float, gamma: float, episodes: int, seed: int
) -> tuple[Measure, int]:
    """How much one small step of the policy in the target is estimated to add, and the steps that it took.

    The source's policy, exploring as when it was trained, plays the target once in each environment. On
    half of the episodes a critic is fitted to its returns, and the policy takes one step along the gradient
    of its advantages, as long as the mean KL divergence is `STEP`. The other half, whose advantages are under
    the same critic, says what that is worth: the mean over episodes of
    ``Σ (π'(a|s) / π(a|s) − 1) · A(s, a)``, the first order of the change in return (Kakade & Langford 2002).
    Then the halves change places. As shares of what the source earns at home above chance; t interval over
    episodes. No parameter changes.

    Args:
        teacher: The source's policy in the target.
        task: The target.
        gain: What the source earns at home above chance.
        gamma: Discount.
        episodes: Environments.
        seed: Of the first, and of what is drawn.
    """
    if not gain > 0:
        return missing("the source is no better than chance in its own task: there is no scale"), 0
    if episodes < 2 * FOLDS:
        return missing(f"fewer than {2 * FOLDS} episodes to compare"), 0
    module: Any = teacher.policy.module
    if not hasattr(module, "mlp_extractor") and not hasattr(module.actor, "get_action_dist_params"):
        return missing(
            "left out for TD3, whose policy is deterministic: no action is more likely after a step"
        ), 0
    sampler = Sampler(teacher)
    with generators_kept():
        torch.manual_seed(seed)
        played = play(task, sampler, episodes, seed)
    gained = np.zeros(episodes)
    for fold in range(FOLDS):
        held = np.arange(episodes) % FOLDS == fold
        gained[held] = worth(module, sampler, played, held, gamma, seed)
    half = float(stats.t.ppf(0.975, episodes - 1) * gained.std(ddof=1) / math.sqrt(episodes)) / gain
    value = float(gained.mean()) / gain
    told = (
        "what one small step adds to the zero-shot return, by estimate: above 0 the target tells where to go"
    )
    return Measure(NAME, value, value - half, value + half, told), played.steps


def missing(why: str) -> Measure:
    """The measure where it can't be taken."""
    return Measure(NAME, math.nan, math.nan, math.nan, why)


def worth(
    module: Any, sampler: Sampler, played: Played, held: NDArray[np.bool_], gamma: float, seed: int
) -> Floats:
    """What a step that is fitted on the other episodes is worth on those held out. Shape: (held,)."""
    inputs, chosen = torch.stack(sampler.inputs), torch.stack(sampler.chosen)
    usable = used(played)
    values = fitted_values(inputs.reshape(*inputs.shape[:2], -1).double().numpy(), played, ~held, gamma, seed)
    advantages, _ = lambda_returns(played, values, gamma)
    rest = usable & ~held
    stepped = step(module, inputs[rest], chosen[rest], advantages[rest])
    test = usable & held
    with torch.no_grad():
        ratio = (
            log_prob(stepped, inputs[test], chosen[test]) - log_prob(module, inputs[test], chosen[test])
        ).exp()
    gained = np.zeros(advantages.shape)
    gained[test] = (ratio.double().numpy() - 1) * (advantages[test] - advantages[test].mean())
    return np.asarray(gained.sum(0)[held])


def used(played: Played) -> NDArray[np.bool_]:
    """Steps whose successor is known: not the last one before a time limit. Shape: (steps, n_envs)."""
    usable = played.running.copy()
    for env in np.flatnonzero(~played.terminated):
        usable[played.running[:, env].sum() - 1, env] = False
    return usable


def lambda_returns(played: Played, values: Floats, gamma: float) -> tuple[Floats, Floats]:
    """Advantages (GAE) and λ-returns of the steps of `used`; 0 elsewhere. Shapes: (steps, n_envs)."""
    usable = used(played)
    advantages, after = np.zeros_like(values), np.zeros(values.shape[1])
    following = np.zeros(values.shape[1])
    for t in range(len(values) - 1, -1, -1):
        delta = played.rewards[t] + gamma * following - values[t]
        after = np.where(usable[t], delta + gamma * LAMBDA * after, 0.0)
        advantages[t] = after
        following = np.where(played.running[t], values[t], 0.0)
    return advantages, np.where(usable, advantages + values, 0.0)


def fitted_values(
    inputs: Floats, played: Played, fitted: NDArray[np.bool_], gamma: float, seed: int
) -> Floats:
    """Values of a critic that is fitted on some episodes: ridge regression on random features.

    Args:
        inputs: What the policy's networks take. Shape: (steps, n_envs, dimensions).
        played: Rewards and ends.
        fitted: Episodes to fit to. Shape: (n_envs,).
        gamma: Discount.
        seed: Of the features.

    Returns:
        For all episodes. Shape: (steps, n_envs).
    """
    rows = used(played) & fitted
    mean, std = inputs[rows].mean(0), np.maximum(inputs[rows].std(0), 1e-6)
    standard = np.clip((inputs - mean) / std, -5, 5)
    rng = np.random.default_rng(seed)
    size = inputs.shape[-1]
    weights = rng.normal(size=(size, FEATURES)) / math.sqrt(size)
    hidden = np.tanh(standard @ weights + rng.normal(size=FEATURES))
    features = np.concatenate([np.ones((*inputs.shape[:2], 1)), standard, hidden], axis=2)
    known = features[rows]
    penalty = RIDGE * len(known) * np.eye(known.shape[1])
    penalty[0, 0] = 0.0  # the mean is free
    solved = np.linalg.solve(known.T @ known + penalty, known.T)
    values = np.zeros(inputs.shape[:2])
    for _ in range(SWEEPS):
        _, returns = lambda_returns(played, values, gamma)
        values = features @ (solved @ returns[rows])
    return values


def step(module: Any, inputs: torch.Tensor, chosen: torch.Tensor, advantages: Floats) -> Any:
    """A copy of a policy, one step along the gradient of its advantages away; `STEP` says how far."""
    stepped = copy.deepcopy(module)
    weights = torch.as_tensor((advantages - advantages.mean()) / max(advantages.std(), 1e-12))
    parameters = [each.requires_grad_() for each in stepped.parameters()]
    objective = (log_prob(stepped, inputs, chosen) * weights).mean()
    found = torch.autograd.grad(objective, parameters, allow_unused=True)
    moved = [(p, p.detach().clone(), g) for p, g in zip(parameters, found, strict=True) if g is not None]
    norm = math.sqrt(sum(float((g**2).sum()) for _, _, g in moved))
    if norm == 0:
        return stepped
    with torch.no_grad():
        before = distribution(module, inputs)
        low, high = math.log(1e-8 / norm), math.log(1e4 / norm)
        for _ in range(40):  # bisection of the step's length
            length = (low + high) / 2
            for parameter, start, gradient in moved:
                parameter.copy_(start + math.exp(length) * gradient)
            far = per_step(kl_divergence(before, distribution(stepped, inputs))).mean() > STEP
            low, high = (low, length) if far else (length, high)
    return stepped


def log_prob(module: Any, inputs: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of actions. Shape: (rows,)."""
    found: torch.Tensor = distribution(module, inputs).log_prob(chosen)  # type: ignore[no-untyped-call]
    return per_step(found)


def per_step(values: torch.Tensor) -> torch.Tensor:
    """Sum over an action's dimensions. Shape: (rows,)."""
    return values.sum(1) if values.ndim > 1 else values
