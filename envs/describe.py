"""`describe`: spaces, names, control rate and limits of a task, without environments of it."""

from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import mujoco
from gymnasium import spaces

from warmstart.envs.actions import binned_layout, binned_space, split_bins
from warmstart.envs.frames.options import split_options
from warmstart.envs.physics.cameras import pixel_camera
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.pixels import DEFAULT_SIZE, frame_space
from warmstart.envs.robots.base import MujocoTask
from warmstart.envs.robots.table import robots
from warmstart.envs.simulation.dimensions import action_layout, box_spaces
from warmstart.envs.simulation.layouts import Layout
from warmstart.envs.simulation.simulation import Simulation
from warmstart.envs.simulation.steppers import make_stepper
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec


@dataclass(frozen=True)
class TaskDescription:
    """What is known of a task before anything is simulated.

    Attributes:
        task: The task.
        observation_space: Space of one environment's observations.
        action_space: Space of one environment's actions.
        observation_layout: Name, unit and range of every observation; None where frames are observed.
        action_layout: Name, unit and range of every action.
        period: Seconds of a control step; None where the environment doesn't say.
        time_limit: Control steps after which an episode is truncated; None is never.
        parameters: The model's physical parameters, and the visual ones where frames are observed; None
            where the model isn't MuJoCo's.
        render_modes: How an environment of it can be drawn.
    """

    task: Task
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    observation_layout: Layout | None
    action_layout: Layout
    period: float | None
    time_limit: int | None
    parameters: Parameters | None
    render_modes: tuple[str, ...] = ("rgb_array",)

    @property
    def control_rate(self) -> float | None:
        """Control steps per second, Hz."""
        return None if self.period is None else 1 / self.period


def describe(task: str | Task) -> TaskDescription:
    """Describe a task: of a batched MuJoCo task only the model is loaded, any other is made once.

    Raises:
        WarmstartError: The task, an option or a parameter isn't known.
    """
    task = Task.parse(task) if isinstance(task, str) else task
    plain, bins = split_bins(task)
    if bins is not None:
        found = describe(plain)
        return replace(
            found,
            task=task,
            action_space=binned_space(found.action_space, bins),
            action_layout=binned_layout(found.action_layout, bins),
        )
    pixels, options = split_options(str(task), dict(task.options))
    known = robots().get(task.id.removeprefix("warmstart/"))
    if known is None:
        return _made_once(task)
    robot = known.with_options(task.id, options)
    model = robot.model()
    camera = None if pixels is None else pixel_camera(model, pixels.camera, robot.pixel_view, robot.follows)
    parameters = Parameters(model, camera=camera)
    parameters.check(task.context)
    size = _observation_size(robot, model)
    observation_space: spaces.Space[Any]
    observation_space, action_space = box_spaces(model, size)
    layout: Layout | None = robot.observation_layout(model, size)
    if pixels is not None:
        shape = (pixels.height or DEFAULT_SIZE, pixels.width or DEFAULT_SIZE, 3)
        observation_space = frame_space(shape, observation_space if pixels.with_state else None)
        layout = None
    period = float(model.opt.timestep) * robot.frame_skip
    return TaskDescription(
        task,
        observation_space,
        action_space,
        layout,
        action_layout(model),
        period,
        robot.time_limit,
        parameters,
    )


def _observation_size(robot: MujocoTask, model: mujoco.MjModel) -> int:
    """How many numbers a robot observes, from one forward pass of one simulation."""
    stepper = make_stepper(model, 1, 1, robot.contact_forces)
    sim = Simulation(stepper, robot.frame_skip)
    for name in robot.reads:
        sim.read(name)
    stepper.forward()
    size = int(robot.observe(sim).shape[1])
    stepper.close()
    return size


def _made_once(task: Task) -> TaskDescription:
    env: Any = make_vec(task, 1)
    try:
        spec = gymnasium.registry.get(task.id.rpartition(":")[2])
        limit = task.option("time_limit", None if spec is None else spec.max_episode_steps)
        return TaskDescription(
            task,
            env.single_observation_space,
            env.single_action_space,
            env.observation_layout,
            env.action_layout,
            next(iter(env.call("dt")), None) if env.parameters is not None else None,
            limit if isinstance(limit, int) else None,
            env.parameters,
            tuple(env.metadata.get("render_modes", ())),
        )
    finally:
        env.close()
