"""Loading MuJoCo models: Gymnasium's own or a user's file, with or without some of their actuators."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.simulation.names import PartNames

_log = logging.getLogger("warmstart.mujoco")
_NOTICED_BY_US = ("The simulation is unstable", "compiler attribute 'settotalmass'")


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
