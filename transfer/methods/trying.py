"""Methods that try what they could go on from: the steps of a trial, and starts that are put back."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback

from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.normalization import read_normalizer, write_normalizer
from warmstart.core.bounds import Bounds, Count
from warmstart.transfer.methods.fine_tuning import CRITIC_FIT_STEPS, FineTune

Snapshot = dict[str, Any]
"""Everything in which a warm and a cold start of one agent differ."""


@dataclass(frozen=True)
class Trying(FineTune):
    """A method that tries what it could go on from for a small share of the budget."""

    trial_share: Annotated[float, Bounds(0.0, 0.2)] = 0.02
    """Share of the budget of each trial."""

    least_trial: Count = 32
    """Steps of each environment in a trial, at least."""

    def trials(
        self, model: BaseAlgorithm, callback: MaybeCallback, max_steps: int | None, count: int
    ) -> tuple[int, BaseCallback]:
        """Begin some trials.

        Returns:
            Steps of each environment in one of them, together no more than the budget, and what to call.
        """
        budget = max_steps if max_steps is not None else 20 * CRITIC_FIT_STEPS[algorithm_name(model)]
        wanted = max(self.least_trial, round(self.trial_share * budget / model.n_envs))
        running = model._init_callback(callback)
        running.on_training_start({"self": model}, globals())
        return max(1, min(wanted, budget // (count * model.n_envs))), running


def snapshot(model: BaseAlgorithm) -> Snapshot:
    """What a start is made of: parameters, statistics, exploration, and when learning begins."""
    held = {
        name: getattr(model, name) for name in ("random_steps", "learning_starts") if hasattr(model, name)
    }
    log_ent_coef = getattr(model, "log_ent_coef", None)
    return {
        "policy": {name: tensor.detach().clone() for name, tensor in model.policy.state_dict().items()},
        "normalizer": None if model.env is None else read_normalizer(model.env),
        "log_ent_coef": None if log_ent_coef is None else log_ent_coef.detach().clone(),
        "settings": held,
    }


def restore(model: BaseAlgorithm, held: Snapshot) -> None:
    """Put a start back in place; optimizers are another matter."""
    model.policy.load_state_dict(held["policy"])
    if held["normalizer"] is not None and model.env is not None:
        write_normalizer(model.env, held["normalizer"])
    if held["log_ent_coef"] is not None:
        model.log_ent_coef.data.copy_(held["log_ent_coef"])  # type: ignore[attr-defined]
    for name, value in held["settings"].items():
        setattr(model, name, value)
    model._last_obs = None


@dataclass(frozen=True)
class Tried:
    """The first episode of each environment, or every episode of a single one; cut where the trial ended."""

    returns: NDArray[np.float64]
    """Undiscounted, not scaled. Shape: (n,)."""
    lengths: NDArray[np.int64]
    """Steps. Shape: (n,)."""

    def __getitem__(self, which: slice) -> "Tried":
        return Tried(self.returns[which], self.lengths[which])


def tried(
    model: BaseAlgorithm,
    length: int,
    seed: int,
    callback: BaseCallback,
    actor: Callable[[Any], NDArray[Any]] | None = None,
    *,
    chance: int = 0,
) -> Tried:
    """Let a deterministic policy act in each environment until its first episode ends.

    Args:
        model: Whose environment it is; statistics stand still.
        length: Steps at most.
        seed: Of the starts.
        callback: Runs in the steps, which are counted.
        actor: From observations, not standardised, to actions; None for the model's own policy.
        chance: So many of the last environments draw their actions uniformly instead.
    """
    env = model.env
    assert env is not None
    wrapper = model.get_vec_normalize_env()
    training = wrapper is not None and wrapper.training
    if wrapper is not None:
        wrapper.training = False
    env.seed(seed)
    space = deepcopy(env.action_space)
    space.seed(seed)
    observations: Any = env.reset()
    earned, lasted = np.zeros(env.num_envs), np.zeros(env.num_envs, np.int64)
    running = np.ones(env.num_envs, bool)
    episodes: list[tuple[float, int]] = []
    for _ in range(length):
        if actor is None:
            actions = model.predict(observations, deterministic=True)[0]
        else:
            actions = actor(observations if wrapper is None else wrapper.get_original_obs())
        if chance:
            actions = np.array(actions)
            actions[-chance:] = [space.sample() for _ in range(chance)]
        observations, rewards, dones, infos = env.step(actions)
        plain: Any = rewards if wrapper is None else wrapper.get_original_reward()
        earned[running] += plain[running]
        lasted += running
        running &= ~dones
        model.num_timesteps += env.num_envs
        callback.update_locals({"self": model, "rewards": rewards, "dones": dones, "infos": infos})
        if not callback.on_step():
            break
        if env.num_envs == 1 and dones[0]:
            episodes.append((float(earned[0]), int(lasted[0])))
            earned[0], lasted[0], running[0] = 0.0, 0, True
        elif not running.any():
            break
    if wrapper is not None:
        wrapper.training = training
    model._last_obs = None
    if episodes:
        return Tried(np.array([e for e, _ in episodes]), np.array([n for _, n in episodes]))
    return Tried(earned, lasted)
