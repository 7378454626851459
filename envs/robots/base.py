"""The base class of every MuJoCo task: a model, observations, a reward, an end, all vectorised.

Subclass it for a model of your own (``docs/examples/own_task.py``); the eleven Gymnasium tasks are subclasses
too. May import from `warmstart.envs` only.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.simulation.models import load_model
from warmstart.envs.simulation.simulation import Simulation
from warmstart.envs.tasks.layouts import Layout, generic_layout, observation_layout

Array = NDArray[Any]
INTEGRATORS = {
    "Euler": mujoco.mjtIntegrator.mjINT_EULER,
    "RK4": mujoco.mjtIntegrator.mjINT_RK4,
    "implicit": mujoco.mjtIntegrator.mjINT_IMPLICIT,
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
}
"""MuJoCo's numerical integrators by name."""


@dataclass(frozen=True)
class MujocoTask:
    """One task: write a model file's name, `observe`, `reward`, and `terminated` if it can end early.

    The fields of the dataclass are the task's options, so ``my/Task-v0:frame_skip=2`` works at once. Arrays
    that the methods return have one row per environment.

    Attributes:
        xml_file: MuJoCo model; a bare name is one of Gymnasium's assets.
        frame_skip: Substeps per control step.
        time_limit: Control steps after which an episode is truncated; None is never.
        without: Actuators to leave out, by name (unnamed ones have the name of their joint).
        integrator: ``"Euler"``, ``"RK4"``, ``"implicit"`` or ``"implicitfast"``; None is the model's own.
        width: Width of rendered frames, pixels.
        height: Height of rendered frames, pixels.
        camera_id: Camera of the model to render from.
        camera_name: The same, by name.
        default_camera_config: Attributes of the free camera (``distance``, ``lookat``, ``trackbodyid``, ...).
        max_geom: Largest number of geoms in a rendered scene.
        visual_options: Flags of `mujoco.MjvOption` by index.
    """

    xml_file: str = ""
    frame_skip: int = 1
    time_limit: int | None = None
    without: tuple[str, ...] = ()
    integrator: str | None = None
    width: int = 480
    height: int = 480
    camera_id: int | None = None
    camera_name: str | None = None
    default_camera_config: Mapping[str, Any] | None = None
    max_geom: int = 1000
    visual_options: Mapping[int, bool] | None = None

    camera: ClassVar[Mapping[str, Any]] = {}
    """Attributes of the free camera where `default_camera_config` is None."""

    pixel_camera: ClassVar[Mapping[str, Any]] = {}
    """Attributes of the free camera of pixel observations (``distance``, ``azimuth``, ``elevation``,
    ``lookat``, ``fovy``); MuJoCo's free camera fills in the rest."""

    follows: ClassVar[str | None] = None
    """Body that this camera follows horizontally; None stands still."""

    gymnasium_id: ClassVar[str | None] = None
    """The Gymnasium task whose observation names `observe` follows."""

    def model(self) -> mujoco.MjModel:
        """Load the nominal model."""
        return load_model(self.xml_file, self.without)

    @property
    def reads(self) -> tuple[str, ...]:
        """`MjData` fields other than the state that `observe`, `reward` or `terminated` read."""
        return ()

    @property
    def contact_forces(self) -> bool:
        """Whether ``cfrc_ext`` is among them, computed after the step; it needs the slower stepper."""
        return "cfrc_ext" in self.reads

    def reset_state(self, sim: Simulation, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw the start of one episode.

        Args:
            sim: The simulations; `Simulation.initial_qpos` is the model's default pose.
            rng: The generator of the environment that starts.

        Returns:
            Positions, shape (nq,), and velocities, shape (nv,).
        """
        del rng
        return sim.initial_qpos.copy(), sim.initial_qvel.copy()

    def observe(self, sim: Simulation) -> Array:
        """Observations. Shape: (n, k), the same k always."""
        return np.concatenate((sim.qpos, sim.qvel), axis=1)

    def before_step(self, sim: Simulation) -> None:
        """Keep in `Simulation.before` what the reward compares with; called before every step."""

    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        """Reward and info of the step just made.

        Args:
            sim: The simulations after the step.
            actions: The actions as they were given, not clipped. Shape: (n, nu).

        Returns:
            Rewards, shape (n,), and info entries, each with one row per environment.
        """
        raise NotImplementedError(f"{type(self).__name__} has no reward(sim, actions).")

    def terminated(self, sim: Simulation) -> NDArray[np.bool_]:
        """Which episodes ended in a terminal state. Shape: (n,)."""
        return np.zeros(sim.n, dtype=bool)

    def reset_info(self, sim: Simulation) -> dict[str, Array]:
        """Info entries of a reset, each with one row per environment."""
        del sim
        return {}

    def observation_layout(self, model: mujoco.MjModel, size: int) -> Layout:
        """Names, units and ranges of the observations; ``obs[0]`` and so on where nobody gives better ones.

        Args:
            model: The nominal model.
            size: How many numbers `observe` returns per environment.
        """
        if self.gymnasium_id is not None:
            options = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
            layout = observation_layout(self.gymnasium_id, model, options)
            if len(layout) == size:
                return layout
        return generic_layout(spaces.Box(-np.inf, np.inf, (size,)), "obs")

    @classmethod
    def with_options(cls, task_id: str, options: Mapping[str, Any]) -> "MujocoTask":
        """Make the task from options, checked by name and type.

        Raises:
            WarmstartError: An option isn't known or has the wrong type.
        """
        fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
        hints = typing.get_type_hints(cls)
        for name, value in options.items():
            if name not in fields:
                raise unknown_name(f"option of {task_id}", name, fields)
            if not _accepts(hints[name], value):
                raise WarmstartError(
                    f"Option {name} of {task_id}: expected {_type_name(hints[name])}, found {value!r}."
                )
        arguments: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in options.items()}
        made = cls(**arguments)
        if made.integrator is not None and made.integrator not in INTEGRATORS:
            raise unknown_name(f"integrator of {task_id}", made.integrator, INTEGRATORS)
        for name in ("frame_skip", "time_limit", "width", "height"):
            value = getattr(made, name)
            if value is not None and value < 1:
                raise WarmstartError(
                    f"Option {name} of {task_id}: expected a positive whole number, found {value}."
                )
        return made


def _accepts(hint: Any, value: Any) -> bool:
    """Whether an option's value fits its type; whole numbers are also floats, lists also tuples."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_accepts(argument, value) for argument in arguments)
    if hint in (int, float):
        numbers = (int, np.integer) if hint is int else (int, float, np.number)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if origin is tuple:
        fits = isinstance(value, tuple | list)
        return fits and (Ellipsis in arguments or len(value) == len(arguments))
    return isinstance(value, origin or hint)


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
