"""Frames as observations of the batched tasks, drawn by several threads with an OpenGL context each."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.core.bounds import State
from warmstart.envs.batched import BatchedEnv
from warmstart.envs.frames.options import PixelOptions
from warmstart.envs.frames.painters import Painter
from warmstart.envs.frames.rendering import QUALITIES, FrameRenderer
from warmstart.envs.physics.cameras import Camera
from warmstart.envs.simulation.fields import STATE
from warmstart.envs.simulation.infos import Infos
from warmstart.envs.simulation.layouts import Layout
from warmstart.envs.tasks.hooks import Perturbation, PerturbedEnv
from warmstart.envs.wrappers import Ids, ObservationWrapper

Array = NDArray[Any]
Frames = NDArray[np.uint8]
DEFAULT_SIZE = 84
_DRAWN_FIELDS = ("geom_size", "qpos0")
"""Model fields that contexts may change and that a frame shows."""


class FrameDrawer:
    """Draws the current frames of a batched environment's simulations.

    A frame doesn't depend on the number of threads.

    Args:
        env: The environment, made with the camera.
        camera: Where frames are seen from.
        options: Size and quality.
        n_threads: Threads that draw.
    """

    def __init__(self, env: BatchedEnv, camera: Camera, options: PixelOptions, n_threads: int) -> None:
        self.height, self.width = options.height or DEFAULT_SIZE, options.width or DEFAULT_SIZE
        self._env = env
        robot = env.robot
        make = partial(
            FrameRenderer,
            mujoco.MjModel.__copy__(env.sim.model),
            camera,
            self.width,
            self.height,
            QUALITIES[options.quality],
            robot.max_geom,
            robot.visual_options,
        )
        self._painters = [Painter(make) for _ in range(max(1, n_threads))]

    def draw(self, ids: Ids, out: Frames) -> None:
        """Draw the frames of some environments.

        Args:
            ids: The environments. Shape: (n,).
            out: Where their frames go. Shape: (n, height, width, 3).

        Raises:
            WarmstartError: No OpenGL library works.
        """
        simulation = self._env.simulations
        varying = [name for name in _DRAWN_FIELDS if simulation.values(name).strides[0]]
        fields = {name: simulation.values(name) for name in varying}
        todo = iter(list(zip(ids.tolist(), out, strict=True)))  # who is done first takes the next
        job = partial(self._draw_some, todo, fields)
        waiting = [painter.submit(job) for painter in self._painters[: len(ids)]]
        for each in waiting:
            each.result()

    def _draw_some(
        self, todo: Iterator[tuple[int, Frames]], fields: dict[str, Array], renderer: FrameRenderer
    ) -> None:
        model, data = renderer.model, renderer.data
        state, visuals = self._env.simulations.state, self._env.visuals
        assert visuals is not None
        for env, frame in todo:
            for name, values in fields.items():
                getattr(model, name)[...] = values[env]
            renderer.apply(visuals.row(env))
            mujoco.mj_setState(model, data, state[env], STATE)
            compute_positions(model, data)
            renderer.draw(model, data, out=frame)

    def close(self) -> None:
        """Free the contexts and end the threads."""
        for painter in self._painters:
            painter.close()


def compute_positions(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Compute what a frame shows from the state, and nothing else."""
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)
    if model.nflex:
        mujoco.mj_flex(model, data)
    if model.ntendon:
        mujoco.mj_tendon(model, data)


def frame_space(shape: tuple[int, int, int], state: spaces.Space[Any] | None) -> spaces.Space[Any]:
    """Space of one frame, alone or beside the state. Shape of a frame: (height, width, 3), uint8."""
    frame = spaces.Box(0, 255, shape, np.uint8)
    return frame if state is None else spaces.Dict({"pixels": frame, "state": state})


class PixelEnv(ObservationWrapper):
    """A batched task observed in frames, alone or beside its state.

    Observations are uint8 frames (n, height, width, 3), or a dict of them under ``pixels`` and of the state
    under ``state``. What else there is (contexts, counters, `render`) is the batched environment's.
    """

    env: BatchedEnv

    def __init__(
        self, env: BatchedEnv, watcher: "FrameWatcher", drawer: FrameDrawer, with_state: bool
    ) -> None:
        shape = (drawer.height, drawer.width, 3)
        super().__init__(env, frame_space(shape, env.single_observation_space if with_state else None))
        self._watcher, self._drawer, self._with_state = watcher, drawer, with_state
        watcher.frames = np.zeros((env.num_envs, *shape), dtype=np.uint8)
        watcher.drawer = drawer

    @property
    def observation_layout(self) -> Layout | None:
        """Frames have no names; None."""
        return None

    @property
    def state_layout(self) -> Layout:
        """Name, unit and range of every number of the state."""
        return self.env.observation_layout

    @override
    def observed(self, observations: Array, ids: Ids) -> Any:
        frames = self._watcher.frames.copy() if ids is self._everyone else self._watcher.frames[ids]
        return self._joined(frames, observations)

    @override
    def final(self, observations: Array, ids: Ids, infos: Infos) -> Any:
        diverged = infos["final_info"].get("diverged", np.zeros(self.num_envs, dtype=bool))[ids]
        frames = self._watcher.final[ids]
        frames[diverged] = self._watcher.before[ids[diverged]]  # the last sound ones
        return self._joined(frames, observations)

    def _joined(self, frames: Frames, state: Array) -> Any:
        return {"pixels": frames, "state": state} if self._with_state else frames

    @override
    def state_dict(self) -> State:
        return {**super().state_dict(), "frames": self._watcher.frames.copy()}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._watcher.frames[...] = state["frames"]

    @override
    def close(self, **kwargs: Any) -> None:
        self._drawer.close()
        self.env.close(**kwargs)


class FrameWatcher(Perturbation):
    """Draws frames at the moments at which observations are made; changes nothing.

    Attributes:
        frames: The current frames. Shape: (n, height, width, 3).
        final: Frames at the last step, before ended episodes began anew.
        before: Frames one step earlier.
        drawer: Who draws.
    """

    frames: Frames
    drawer: FrameDrawer

    def __init__(self) -> None:
        self.final: Frames = np.zeros(0, dtype=np.uint8)
        self.before: Frames = self.final
        self._stepping = False

    def before_step(self, env: PerturbedEnv, actions: Array) -> Array:
        """Note that the next observations are a step's, not those of episodes that begin. Shape: (n, nu)."""
        del env
        self._stepping = True
        return actions

    def on_observations(self, env: PerturbedEnv, observations: Array, ids: Ids) -> Array:
        """Draw the frames of the environments whose observations are being made. Shape: (len(ids), k)."""
        del env
        if self._stepping:
            self._stepping = False
            self.before = self.frames
            self.frames = self.final = np.empty_like(self.frames)
            self.drawer.draw(ids, self.frames)
            return observations
        drawn = np.empty((len(ids), *self.frames.shape[1:]), dtype=np.uint8)
        self.drawer.draw(ids, drawn)
        self.frames = self.frames.copy()
        self.frames[ids] = drawn
        return observations
