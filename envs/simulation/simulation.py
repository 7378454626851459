"""What a task sees of the simulations: their state and derived fields, one row per environment."""

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.envs.simulation.stepper import Stepper

Array = NDArray[Any]


class Simulation:
    """All simulations of a batched environment, as arrays whose first axis is the environment.

    Attributes:
        n: Number of environments.
        model: The nominal model.
        qpos: Joint positions, live. Shape: (n, nq).
        qvel: Joint velocities, live. Shape: (n, nv).
        ctrl: Controls, live. Shape: (n, nu).
        initial_qpos: Positions of the nominal model's default state. Shape: (nq,).
        initial_qvel: Velocities of that state, zeros. Shape: (nv,).
        timestep: Seconds per substep. Shape: (n,).
        n_substeps: Substeps per control step. Shape: (n,).
        dt: Seconds per control step. Shape: (n,).
        before: What the task kept in `MujocoTask.before_step` for `MujocoTask.reward`.
    """

    def __init__(self, stepper: Stepper, frame_skip: int) -> None:
        self._stepper = stepper
        self.n = stepper.nsim
        self.model: mujoco.MjModel = stepper.model
        self.qpos = stepper.bind("qpos")
        self.qvel = stepper.bind("qvel")
        self.ctrl = stepper.bind("ctrl")
        self.initial_qpos: Array = np.array(self.model.qpos0)
        self.initial_qvel: Array = np.zeros(self.model.nv)
        self.timestep: Array = np.full(self.n, self.model.opt.timestep)
        self.n_substeps = np.full(self.n, frame_skip)
        self.dt: Array = self.timestep * self.n_substeps
        self.before: dict[str, Array] = {}

    def read(self, name: str) -> Array:
        """Live array of an `MjData` field. Shape: (n, ...).

        Fields that MuJoCo computes (``"xpos"``) are one substep behind the state and can't be written; fields
        of the state itself (``"xfrc_applied"``) can.
        """
        return self._stepper.bind(name)

    def model_field(self, name: str) -> Array:
        """Current values of a model field (``"body_mass"``) in every environment. Shape: (n, ...)."""
        return self._stepper.values(name)
