"""Running statistics of observations and returns, as SB3 keeps them: read, written, aligned, capped."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from warmstart.core.bounds import NonNegative, Positive, Settings, State
from warmstart.core.errors import WarmstartError
from warmstart.core.files import without_numpy
from warmstart.core.plain import read

Statistic = NDArray[np.float64]
Observation = NDArray[Any] | dict[str, NDArray[Any]]


@dataclass(frozen=True)
class NormalizerState:
    """What a ``VecNormalize`` knows. A Dict observation has its means and variances by key."""

    mean: Statistic | dict[str, Statistic]
    """Running mean of the observations. Shape: that of the observation."""
    var: Statistic | dict[str, Statistic]
    """Running variance of the observations. Shape: that of the observation."""
    count: NonNegative
    """Observations behind them; a large count adapts slowly."""
    clip: Positive = 10.0
    """Bound on a standardised observation."""
    epsilon: NonNegative = 1e-8
    """Added to a variance before its root is taken."""
    return_mean: float = 0.0
    """Running mean of the discounted return."""
    return_var: NonNegative = 1.0
    """Running variance of the discounted return, by whose root rewards are divided."""
    return_count: NonNegative = 1e-4
    """Steps behind them."""
    clip_reward: Positive = 10.0
    """Bound on a scaled reward."""
    gamma: NonNegative = 0.99
    """Discount factor of that return."""
    normalize_obs: bool = True
    """Whether observations are standardised."""
    normalize_reward: bool = True
    """Whether rewards are scaled."""

    def apply(self, observations: Observation) -> Observation:
        """Standardise observations; the statistics don't change.

        Args:
            observations: As the environment gives them. Shape: (…, *observation).

        Returns:
            The same shape, as float32 where standardised, bit-identical to ``VecNormalize.normalize_obs``.
        """
        if not self.normalize_obs:
            return observations
        if isinstance(self.mean, dict):
            assert isinstance(observations, dict)
            assert isinstance(self.var, dict)
            out = dict(observations)
            for key in self.mean:
                out[key] = self._standardise(observations[key], self.mean[key], self.var[key])
            return out
        assert not isinstance(observations, dict)
        assert not isinstance(self.var, dict)
        return self._standardise(observations, self.mean, self.var)

    def _standardise(self, values: NDArray[Any], mean: Statistic, var: Statistic) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):  # beyond what a float holds is beyond the clip, too
            scaled = (values - mean) / np.sqrt(var + self.epsilon)
        return np.clip(scaled, -self.clip, self.clip).astype(np.float32)

    def without_returns(self) -> "NormalizerState":
        """The same observation statistics with fresh return statistics, for another reward scale."""
        return replace(self, return_mean=0.0, return_var=1.0, return_count=1e-4)

    def to_json(self) -> State:
        """Plain values; floats keep every bit."""
        return {name: without_numpy(value) for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, values: Settings) -> "NormalizerState":
        """Inverse of ``to_json``.

        Raises:
            WarmstartError: A setting is missing, unknown or no number, or a variance is negative.
        """
        plain = {key: value for key, value in values.items() if key not in ("mean", "var")}
        bare: NormalizerState = read(cls, {**plain, "mean": {}, "var": {}})
        return replace(
            bare, mean=_moments("mean", values.get("mean")), var=_moments("var", values.get("var"))
        )

    def check_fits(self, space: spaces.Space[Any]) -> None:
        """See that the statistics are of observations like these.

        Raises:
            WarmstartError: They are of other shapes or keys.
        """
        members = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
        for moments in (self.mean, self.var) if self.normalize_obs else ():
            named = moments if isinstance(moments, dict) else {"": moments}
            shapes = {key: value.shape for key, value in named.items()}
            odd = [key for key in shapes if key not in members or members[key].shape != shapes[key]]
            if odd or isinstance(moments, dict) != isinstance(space, spaces.Dict):
                raise WarmstartError(f"expected statistics of {space}, found some of the shapes {shapes}.")


def _moments(key: str, value: Any) -> Statistic | dict[str, Statistic]:
    """A mean or variance out of plain values."""
    if isinstance(value, Mapping):
        return {str(name): np.asarray(_moments(f"{key}.{name}", item)) for name, item in value.items()}
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        found = np.array(np.nan)
    if not np.isfinite(found).all() or (key.startswith("var") and (found < 0).any()):
        raise WarmstartError(f"normalizer.{key}: expected finite numbers, variances of at least 0.")
    return found


def read_normalizer(env: VecEnv | VecNormalize) -> NormalizerState | None:
    """Copy the statistics out of an environment.

    Args:
        env: An SB3 vectorised environment, wrapped or not; or a ``VecNormalize`` unpickled without one.

    Returns:
        The state of its ``VecNormalize``; ``None`` where there is none.
    """
    wrapper = env if isinstance(env, VecNormalize) else unwrap_vec_normalize(env)
    if wrapper is None:
        return None
    mean: Statistic | dict[str, Statistic] = np.zeros(0)
    var: Statistic | dict[str, Statistic] = np.ones(0)
    count = 1e-4
    if wrapper.norm_obs:
        moments: Any = wrapper.obs_rms
        if isinstance(moments, dict):
            mean = {key: rms.mean.copy() for key, rms in moments.items()}
            var = {key: rms.var.copy() for key, rms in moments.items()}
            count = max(float(rms.count) for rms in moments.values())
        else:
            mean, var, count = moments.mean.copy(), moments.var.copy(), float(moments.count)
    return NormalizerState(
        mean=mean,
        var=var,
        count=count,
        clip=float(wrapper.clip_obs),
        epsilon=float(wrapper.epsilon),
        return_mean=float(wrapper.ret_rms.mean),
        return_var=float(wrapper.ret_rms.var),
        return_count=float(wrapper.ret_rms.count),
        clip_reward=float(wrapper.clip_reward),
        gamma=float(wrapper.gamma),
        normalize_obs=bool(wrapper.norm_obs),
        normalize_reward=bool(wrapper.norm_reward),
    )


def write_normalizer(
    env: VecEnv | VecNormalize, state: NormalizerState, *, training: bool | None = None
) -> None:
    """Put statistics into an environment's ``VecNormalize``.

    Args:
        env: An SB3 vectorised environment.
        state: The statistics; clip bounds, epsilon and discount come along.
        training: Whether they go on adapting; ``None`` leaves that as it is.

    Raises:
        WarmstartError: If there is no ``VecNormalize``, or the shapes differ.
    """
    wrapper = env if isinstance(env, VecNormalize) else unwrap_vec_normalize(env)
    if wrapper is None:
        raise WarmstartError(
            "These statistics need a VecNormalize around the environment, found none: build it with "
            "normalize_obs=True, or wrap it in stable_baselines3's VecNormalize."
        )
    if state.normalize_obs != wrapper.norm_obs:
        raise WarmstartError(
            f"The statistics are of norm_obs={state.normalize_obs}, the environment's VecNormalize "
            f"has norm_obs={wrapper.norm_obs}; build it with the same setting."
        )
    if state.normalize_obs:
        moments: Any = wrapper.obs_rms
        known_mean: Any = state.mean
        known_var: Any = state.var
        pairs: list[Any] = [(moments, known_mean, known_var)]
        if isinstance(moments, dict):
            pairs = [(moments[key], known_mean[key], known_var[key]) for key in moments]
        for rms, mean, var in pairs:
            if rms.mean.shape != mean.shape:
                raise WarmstartError(
                    f"Normaliser statistics of shape {mean.shape} don't fit observations of shape "
                    f"{rms.mean.shape}; align them by names first."
                )
            rms.mean, rms.var, rms.count = mean.copy(), var.copy(), float(state.count)
    wrapper.ret_rms.mean = np.asarray(state.return_mean, np.float64)
    wrapper.ret_rms.var = np.asarray(state.return_var, np.float64)
    wrapper.ret_rms.count = float(state.return_count)
    wrapper.clip_obs, wrapper.clip_reward = state.clip, state.clip_reward
    wrapper.epsilon, wrapper.gamma = state.epsilon, state.gamma
    if training is not None:
        wrapper.training = training


class FastVecNormalize(VecNormalize):
    """SB3's ``VecNormalize``, bit for bit, without its copies and with each mean taken once."""

    def step_wait(self) -> VecEnvStepReturn:
        """Step, update the statistics, and return standardised observations and rewards."""
        obs, rewards, dones, infos = self.venv.step_wait()
        if isinstance(obs, dict) or not isinstance(obs, np.ndarray):
            raise WarmstartError("FastVecNormalize takes Box observations; use VecNormalize for Dict ones.")
        self.old_obs = obs
        self.old_reward = rewards
        if self.training and self.norm_obs:
            update(self.obs_rms, obs)  # type: ignore[arg-type]
        normalized = self.normalize_obs(obs)
        if self.training:
            self._update_reward(rewards)
        rewards = self.normalize_reward(rewards)
        if dones.any():
            for index in np.flatnonzero(dones):
                if "terminal_observation" in infos[index]:
                    terminal = self.normalize_obs(infos[index]["terminal_observation"])
                    infos[index]["terminal_observation"] = terminal
            self.returns[dones] = 0
        return normalized, rewards, dones, infos

    def _update_reward(self, reward: NDArray[Any]) -> None:
        self.returns = self.returns * self.gamma + reward
        update(self.ret_rms, self.returns)

    def normalize_obs(self, obs: Any) -> Any:
        """Standardise observations; the statistics don't change."""
        if not self.norm_obs or isinstance(obs, dict):
            return super().normalize_obs(obs)
        rms: Any = self.obs_rms
        scaled = obs - rms.mean
        scaled /= np.sqrt(rms.var + self.epsilon)
        np.clip(scaled, -self.clip_obs, self.clip_obs, out=scaled)
        return scaled.astype(np.float32)


def update(rms: RunningMeanStd, batch: NDArray[Any]) -> None:
    """``RunningMeanStd.update`` with the batch's mean computed once; the same bits.

    Args:
        rms: The running moments.
        batch: New observations. Shape: (n, …).
    """
    n = batch.shape[0]
    mean = np.add.reduce(batch, axis=0) / n
    deviation = batch - mean
    np.multiply(deviation, deviation, out=deviation)
    rms.update_from_moments(mean, np.add.reduce(deviation, axis=0) / n, n)


def vec_normalize(env: VecEnv, **settings: Any) -> VecNormalize:
    """Wrap an environment in SB3's ``VecNormalize``, in the faster equal one where observations are a Box.

    Args:
        env: The environment.
        settings: SB3's arguments of ``VecNormalize``.
    """
    if isinstance(env.observation_space, spaces.Box) and env.observation_space.dtype == np.float64:
        return FastVecNormalize(env, **settings)
    return VecNormalize(env, **settings)
