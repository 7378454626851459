"""A task of your own: one class over a MuJoCo model, and everything else works with it.

A crane brings its load over a goal and keeps it from swinging. Run it: ``python docs/examples/own_task.py``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.envs.layouts import Dimension, Layout
from warmstart.envs.mujoco_task import MujocoTask
from warmstart.envs.robots import register_task
from warmstart.envs.simulation import Simulation
from warmstart.envs.vector import make_vec

Array = NDArray[Any]


@dataclass(frozen=True)
class Crane(MujocoTask):
    """Bring the load to the goal without letting it swing.

    The fields are options of the task's text: ``example/Crane-v0:goal=0.5,time_limit=100``.
    """

    xml_file: str = str(Path(__file__).with_name("crane.xml"))
    frame_skip: int = 4
    time_limit: int | None = 250
    goal: float = 1.0

    def reset_state(self, sim: Simulation, rng: np.random.Generator) -> tuple[Array, Array]:
        """Start somewhere on the left, the load at rest."""
        return np.array([rng.uniform(-1.0, 0.0), rng.uniform(-0.05, 0.05)]), np.zeros(2)

    def observe(self, sim: Simulation) -> Array:
        """Distance to the goal (m), swing angle (rad) and their velocities. Shape: (n, 4)."""
        return np.concatenate((sim.qpos - [self.goal, 0.0], sim.qvel), axis=1)

    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        """One for a resting load at the goal, less for distance, swing and effort. Shape: (n,)."""
        distance = np.abs(sim.qpos[:, 0] - self.goal)
        swing = np.abs(sim.qpos[:, 1])
        effort = np.square(actions).sum(axis=1)
        return np.exp(-distance - swing) - 0.01 * effort, {"distance": distance, "swing": swing}

    def terminated(self, sim: Simulation) -> NDArray[np.bool_]:
        """The episode ends when the load swings above the rail. Shape: (n,)."""
        return np.abs(sim.qpos[:, 1]) > np.pi / 2

    def observation_layout(self, model: Any, size: int) -> Layout:
        """Names by which a policy is carried over to another task; optional."""
        del model, size
        return Layout(
            (
                Dimension("slide.position", "m"),
                Dimension("swing.angle", "rad"),
                Dimension("slide.velocity", "m/s"),
                Dimension("swing.velocity", "rad/s"),
            )
        )


register_task("example/Crane-v0", Crane)


def controller(observations: Array) -> Array:
    """Drive towards the goal and damp the swing. Shape: (n, 1)."""
    return np.clip(observations @ np.array([[-1.0], [2.0], [-1.5], [0.5]]), -1, 1)


def mean_return(task: str, steps: int = 250, n_envs: int = 8, random: bool = False) -> float:
    """Mean return of one episode per environment, of the controller or of random actions."""
    env = make_vec(task, n_envs, seed=0)
    observations, _ = env.reset()
    rng = np.random.default_rng(0)
    total = np.zeros(n_envs)
    running = np.ones(n_envs, dtype=bool)
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (n_envs, 1)) if random else controller(observations)
        observations, rewards, terminations, truncations, _ = env.step(actions)
        total += rewards * running
        running &= ~(terminations | truncations)
    env.close()
    return float(total.mean())


if __name__ == "__main__":
    print(f"random actions              {mean_return('example/Crane-v0', random=True):6.1f}")
    print(f"controller                  {mean_return('example/Crane-v0'):6.1f}")
    print(f"controller, weaker motor    {mean_return('example/Crane-v0@drive.gear=x0.3'):6.1f}")
    print(f"controller, nearer goal     {mean_return('example/Crane-v0:goal=0.5'):6.1f}")
