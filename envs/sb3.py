"""`as_sb3`: a vector environment of ours as a stable-baselines3 `VecEnv`. Imports torch: import it late."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.infos import Infos, entry, info_names

Array = NDArray[Any]


def as_sb3(env: VectorEnv[Any, Any, Any]) -> "SB3VecEnv":
    """Make a stable-baselines3 `VecEnv` of a vector environment that resets in the same step.

    Infos hold what SB3 expects: ``terminal_observation`` and ``TimeLimit.truncated``, and like `VecMonitor`
    ``episode`` with return ``r``, length ``l`` and seconds ``t`` when an episode ends. Rewards are float32
    and observations have the space's type, as in `DummyVecEnv`.

    Raises:
        WarmstartError: The environment resets in another way.
    """
    return SB3VecEnv(env)


class SB3VecEnv(VecEnv):
    """Adapts a vector environment to SB3's interface.

    Attributes:
        vector_env: The environment it adapts.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise WarmstartError(
                "Expected a vector environment that resets in the same step (AutoresetMode.SAME_STEP), found "
                f"{mode}; make it with warmstart.make_vec, or with autoreset_mode=AutoresetMode.SAME_STEP."
            )
        self.vector_env = env
        self.actions: Array = np.zeros(0)
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, dtype=np.int64)
        self._start = time.time()
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    @property
    def spec(self) -> Any:
        """The Gymnasium spec, as `VecMonitor` asks for."""
        return self.vector_env.spec

    def reset(self) -> Any:
        """Begin new episodes, with the seeds given to `seed` if any. Shape: (n, ...)."""
        seeds = list(self._seeds) if any(seed is not None for seed in self._seeds) else None
        options = self._options[0] or None
        observations, infos = self.vector_env.reset(seed=seeds, options=options)  # type: ignore[arg-type]
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0
        self._lengths[:] = 0
        self.reset_infos = _rows(infos, self.num_envs)
        return observations

    def step_async(self, actions: Array) -> None:
        """Keep the actions for `step_wait`. Shape: (n, …)."""
        self.actions = actions

    def step_wait(self) -> tuple[Any, Array, Array, list[Infos]]:
        """Take the step; see stable-baselines3's `VecEnv.step_wait`.

        Returns:
            Observations, shape (n, …) or a dict of such arrays; rewards, float32, and dones, shape (n,); an
            info for each environment.
        """
        observations, rewards, terminations, truncations, infos = self.vector_env.step(self.actions)
        dones = terminations | truncations
        self._returns += rewards
        self._lengths += 1
        ended = np.flatnonzero(dones)
        of_step = infos
        if ended.size:
            of_step = _with_final_infos(infos, infos["final_info"], ended, self.num_envs)
        truncated = (truncations & ~terminations).tolist()
        rows = _rows(of_step, self.num_envs, {"TimeLimit.truncated": truncated})
        if ended.size:
            self._finish(ended, infos, rows)
        return observations, rewards.astype(np.float32), dones, rows

    def _finish(self, ended: NDArray[np.intp], infos: Infos, rows: list[Infos]) -> None:
        """Give ended episodes their final observation and statistics; keep the infos of their resets."""
        seconds = round(time.time() - self._start, 6)
        for env in ended.tolist():
            self.reset_infos[env] = entry(infos, env)
            rows[env]["terminal_observation"] = infos["final_obs"][env]
            rows[env]["episode"] = {
                "r": float(self._returns[env]),
                "l": int(self._lengths[env]),
                "t": seconds,
            }
        self._returns[ended] = 0
        self._lengths[ended] = 0

    def close(self) -> None:
        """Close the environment."""
        self.vector_env.close()

    def get_images(self) -> Sequence[Array | None]:
        """A frame of every environment. Shape of each: (height, width, 3), uint8."""
        frames: Any = self.vector_env.render()
        return list(frames or [None] * self.num_envs)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute for each environment.

        A tuple or array of the vector environment with one entry per environment (``contexts``) gives each
        its own; any other attribute is the same for all.

        Raises:
            AttributeError: There is no such attribute.
        """
        ids = list(self._get_indices(indices))
        if not hasattr(self.vector_env, attr_name) and hasattr(self.vector_env, "call"):
            values = self.vector_env.call(attr_name)
            return [values[env] for env in ids]
        return self._per_env(getattr(self.vector_env, attr_name), ids)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of all environments.

        Raises:
            WarmstartError: Only some are asked for; they share their attributes.
        """
        if indices is not None and sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise WarmstartError(
                f"Expected to set {attr_name!r} for all environments: they share their attributes. "
                "Physics differ by env_method('set_context', context, indices=...)."
            )
        if not hasattr(self.vector_env, attr_name) and hasattr(self.vector_env, "set_attr"):
            self.vector_env.set_attr(attr_name, value)
        else:
            setattr(self.vector_env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the vector environment and hand its result to each environment.

        ``set_context`` and ``render`` act on the environments of `indices`; the others on all of them.
        """
        ids = list(self._get_indices(indices))
        if method_name == "set_context":
            self.vector_env.set_context(*method_args, env_ids=ids, **method_kwargs)  # type: ignore[attr-defined]
            return [None] * len(ids)
        if not hasattr(self.vector_env, method_name) and hasattr(self.vector_env, "call"):
            values = self.vector_env.call(method_name, *method_args, **method_kwargs)
            return [values[env] for env in ids]
        return self._per_env(getattr(self.vector_env, method_name)(*method_args, **method_kwargs), ids)

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Whether the environments do what a wrapper does: only `Monitor`'s episode statistics."""
        return [issubclass(wrapper_class, Monitor) for _ in self._get_indices(indices)]

    def state_dict(self) -> State:
        """State of the environments and of the episode statistics."""
        return {
            "vector_env": self.vector_env.state_dict(),  # type: ignore[attr-defined]
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
            "seeds": list(self._seeds),
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned."""
        self.vector_env.load_state_dict(state["vector_env"])  # type: ignore[attr-defined]
        self._returns[...] = state["returns"]
        self._lengths[...] = state["lengths"]
        self._seeds = list(state["seeds"])

    def _per_env(self, value: Any, ids: Iterable[int]) -> list[Any]:
        each = isinstance(value, tuple | np.ndarray) and len(value) == self.num_envs
        return [value[env] if each else value for env in ids]


def _with_final_infos(infos: Infos, final: Infos, ended: NDArray[np.intp], n: int) -> Infos:
    """Vector infos in which ended episodes have their last info instead of that of their reset."""
    merged: Infos = {}
    for name in dict.fromkeys((*info_names(infos), *info_names(final))):
        mask = infos["_" + name].copy() if name in infos else np.zeros(n, dtype=bool)
        mask[ended] = final["_" + name][ended] if name in final else False
        if name not in infos or name not in final:
            values = final[name] if name in final else infos[name]
        elif _differ(infos[name], final[name]):
            values = np.full(n, None, dtype=object)  # an entry that changed its type or shape
            for env in np.flatnonzero(mask).tolist():
                values[env] = entry(final[name] if env in ended else infos[name], env)
        elif isinstance(infos[name], dict):
            values = _with_final_infos(infos[name], final[name], ended, n)
        else:
            values = infos[name].copy()
            values[ended] = final[name][ended]
        if mask.any():
            merged[name], merged["_" + name] = values, mask
    return merged


def _differ(first: Any, second: Any) -> bool:
    """Whether two entries' arrays are of another kind, type or shape."""
    if isinstance(first, dict) or isinstance(second, dict):
        return not (isinstance(first, dict) and isinstance(second, dict))
    return bool(first.dtype != second.dtype or first.shape != second.shape)


def _rows(infos: Infos, n: int, columns: dict[str, list[Any]] | None = None) -> list[Infos]:
    """One dict per environment from Gymnasium's vector infos: the entries whose mask is set."""
    columns = dict(columns or {})
    partial: list[str] = []
    for name in info_names(infos):
        values = infos[name]
        if isinstance(values, dict) or not infos["_" + name].all():
            partial.append(name)
        elif values.ndim == 1:
            columns[name] = values.tolist()
        else:
            columns[name] = list(values)
    names = tuple(columns)
    rows: list[Infos] = [{} for _ in range(n)]
    if columns:
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for name in partial:
        for env in np.flatnonzero(infos["_" + name]).tolist():
            rows[env][name] = entry(infos[name], env)
    return rows


def env_attribute(env: Any, name: str) -> Any:
    """An attribute of the innermost environment of an SB3 ``VecEnv``; ``None`` where it has none."""
    while env is not None:
        value = vars(env).get(name, getattr(type(env), name, None))
        if value is not None:
            return getattr(env, name)
        env = vars(env).get("venv", vars(env).get("vector_env", vars(env).get("env")))
    return None
