"""The MuJoCo model and data that an environment holds, whatever it calls them; it may make them anew."""

from dataclasses import dataclass
from functools import reduce
from types import ModuleType
from typing import Any

import gymnasium
import mujoco

from warmstart.core.errors import WarmstartError

_DEEPEST = 4
"""Most attributes to go through: ``env.sim.physics.model``."""
_MOST_OBJECTS = 500
_SKIPPED = frozenset({"mujoco_renderer", "renderer", "viewer", "observation_space", "action_space", "spec"})


@dataclass(frozen=True, eq=False)
class HeldModel:
    """Where an environment has its model and data; both are looked up anew at each use."""

    env: Any
    path: tuple[str, ...]
    """Attributes that lead to the model: ``("model",)``, ``("sim", "mj_model")``."""
    data_path: tuple[str, ...]
    """Attributes that lead to the data; empty where it wasn't found."""

    @property
    def model(self) -> mujoco.MjModel:
        """The model as it is now."""
        return reduce(getattr, self.path, self.env)

    @property
    def data(self) -> mujoco.MjData | None:
        """The data as it is now."""
        return reduce(getattr, self.data_path, self.env) if self.data_path else None


def held_model(env: Any) -> HeldModel | None:
    """Find the MuJoCo model of an environment: its ``model``, else the only one among its attributes.

    Args:
        env: An environment without wrappers.

    Returns:
        Where it is; None where it holds none.

    Raises:
        WarmstartError: It holds several models, none of them called ``model``.
    """
    models = _found(env, mujoco.MjModel)
    if not models:
        return None
    several = {id(reduce(getattr, path, env)) for path in models}
    if models[0] != ("model",) and len(several) > 1:
        raise WarmstartError(
            f"{type(env).__name__} holds several MuJoCo models ({', '.join('.'.join(p) for p in models)}): "
            "call the one that is simulated `model`."
        )
    path = models[0]
    beside = [found for found in _found(env, mujoco.MjData) if found[:-1] == path[:-1]]
    others = beside or _found(env, mujoco.MjData)
    return HeldModel(env, path, others[0] if others else ())


def _found(env: Any, kind: type) -> list[tuple[str, ...]]:
    """Attributes of a kind on the first level that has any, ``model`` and ``data`` first."""
    level: list[tuple[tuple[str, ...], Any]] = [((), env)]
    seen = {id(env)}
    for _ in range(_DEEPEST):
        members = [
            ((*path, name), value)
            for path, owner in level
            for name, value in _attributes(owner)
            if name not in _SKIPPED
        ]
        found = [path for path, value in members if isinstance(value, kind)]
        if found:
            return sorted(found, key=lambda path: (path[-1] not in ("model", "data"), path))
        level = []
        for path, value in members:
            if id(value) not in seen and _may_hold(value) and len(seen) < _MOST_OBJECTS:
                seen.add(id(value))
                level.append((path, value))
    return []


def _attributes(owner: Any) -> list[tuple[str, Any]]:
    held = dict(vars(owner))
    for name in ("model", "data"):
        if isinstance(getattr(type(owner), name, None), property):
            held.setdefault(name, getattr(owner, name, None))
    return list(held.items())


def _may_hold(value: Any) -> bool:
    return hasattr(value, "__dict__") and not isinstance(
        value, type | ModuleType | gymnasium.Space | gymnasium.vector.VectorEnv
    )
