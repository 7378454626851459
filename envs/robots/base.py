"""The base class of every MuJoCo task: a model, observations, a reward, an end, all vectorised.

Subclass it for a model of your own (``docs/examples/own_task.py``); the eleven Gymnasium tasks are subclasses
too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from warmstart.core.bounds import Before, Bounds, SettingError, Settings, dotted
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import read, setting_names
from warmstart.envs.simulation.layouts import Dimension, Layout, generic_layout
from warmstart.envs.simulation.models import load_model
from warmstart.envs.simulation.simulation import Simulation

Array = NDArray[Any]
INTEGRATORS = {
    "Euler": mujoco.mjtIntegrator.mjINT_EULER,
    "RK4": mujoco.mjtIntegrator.mjINT_RK4,
    "implicit": mujoco.mjtIntegrator.mjINT_IMPLICIT,
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
}
"""MuJoCo's numerical integrators by name."""


def _integrator(name: Any) -> Any:
    if name is not None and name not in INTEGRATORS:
        raise unknown_name("integrator", str(name), INTEGRATORS)
    return name


@dataclass(frozen=True)
class View:
    """A free camera, as in `mujoco.MjvCamera`; None leaves what MuJoCo chooses for the model.

    Attributes:
        distance: From the point it looks at, m.
        azimuth: Degrees about the vertical; 90 looks along y.
        elevation: Degrees above the horizon, negative looking down.
        lookat: The point it looks at, m; relative to the body's tree in x and y where it follows one.
        fovy: Vertical field of view, degrees.
        trackbodyid: Index of a body that the camera of films tracks.
    """

    distance: float | None = None
    azimuth: float | None = None
    elevation: float | None = None
    lookat: tuple[float, float, float] | None = None
    fovy: float | None = None
    trackbodyid: int | None = None


@dataclass(frozen=True)
class Target:
    """A target task with a name: a shift of a robot's own task.

    Attributes:
        name: What it is called, after the robot: ``heavy-torso``.
        changes: What follows the id in the task's text: ``@torso.mass=x2`` or ``:without=[foot]``.
        description: How it differs from the nominal task.
        source: Where it comes from.
    """

    name: str
    changes: str
    description: str
    source: str = "warmstart"


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
    integrator: Annotated[str | None, Before(_integrator)] = None
    width: int = 480
    height: int = 480
    camera_id: int | None = None
    camera_name: str | None = None
    default_camera_config: Settings | None = None
    max_geom: int = 1000
    visual_options: Mapping[int, bool] | None = None

    gymnasium_id: ClassVar[str] = ""
    """The Gymnasium task that it is equal to."""
    film_view: ClassVar[View] = View()
    """The camera of films where `default_camera_config` is None."""
    pixel_view: ClassVar[View] = View()
    """The camera of pixel observations."""
    follows: ClassVar[str | None] = None
    """Body that the camera of pixel observations follows horizontally; None stands still."""
    short_name: ClassVar[str] = ""
    """What the names of its targets begin with: ``hopper``."""
    targets: ClassVar[tuple[Target, ...]] = ()
    """Its named target tasks."""
    rrls_masses: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Smallest and largest mass of bodies in the Robust RL suite (arXiv 2406.08406), kg."""
    recipe_parts: ClassVar[Mapping[str, str]] = {}
    """What the named randomizations vary (a name in `sim2real.randomization.recipes.PARTS`), and the
    selector of it."""

    def __post_init__(self) -> None:
        for name in ("frame_skip", "time_limit", "width", "height"):  # subclasses annotate them anew
            Bounds(1).check(getattr(self, name), (name,))

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

    def dimensions(self, model: mujoco.MjModel) -> Iterable[Dimension]:
        """Name, unit and range of each number that `observe` returns; none leaves them numbered.

        Args:
            model: The nominal model.
        """
        del model
        return ()

    def observation_layout(self, model: mujoco.MjModel, size: int) -> Layout:
        """Names, units and ranges of the observations; ``obs[0]`` and so on where nobody gives better ones.

        Args:
            model: The nominal model.
            size: How many numbers `observe` returns per environment.
        """
        layout = Layout(tuple(self.dimensions(model)))
        return layout if len(layout) == size else generic_layout(spaces.Box(-np.inf, np.inf, (size,)), "obs")

    @classmethod
    def with_options(cls, task_id: str, options: Settings) -> "MujocoTask":
        """Make the task from options, checked by name and type.

        Raises:
            WarmstartError: An option isn't known or has the wrong type.
        """
        for name in options:
            if name not in setting_names(cls):
                raise unknown_name(f"option of {task_id}", name, setting_names(cls))
        try:
            made: MujocoTask = read(cls, options)
        except SettingError as error:
            raise WarmstartError(f"Option {dotted(error.place)} of {task_id}: {error.message}") from None
        return made


def uniform_noise(sim: Simulation, rng: np.random.Generator, scale: float) -> tuple[Array, Array]:
    """The default pose and velocity, each with uniform noise in ±scale (m, rad; m/s, rad/s).

    Returns:
        Positions, shape (nq,), and velocities, shape (nv,).
    """
    qpos = sim.initial_qpos + rng.uniform(-scale, scale, sim.initial_qpos.size)
    qvel = sim.initial_qvel + rng.uniform(-scale, scale, sim.initial_qvel.size)
    return qpos, qvel


def normal_velocity_noise(sim: Simulation, rng: np.random.Generator, scale: float) -> tuple[Array, Array]:
    """The default pose with uniform noise in ±scale and a normal velocity of that standard deviation.

    Returns:
        Positions (m, rad), shape (nq,), and velocities (m/s, rad/s), shape (nv,).
    """
    qpos = sim.initial_qpos + rng.uniform(-scale, scale, sim.initial_qpos.size)
    qvel = sim.initial_qvel + scale * rng.standard_normal(sim.initial_qvel.size)
    return qpos, qvel


def row_sum_of_squares(values: Array) -> Array:
    """Sum of squares of each row, everything after the first axis flattened. Shape: (n, …) to (n,)."""
    squares: Array = np.square(values)
    total: Array = squares.reshape(len(values), -1).sum(axis=1)
    return total


def rows_within(values: Array, low: Any, high: Any) -> NDArray[np.bool_]:
    """Which rows lie strictly between two bounds, in every column. Shape: (n, k) to (n,)."""
    inside: NDArray[np.bool_] = np.logical_and.reduce((low < values) & (values < high), axis=1)
    return inside


def rows_finite(values: Array) -> NDArray[np.bool_]:
    """Which rows are finite in every column. Shape: (n, k) to (n,)."""
    finite: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(values), axis=1)
    return finite


def planar_position(sim: Simulation) -> dict[str, Array]:
    """First two coordinates and their distance from the origin, m, as info entries. Shape of each: (n,)."""
    x, y = sim.qpos[:, 0].copy(), sim.qpos[:, 1].copy()
    return {"x_position": x, "y_position": y, "distance_from_origin": np.sqrt(x * x + y * y)}
