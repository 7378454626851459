"""MuJoCo models: loaded from files, and found in environments that hold one."""

import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import mujoco
import numpy as np

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.simulation.names import PartNames

_log = logging.getLogger("warmstart.mujoco")
_STRUCTS = mujoco.MjModel.__module__
Where = tuple[str | int, ...]
"""Attributes and keys that lead from an object to one that it holds."""
_NOTICED_BY_US = ("The simulation is unstable", "compiler attribute 'settotalmass'")
_DEEPEST = 4
"""Most attributes to go through: ``env.sim.physics.model``."""
_MOST_OBJECTS = 500
_SKIPPED = frozenset({"mujoco_renderer", "renderer", "viewer", "observation_space", "action_space", "spec"})


def load_model(xml_file: str | Path, without: Sequence[str] = ()) -> mujoco.MjModel:
    """Load a model.

    Args:
        xml_file: A file among Gymnasium's assets (``"ant.xml"``), or a path that starts with ``/``, ``.`` or
            ``~``, as in Gymnasium's environments.
        without: Actuators to leave out, by name; an unnamed actuator has the name of its joint.

    Returns:
        The compiled model.

    Raises:
        WarmstartError: The file doesn't exist or isn't a MuJoCo model, or an actuator isn't known.
    """
    send_engine_messages_to_logging()
    path = model_path(xml_file)
    if not path.is_file():
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise WarmstartError(
            f"Expected a MuJoCo model file, found nothing at {path}{where}. A plugin finds a file beside "
            "itself by Path(__file__).parent, wherever it is run."
        )
    try:
        if not without:
            return mujoco.MjModel.from_xml_path(str(path))
        return _compile_without(mujoco.MjSpec.from_file(str(path)), without)
    except WarmstartError:
        raise
    except ValueError as error:
        raise WarmstartError(f"Expected a MuJoCo model in {path}; MuJoCo says: {error}") from error


def model_path(xml_file: str | Path) -> Path:
    """Where a model file lies: Gymnasium's assets for a bare name, else the path itself."""
    text = str(xml_file)
    if text.startswith(("/", ".", "~")) or isinstance(xml_file, Path):
        return Path(text).expanduser()
    from gymnasium.envs.mujoco import mujoco_env

    return Path(mujoco_env.__file__).parent / "assets" / text


def _compile_without(spec: Any, without: Sequence[str]) -> mujoco.MjModel:
    names = PartNames(spec.compile()).actuators
    for name in without:
        if name not in names:
            raise unknown_name("actuator", name, names)
    if set(names) <= set(without):
        raise WarmstartError("Expected at least one actuator to remain; 'without' names them all.")
    for actuator, name in list(zip(spec.actuators, names, strict=True)):
        if name in without:
            spec.delete(actuator)
    return spec.compile()


def send_engine_messages_to_logging() -> None:
    """Send MuJoCo's warnings to the logger ``warmstart.mujoco`` instead of the file ``MUJOCO_LOG.TXT``.

    A diverged simulation is reported by the environment itself, so the engine's line about it is only logged
    at debug level. Nothing is changed where somebody has installed a handler already.
    """
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(_log_engine_message)


def _log_engine_message(message: str) -> None:
    noticed = any(text in message for text in _NOTICED_BY_US)
    _log.log(logging.DEBUG if noticed else logging.WARNING, "MuJoCo: %s", message)


@dataclass(frozen=True, eq=False)
class HeldModel:
    """Where an environment has its model and data; both are looked up anew at each use."""

    env: Any
    path: Where
    """Attributes and keys that lead to the model: ``("model",)``, ``("sim", "mj_model")``."""
    data_path: Where
    """The same for the data; empty where it wasn't found."""
    spare: tuple[Where, ...] = ()
    """Where other data lie, of other models perhaps."""

    @property
    def model(self) -> mujoco.MjModel:
        """The model as it is now."""
        return reduce(_member, self.path, self.env)

    @property
    def data(self) -> mujoco.MjData | None:
        """The data as it is now."""
        return reduce(_member, self.data_path, self.env) if self.data_path else None

    def times(self) -> tuple[float, ...]:
        """Seconds simulated: those of the data, then of the others; which goes on tells what is simulated."""
        data = () if self.data is None else (self.data,)
        return tuple(each.time for each in (*data, *(reduce(_member, path, self.env) for path in self.spare)))


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
    several = {id(reduce(_member, path, env)) for path in models}
    if models[0] != ("model",) and len(several) > 1:
        names = ", ".join(".".join(map(str, path)) for path in models)
        raise WarmstartError(
            f"{type(env).__name__} holds several MuJoCo models ({names}): "
            "call the one that is simulated `model`."
        )
    path = models[0]
    found = _found(env, mujoco.MjData)
    data = next((each for each in found if each[:-1] == path[:-1]), found[0] if found else ())
    return HeldModel(env, path, data, tuple(each for each in found if each != data))


def makes_models(env: Any) -> bool:
    """Whether an environment's class, or one that it is made of, is written in a module that uses MuJoCo."""
    modules = [sys.modules.get(cls.__module__) for cls in type(env).__mro__]
    used = [value for module in modules if module is not None for value in vars(module).values()]
    return any(value is mujoco or getattr(value, "__module__", None) == _STRUCTS for value in used)


def _found(env: Any, kind: type) -> list[Where]:
    """Attributes of a kind on the first level that has any, ``model`` and ``data`` first."""
    level: list[tuple[Where, Any]] = [((), env)]
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
            return sorted(found, key=lambda path: (path[-1] not in ("model", "data"), tuple(map(str, path))))
        level = []
        for path, value in members:
            if id(value) not in seen and _may_hold(value) and len(seen) < _MOST_OBJECTS:
                seen.add(id(value))
                level.append((path, value))
    return []


def _member(owner: Any, key: Any) -> Any:
    return owner[key] if isinstance(owner, Mapping | list | tuple) else getattr(owner, key)


def _attributes(owner: Any) -> list[tuple[str | int, Any]]:
    """What an object, a mapping or a list holds, by the key that `_member` takes."""
    if isinstance(owner, Mapping):
        return [(key, value) for key, value in owner.items() if isinstance(key, str | int)]
    if isinstance(owner, list | tuple):
        return list(enumerate(owner))
    slots = [name for cls in type(owner).__mro__ for name in np.atleast_1d(vars(cls).get("__slots__", ()))]
    held = {name: getattr(owner, name) for name in slots if hasattr(owner, name) and name != "__dict__"}
    held |= getattr(owner, "__dict__", {})
    for name in ("model", "data"):
        if isinstance(getattr(type(owner), name, None), property):
            with contextlib.suppress(Exception):  # a user's property, which may ask for a reset first
                held.setdefault(name, getattr(owner, name))
    return list(held.items())


def _may_hold(value: Any) -> bool:
    if isinstance(value, Mapping | list | tuple):
        return len(value) <= _MOST_OBJECTS
    has_members = hasattr(value, "__dict__") or hasattr(type(value), "__slots__")
    return has_members and not isinstance(
        value, type | ModuleType | gymnasium.Space | gymnasium.vector.VectorEnv | np.random.Generator
    )
