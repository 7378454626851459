"""MuJoCo models: loaded from files, and found in environments that hold one."""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import mujoco

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.simulation.names import PartNames

_log = logging.getLogger("warmstart.mujoco")
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
        raise WarmstartError(f"Expected a MuJoCo model file, found nothing at {path}.")
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
            with contextlib.suppress(Exception):  # a user's property, which may ask for a reset first
                held.setdefault(name, getattr(owner, name))
    return list(held.items())


def _may_hold(value: Any) -> bool:
    return hasattr(value, "__dict__") and not isinstance(
        value, type | ModuleType | gymnasium.Space | gymnasium.vector.VectorEnv
    )
