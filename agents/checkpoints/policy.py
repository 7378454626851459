"""A policy that acts on its own: networks and normaliser, no environment and no optimizer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from typing_extensions import override

from warmstart.agents.checkpoints.normalization import NormalizerState, read_normalizer
from warmstart.agents.observing.base import Observing
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import env_attribute
from warmstart.envs.wrappers import PassingWrapper

Observation = NDArray[Any] | dict[str, NDArray[Any]]


class Policy:
    """Takes observations as the environment gives them and returns actions in the environment's range."""

    def __init__(
        self,
        module: BasePolicy,
        normalizer: NormalizerState | None = None,
        vision: Observing | None = None,
    ) -> None:
        self.module = module
        self.normalizer = normalizer
        self.vision = vision

    @classmethod
    def from_model(cls, model: BaseAlgorithm) -> "Policy":
        """The policy of a model as it is now, with a frozen copy of its environment's normaliser.

        The networks are shared with the model, not copied.
        """
        env = model.get_env()
        kind = RecurrentPolicy if hasattr(model.policy, "lstm_actor") else cls
        return kind(model.policy, None if env is None else read_normalizer(env), env_attribute(env, "vision"))

    def wrap(self, env: VectorEnv[Any, Any, Any]) -> VectorEnv[Any, Any, Any]:
        """A task's environments as this policy observes them: frames become features, or stacks of frames."""
        return self.told(env if self.vision is None else self.vision.wrap(env))

    def told(self, env: VectorEnv[Any, Any, Any]) -> VectorEnv[Any, Any, Any]:
        """Environments, as the policy observes them, that tell it when episodes begin, if it has to know."""
        return env

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """What one observation is."""
        return self.module.observation_space

    @property
    def action_space(self) -> spaces.Space[Any]:
        """What one action is."""
        return self.module.action_space

    def predict(self, observations: Observation, deterministic: bool = True) -> NDArray[Any]:
        """Choose actions, as SB3's ``model.predict`` does on standardised observations.

        Args:
            observations: Not standardised. Shape: (n, …) or a single one of shape (…); a dict of these for
                Dict.
            deterministic: The mean or mode of the policy, or else a sample, drawn from torch's global
                generator.

        Returns:
            Actions in the environment's range. Shape: (n, actions), (n,) for Discrete; without n for a single
            observation.

        Raises:
            WarmstartError: If the observations' shape doesn't fit.
        """
        self._check(observations)
        if self.normalizer is not None:
            observations = self.normalizer.apply(observations)
        with _sound_numbers():
            return self.module.predict(observations, deterministic=deterministic)[0]

    def __call__(self, observations: Observation) -> NDArray[Any]:
        """The deterministic action; shapes as in `predict`."""
        return self.predict(observations)

    def _check(self, observations: Observation) -> None:
        space = self.observation_space
        if isinstance(space, spaces.Dict):
            if not isinstance(observations, Mapping) or set(observations) != set(space.spaces):
                raise WarmstartError(f"Expected observations with the keys {sorted(space.spaces)}.")
            return
        shape = space.shape or ()
        found = np.asarray(observations).shape
        if found[len(found) - len(shape) :] != shape or len(found) > len(shape) + 1:
            raise WarmstartError(
                f"Expected observations of shape {('n', *shape)} or {shape}, found {found}.".replace("'", "")
            )


@contextmanager
def _sound_numbers() -> Iterator[None]:
    """Say so where a policy's numbers make no distribution of actions: torch raises ValueError."""
    try:
        yield
    except ValueError as error:
        reason = str(error).partition(", but found")[0][:300]
        raise WarmstartError(f"The policy gives no action, its numbers aren't sound: {reason}.") from error


class RecurrentPolicy(Policy):
    """A policy with an LSTM, whose state begins anew with every episode.

    `wrap` tells it when episodes begin. In a loop of one's own `reset` does; a batch of another size begins
    anew, too.
    """

    _state: tuple[NDArray[Any], ...] | None = None
    _starts: NDArray[np.bool_] | None = None

    def reset(self, starts: NDArray[np.bool_] | None = None) -> None:
        """Begin anew.

        Args:
            starts: Which environments begin an episode; ``None`` for all. Shape: (n,).
        """
        self._starts = starts
        if starts is None:
            self._state = None

    @override
    def told(self, env: VectorEnv[Any, Any, Any]) -> VectorEnv[Any, Any, Any]:
        return _TellsStarts(env, self)

    @override
    def predict(self, observations: Observation, deterministic: bool = True) -> NDArray[Any]:
        self._check(observations)
        if self.normalizer is not None:
            observations = self.normalizer.apply(observations)
        _, batched = self.module.obs_to_tensor(observations)
        first = next(iter(observations.values())) if isinstance(observations, dict) else observations
        n = len(first) if batched else 1
        if self._state is not None and self._state[0].shape[1] != n:
            self.reset()
        starts = np.zeros(n, bool) if self._starts is None else self._starts
        with _sound_numbers():
            actions, self._state = self.module.predict(observations, self._state, starts, deterministic)
        self._starts = None
        return actions


class _TellsStarts(PassingWrapper):
    """Tells a recurrent policy which environments begin an episode."""

    def __init__(self, env: VectorEnv[Any, Any, Any], policy: RecurrentPolicy) -> None:
        super().__init__(env)
        self._policy = policy

    @override
    def reset(self, **kwargs: Any) -> Any:
        mask = (kwargs.get("options") or {}).get("reset_mask")
        self._policy.reset(None if mask is None else np.asarray(mask, bool))
        return super().reset(**kwargs)

    @override
    def step(self, actions: Any) -> Any:
        stepped = super().step(actions)
        self._policy.reset(np.asarray(stepped[2]) | np.asarray(stepped[3]))
        return stepped


def is_of_critic(name: str) -> bool:
    """Whether a tensor of PPO's policy belongs to its critic, by its name."""
    return name.startswith(("mlp_extractor.value_net.", "value_net."))


def load_tensors(module: BasePolicy, tensors: Mapping[str, torch.Tensor], *, critic: bool = True) -> None:
    """Load a policy's parameters, all of them.

    Args:
        module: The policy.
        tensors: By name.
        critic: Whether they have PPO's critic; else that of the module stays as it is.

    Raises:
        WarmstartError: If a name is missing, unknown or of another shape.
    """
    expected = module.state_dict()
    if not critic:
        tensors = {**{name: value for name, value in expected.items() if is_of_critic(name)}, **tensors}
    problems = [f"{name} is missing" for name in expected if name not in tensors]
    problems += [f"{name} is not expected" for name in tensors if name not in expected]
    problems += [
        f"{name} has the shape {tuple(tensors[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    problems += [
        f"{name} holds {tensors[name].dtype}, expected {value.dtype}"
        for name, value in expected.items()
        if name in tensors and tensors[name].is_floating_point() != value.is_floating_point()
    ]
    spread = tensors.get("log_std")
    if spread is not None and not (0 < spread.exp().min() <= spread.exp().max() < torch.inf):
        problems.append(f"log_std is from {spread.min():g} to {spread.max():g}, which makes no distribution")
    if problems:
        raise WarmstartError(f"The tensors don't fit the policy: {'; '.join(problems[:6])}.")
    module.load_state_dict(dict(tensors))
