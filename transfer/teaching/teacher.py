"""A source's policy, asked about the observations of another task.

Any algorithm and any network may teach any other: actions meet in physical units. Observations and actions
are matched by name, as tensors are; what the source observes and the target doesn't is at the source's mean.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from torch.nn import functional

from warmstart.agents.algorithms.seams import Observations, TensorObservations
from warmstart.agents.algorithms.terms import ActionTargets, before_squashing
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.recurrent import refuse_recurrent
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext, matchings
from warmstart.transfer.carry.source import source_name
from warmstart.transfer.matching.choices import both_continuous

LEAST_LOG_STD = -1.0
"""Least log σ of a target for PPO: a converged teacher's own would end exploration."""
UNKNOWN_LOG_STD = -1.0
"""log σ of the targets of a deterministic teacher."""
WIDEST = 1.0
"""Largest σ, before the squashing, that a Gaussian teacher gives a squashed student: near the edge of the
range its own has no counterpart."""
EDGE = 0.999
"""Largest share of the range whose inverse tangent is asked for."""


class Teacher:
    """Acts, and gives targets for a student's distribution of actions.

    Args:
        source: Whose policy it is.
        model: The student, with its environment.
        context: Names and maps.

    Raises:
        WarmstartError: Nothing matches, or what is observed can't be told from the student's observations.
    """

    def __init__(self, source: Checkpoint, model: BaseAlgorithm, context: TransferContext) -> None:
        refuse_recurrent(source.algorithm)
        self.name = source_name(source)
        self.policy = source.policy()
        self.same = source.observation_space == model.observation_space
        self.squashed = hasattr(getattr(self.policy.module, "actor", None), "get_action_dist_params")
        if not isinstance(model.action_space, spaces.Box | spaces.Discrete):
            raise WarmstartError(
                f"{self.name} can't teach here: the target's actions are {model.action_space}."
            )
        self.source_space: Any = source.action_space
        self.target_space: Any = model.action_space
        self.chosen: NDArray[np.float64] | None = None
        self.choices: NDArray[np.float64] | None = None
        kinds = type(self.source_space), type(self.target_space)
        others = kinds == (spaces.Discrete, spaces.Discrete) and self.source_space != self.target_space
        if kinds[0] is not kinds[1] or others:
            theirs, own = both_continuous(source.task, model.env)
            self.source_space, self.target_space = theirs.space, own.space
            self.chosen, self.choices = theirs.values, own.values
            context = replace(context, source_actions=theirs.layout, target_actions=own.layout)
        together = (self.source_space, self.target_space)
        self.observations, self.actions = matchings(model, source, context, actions=together)
        self.same = self.same and self.observations.identity
        flat = all(isinstance(s, spaces.Box) for s in (source.observation_space, model.observation_space))
        if not self.same and not flat:
            raise WarmstartError(
                f"{self.name} can't teach here: it observes {source.observation_space}, the target "
                f"{model.observation_space}, and only flat observations can be matched."
            )
        if not self.actions.matched:
            raise WarmstartError(
                f"{self.name} can't teach here: none of its actions is one of the target's.\n"
                f"  source: {', '.join(self.actions.source.names)}\n"
                f"  target: {', '.join(self.actions.target.names)}\nSay which is which: action_map."
            )
        self.discrete = isinstance(self.target_space, spaces.Discrete)
        if self.discrete and not self.actions.identity:
            raise WarmstartError(f"{self.name} can't teach here: its choices aren't the target's.")
        mean: Any = None if source.normalizer is None else source.normalizer.mean
        known = isinstance(mean, np.ndarray) and mean.size == len(self.observations.source)
        self.usual = np.reshape(mean, -1) if known else np.zeros(len(self.observations.source))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is guessed: dimensions without a counterpart."""
        found = []
        if self.observations.unused:
            named = ", ".join(self.observations.unused[:6])
            found.append(f"{self.name} sees its own mean for what isn't observed here: {named}.")
        fresh = () if self.discrete else self.actions.fresh
        if fresh:
            found.append(f"{self.name} knows nothing of {', '.join(fresh[:6])}: the middle of the range.")
        return tuple(found)

    def seen(self, observations: Observations) -> Observations:
        """The source's observations for the target's, not standardised. Shape: (n, source dimensions)."""
        if self.same:
            return observations
        assert not isinstance(observations, dict)
        flat = observations.reshape(len(observations), -1)
        found = np.tile(self.usual, (len(flat), 1))
        factors = self.observations.ratios * self.observations.shares
        found[:, [s for _, s in self.observations.matched]] = 0.0
        for t, s in self.observations.matched:
            found[:, s] += flat[:, t] * factors[t]
        return found

    def act(self, observations: Observations) -> NDArray[Any]:
        """Its deterministic actions, in the target's range.

        Args:
            observations: Of the target, not standardised. Shape: (n, …).

        Returns:
            Shape: (n, actions), or (n,) for Discrete.
        """
        if self.discrete:
            return np.asarray(self.policy.predict(self.seen(observations)))
        found = self._in_range(self._moments(observations, deterministic=True)[0])
        return found if self.choices is None else np.abs(found - self.choices).argmin(1)

    def in_target(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Actions of the source's space, clipped or not, as the target takes them.

        Args:
            actions: Shape: (n, source actions), or (n,) for Discrete.

        Returns:
            Shape: (n, actions), or (n,) for Discrete.
        """
        if self.discrete:
            return actions
        if self.chosen is not None:
            actions = self.chosen[np.asarray(actions, int).reshape(-1, 1)]
        found = self._in_range(self._matched(actions))
        return found if self.choices is None else np.abs(found - self.choices).argmin(1)

    def _in_range(self, actions: NDArray[Any]) -> NDArray[Any]:
        """What the source doesn't know at the middle, the rest clipped. Shape: (n, actions)."""
        space = self.target_space
        assert isinstance(space, spaces.Box)
        middle = np.broadcast_to((space.low + space.high) / 2, actions.shape)
        known = np.array([index is not None for index in self.actions.indices])
        return np.clip(np.where(known, actions, middle), space.low, space.high).astype(np.float32)

    def _matched(self, actions: NDArray[Any], fresh: float = 0.0) -> NDArray[Any]:
        """The source's actions in the target's numbers; ``fresh`` where it has none. Shape: (n, actions)."""
        target: Any = self.target_space
        found = np.full((len(actions), int(np.prod(target.shape))), fresh)
        ratios = self.actions.ratios
        for t, s in self.actions.matched:
            found[:, t] = actions[:, s] / ratios[t]
        return found

    def targets(self, model: BaseAlgorithm, observations: TensorObservations) -> ActionTargets:
        """What a student's distribution shall become.

        Args:
            model: The student.
            observations: As its policy takes them. Shape: (n, …).
        """
        raw = unstandardised(model, observations)
        if self.discrete:
            with torch.no_grad():
                logits = functional.log_softmax(self._distribution(raw).logits, 1).to(model.device)
            return ActionTargets(logits, logits, torch.ones(len(logits), 1, device=model.device))
        mean, std = self._moments(raw)
        if self.choices is not None:
            scores = torch.as_tensor(self._scores(mean, std), dtype=torch.float32)
            logits = functional.log_softmax(scores, 1).to(model.device)
            return ActionTargets(logits, logits, torch.ones(len(logits), 1, device=model.device))
        space = self.target_space
        assert isinstance(space, spaces.Box)
        weight = np.array([float(index is not None) for index in self.actions.indices])
        if isinstance(model, PPO):
            least = math.exp(LEAST_LOG_STD)
            std = np.full_like(mean, math.exp(UNKNOWN_LOG_STD)) if std is None else np.maximum(std, least)
        else:
            half = (space.high - space.low) / 2
            mean = np.clip((mean - (space.high + space.low) / 2) / half, -EDGE, EDGE)
            if not isinstance(model, TD3):
                slope = 1 - mean**2
                unknown = math.exp(UNKNOWN_LOG_STD)
                widest = np.inf if self.squashed else WIDEST
                std = np.full_like(mean, unknown) if std is None else np.minimum(std / half / slope, widest)
                mean = np.arctanh(mean)
            else:
                std = np.ones_like(mean)
        pairs = (mean, np.log(std), np.broadcast_to(weight, mean.shape))
        found = (torch.as_tensor(np.ascontiguousarray(x), dtype=torch.float32) for x in pairs)
        return ActionTargets(*(tensor.to(model.device) for tensor in found))

    def _scores(self, mean: NDArray[Any], std: NDArray[Any] | None) -> NDArray[Any]:
        """Logarithm of its density at each choice, but for a constant. Shape: (n, bins)."""
        assert self.choices is not None
        between = float(np.diff(self.choices)[0])
        spread = np.full_like(mean, between / 2) if std is None else np.maximum(std, between / 2)
        found: NDArray[Any] = -(((mean - self.choices) / spread) ** 2) / 2
        return found

    def _moments(
        self, observations: Observations, *, deterministic: bool = False
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Mean and standard deviation of its actions in the target's numbers; no deviation if it has none.

        A squashed Gaussian's are those of the tanh's straight line through its mean, one that chooses has
        those of what its choices stand for, or where it is ``deterministic`` its likeliest choice.
        """
        module: Any = self.policy.module
        space: Any = self.source_space
        with torch.no_grad():
            if self.chosen is not None:
                shares = torch.softmax(self._distribution(observations).logits, 1).numpy()
                if deterministic:
                    return self._matched(self.chosen[shares.argmax(1)][:, None]), None
                mean = (shares * self.chosen).sum(1, keepdims=True)
                std = np.sqrt((shares * (self.chosen - mean) ** 2).sum(1, keepdims=True))
                return self._matched(mean), np.abs(self._matched(std, fresh=1.0))
            if hasattr(module, "mlp_extractor"):
                found = self._distribution(observations)
                mean, std = found.mean.numpy(), found.stddev.numpy()
                if module.squash_output:
                    mean = module.unscale_action(np.tanh(mean))
            else:
                standard = self.inputs(observations)
                half, middle = (space.high - space.low) / 2, (space.high + space.low) / 2
                if hasattr(module.actor, "get_action_dist_params"):
                    before, log_std = before_squashing(module.actor, standard)
                    squashed = torch.tanh(before).numpy()
                    std = half * (1 - squashed**2) * log_std.exp().numpy()
                else:
                    squashed, std = module.actor(standard).numpy(), None
                mean = middle + half * squashed
        return self._matched(mean), None if std is None else np.abs(self._matched(std, fresh=1.0))

    def inputs(self, observations: Observations) -> TensorObservations:
        """What the source's networks take for the target's observations. Shape: (n, …)."""
        seen = self.seen(observations)
        normalizer = self.policy.normalizer
        return self.policy.module.obs_to_tensor(seen if normalizer is None else normalizer.apply(seen))[0]

    def _distribution(self, observations: Observations) -> Any:
        module: Any = self.policy.module
        return module.get_distribution(self.inputs(observations)).distribution


def unstandardised(model: BaseAlgorithm, observations: TensorObservations) -> Observations:
    """A policy's observations as the environment gives them, but for what was clipped.

    Those of PPO's rollout were standardised one by one while the statistics changed, and are undone with the
    latest: in its first rollouts these differ.
    """
    wrapper = model.get_vec_normalize_env()
    plain: Any = (
        {key: value.cpu().numpy() for key, value in observations.items()}
        if isinstance(observations, dict)
        else observations.cpu().numpy()
    )
    return plain if wrapper is None else wrapper.unnormalize_obs(plain)


def standardised(model: BaseAlgorithm, observations: Observations) -> Any:
    """Observations as the environment gives them, as a model's policy takes them now. Shape: (n, …)."""
    wrapper = model.get_vec_normalize_env()
    seen: Any = observations if wrapper is None else wrapper.normalize_obs(observations)
    return model.policy.obs_to_tensor(seen)[0]
