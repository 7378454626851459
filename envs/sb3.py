"""`as_sb3`: a vector environment of ours as a stable-baselines3 `VecEnv`. Imports torch: import it late."""

import copy
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from warmstart.core.bounds import State, show
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.infos import EACH, Infos, entry, info_names

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


_log = logging.getLogger(__name__)


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
        self._told: set[str] = set()
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    @property
    def spec(self) -> Any:
        """The Gymnasium spec, as `VecMonitor` asks for."""
        return self.vector_env.spec

    def reset(self) -> Any:
        """Begin new episodes, with the seeds given to `seed` if any. Shape: (n, ...)."""
        seeds = list(self._seeds) if any(seed is not None for seed in self._seeds) else None
        options = self._options[0] or None
        if any(each != self._options[0] for each in self._options):
            options = {EACH: list(self._options)}
            if not hasattr(self.vector_env, "members"):
                kind = type(self.vector_env.unwrapped).__name__
                raise WarmstartError(
                    f"Expected the same options for all environments, for {kind} resets them together, found "
                    f"{self._options}."
                )
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
        for name in ("episode", "is_success"):
            if name in of_step:
                self._drop_odd(name, rows)
        if ended.size:
            self._finish(ended, infos, rows)
        return observations, rewards.astype(np.float32), dones, rows

    def _drop_odd(self, name: str, rows: list[Infos]) -> None:
        """Leave out entries that SB3 would count as a Monitor's, and can't."""
        for row in rows:
            value = row.get(name)
            if value is None:
                row.pop(name, None)
            elif not _is_counted(name, value):
                del row[name]
                if name not in self._told:
                    self._told.add(name)
                    _log.warning(
                        "The info entry %r is left out, found %s: stable-baselines3 takes it for %s.",
                        name,
                        show(value),
                        "a Monitor's statistics" if name == "episode" else "whether an episode succeeded",
                    )

    def _finish(self, ended: NDArray[np.intp], infos: Infos, rows: list[Infos]) -> None:
        """Give ended episodes their final observation and statistics; keep the infos of their resets."""
        seconds = round(time.time() - self._start, 6)
        for env in ended.tolist():
            self.reset_infos[env] = entry(infos, env)
            rows[env]["terminal_observation"] = copy.deepcopy(infos["final_obs"][env])
            if not {"r", "l"} <= set(rows[env].get("episode", ())):  # else a Monitor's of the user's
                counted = {"r": float(self._returns[env]), "l": int(self._lengths[env]), "t": seconds}
                rows[env]["episode"] = counted
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

        Of environments of their own (Gymnasium's) it is their attribute, if they have it. Else it is one of
        the vector environment: of a tuple or array with one entry per environment (``contexts``) each gets
        its own; any other is the same for all.

        Raises:
            AttributeError: There is no such attribute.
        """
        ids = list(self._get_indices(indices))
        members = _members(self.vector_env)
        if members is not None and _have(members, attr_name):
            return _values(members, ids, attr_name)
        name = f"single_{attr_name}" if attr_name in ("observation_space", "action_space") else attr_name
        return self._per_env(getattr(self.vector_env, name), ids)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of environments to a value, the same for each.

        Raises:
            WarmstartError: The environments are simulated together and share their attributes: only some
                are asked for, or there is no such attribute.
        """
        ids = list(self._get_indices(indices))
        members = _members(self.vector_env)
        if members is not None:
            _set(members, ids, attr_name, value)
            return
        if sorted(ids) != list(range(self.num_envs)) or not hasattr(self.vector_env, attr_name):
            raise WarmstartError(
                f"Expected an attribute that {type(self.vector_env.unwrapped).__name__} has, for all "
                f"environments, found {attr_name!r}: they are simulated together and share their attributes. "
                "Physics differ by env_method('set_context', context, indices=...); options are given in the "
                "task's text."
            )
        setattr(self.vector_env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of environments, or one of the vector environment.

        Of environments of their own (Gymnasium's) it is their method, if they have it. Of those that are
        simulated together ``set_context`` and ``render`` act on those of `indices`, the others on all.
        """
        ids = list(self._get_indices(indices))
        if method_name == "set_context":
            self.vector_env.set_context(*method_args, env_ids=ids, **method_kwargs)  # type: ignore[attr-defined]
            return [None] * len(ids)
        members = _members(self.vector_env)
        if members is not None and _have(members, method_name):
            return _called(members, ids, method_name, method_args, method_kwargs)
        return self._per_env(getattr(self.vector_env, method_name)(*method_args, **method_kwargs), ids)

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Whether environments have a wrapper; `Monitor` always, for its statistics are in the infos."""
        ids, members = list(self._get_indices(indices)), _members(self.vector_env)
        if issubclass(wrapper_class, Monitor):
            return [True for _ in ids]
        if not isinstance(members, SyncVectorEnv):
            return [False for _ in ids]
        return [is_wrapped(members.envs[env], wrapper_class) for env in ids]

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


Members = SyncVectorEnv | AsyncVectorEnv


def _members(env: Any) -> Members | None:
    """The vector environment whose environments are Gymnasium's; None where they are simulated together."""
    inner = getattr(env, "members", env)
    return inner if isinstance(inner, Members) else None


def _have(members: Members, name: str) -> bool:
    """Whether environments have an attribute; a process that was asked for one that it lacks would end."""
    return bool(members.call("has_wrapper_attr", name)[0])


def _values(members: Members, ids: Sequence[int], name: str) -> list[Any]:
    if isinstance(members, SyncVectorEnv):
        return [members.envs[env].get_wrapper_attr(name) for env in ids]
    return _called(members, ids, name, (), {})


def _called(members: Members, ids: Sequence[int], name: str, args: Any, kwargs: Any) -> list[Any]:
    """Results of a method of some environments; an attribute's value where it is none."""
    if isinstance(members, SyncVectorEnv):
        found = [members.envs[env].get_wrapper_attr(name) for env in ids]
        return [value(*args, **kwargs) if callable(value) else value for value in found]
    if name in ("reset", "step", "close"):
        raise WarmstartError(
            f"Expected another method than {name!r}: Gymnasium's processes only {name} all together, by "
            f"{name}()."
        )
    return _answers(members, ids, "_call", (name, args, kwargs))


def _set(members: Members, ids: Sequence[int], name: str, value: Any) -> None:
    if isinstance(members, SyncVectorEnv):
        for env in ids:
            members.envs[env].set_wrapper_attr(name, value)
    else:
        _answers(members, ids, "_setattr", (name, value))


def _answers(members: AsyncVectorEnv, ids: Sequence[int], command: str, content: Any) -> list[Any]:
    """Ask some of Gymnasium's processes, as `AsyncVectorEnv.call` asks all of them."""
    pipes: Any = members.parent_pipes
    for env in ids:
        pipes[env].send((command, content))
    answers = dict.fromkeys(range(members.num_envs), (None, True)) | {env: pipes[env].recv() for env in ids}
    members._raise_if_errors([done for _, done in answers.values()])
    return [answers[env][0] for env in ids]


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
    """One dict per environment from Gymnasium's vector infos: the entries whose mask is set.

    Args:
        infos: Of the vector environment.
        n: Number of environments.
        columns: What they get besides, each its own; infos of the same name give way.
    """
    columns = dict(columns or {})
    given, partial = frozenset(columns), list[str]()
    for name in info_names(infos):
        values = infos[name]
        if name in given:
            continue
        if isinstance(values, dict) or not infos["_" + name].all():
            partial.append(name)
        elif values.ndim == 1:
            own = values.dtype == object  # an environment may go on changing what it gave
            columns[name] = copy.deepcopy(values.tolist()) if own else values.tolist()
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


def _is_counted(name: str, value: Any) -> bool:
    """Whether an entry is what SB3 averages over episodes under its name."""
    if name == "is_success":
        return not isinstance(value, str) and np.size(value) == 1 and np.asarray(value).dtype.kind in "biuf"
    kinds = (int, float, np.generic)
    return isinstance(value, dict) and all(isinstance(value.get(key), kinds) for key in ("r", "l"))


def env_attribute(env: Any, name: str) -> Any:
    """An attribute of the innermost environment of an SB3 ``VecEnv``; ``None`` where it has none."""
    while env is not None:
        value = vars(env).get(name, getattr(type(env), name, None))
        if value is not None:
            return getattr(env, name)
        env = vars(env).get("venv", vars(env).get("vector_env", vars(env).get("env")))
    return None
