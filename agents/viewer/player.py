"""A policy that acts in one simulation, and what a hand does to it meanwhile: other physics, pushes."""

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.agents.checkpoints.policy import Policy
from warmstart.core.errors import WarmstartError
from warmstart.envs.batched import BatchedEnv
from warmstart.envs.pixels import compute_positions
from warmstart.envs.robots.table import robots
from warmstart.envs.simulation.fields import STATE
from warmstart.envs.tasks.contexts import Context
from warmstart.envs.tasks.hooks import Perturbation, PerturbedEnv
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec

Array = NDArray[Any]


@dataclass(frozen=True)
class Push:
    """A force on a body.

    Attributes:
        body: Index of the body.
        point: Where it acts, in the body's frame, m; None is the centre of mass. Shape: (3,).
        force: In the world's frame, N. Shape: (3,).
    """

    body: int
    point: Array | None
    force: Array


class Hand(Perturbation):
    """Pushes a body, and remembers the states within a control step.

    Attributes:
        push: What acts now; None is nothing.
        states: State at the beginning of each substep of the last control step. Shape of each: (nstate,).
    """

    def __init__(self) -> None:
        self.push: Push | None = None
        self.states: list[Array] = []

    @override
    def on_substep(self, env: PerturbedEnv, substep: int) -> None:
        assert isinstance(env, BatchedEnv)
        if substep == 0:
            self.states = []
        self.states.append(env.simulations.state[0].copy())
        wrench = env.sim.read("xfrc_applied")[0]
        wrench[...] = 0.0
        push = self.push
        if push is None:
            return
        wrench[push.body, :3] = push.force
        if push.point is not None:
            axes = env.sim.read("xmat")[0, push.body].reshape(3, 3)
            place = env.sim.read("xpos")[0, push.body] + axes @ push.point
            wrench[push.body, 3:] = np.cross(place - env.sim.read("xipos")[0, push.body], push.force)


class Player:
    """One policy's episodes, a control step at a time.

    Args:
        name: What it is called.
        policy: Who acts, deterministically.
        task: Where: a batched MuJoCo task.
        seed: Seed of the first episode.

    Attributes:
        env: Its environment, as the policy observes it.
        inside: The batched environment in it.
        hand: What pushes it.
        total: Undiscounted return of the running episode.
        totals: The same after each of its steps.
        actions: The actions of the running episode. Shape of each: (n_actions,).
        returns: Returns of the episodes that ended.
        model: A copy of the model with the physics in force, to compute poses with.
        follows: Index of the body that a camera follows: the heaviest one that moves.
        extent: How far its moving parts reach, m.

    Raises:
        WarmstartError: The task isn't a batched MuJoCo task.
    """

    def __init__(self, name: str, policy: Policy, task: Task, seed: int = 0) -> None:
        if task.id.removeprefix("warmstart/") not in robots():
            raise WarmstartError(
                f"Only MuJoCo tasks that are simulated here can be viewed, found {task}: `warmstart video` "
                f"films any task. Valid: {', '.join(robots())}."
            )
        self.name, self.policy, self.task, self.seed = name, policy, task, seed
        self.hand = Hand()
        self.env = policy.wrap(make_vec(task, 1, seed, n_threads=1, perturbations=(self.hand,)))
        inside: Any = self.env.unwrapped
        self.inside: BatchedEnv = inside
        for field in ("xfrc_applied", "xmat", "xpos", "xipos"):
            self.inside.sim.read(field)
        self.period = float(self.inside.sim.dt[0])
        self.returns: list[float] = []
        self.reset(seed)
        self.follows = self._heaviest()
        self.extent = self._extent()

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode anew; without a seed the next one."""
        self._observations, _ = self.env.reset(seed=seed)
        self._begin()
        self._refresh()

    def _heaviest(self) -> int:
        return int(np.argmax(np.where(self.model.body_weldid > 0, self.model.body_mass, -1.0)))

    def _extent(self) -> float:
        moving = self.model.body_weldid[self.model.geom_bodyid] > 0
        if not moving.any():
            return 1.0
        radius = self.model.geom_rbound[moving][:, None]
        places = self._data.geom_xpos[moving]
        return float(((places + radius).max(axis=0) - (places - radius).min(axis=0)).max())

    def _begin(self) -> None:
        self.total, self.totals = 0.0, list[float]()
        self.actions: list[Array] = []
        self.hand.states = [self.inside.simulations.state[0].copy()]

    @property
    def steps(self) -> int:
        """Control steps of the running episode."""
        return len(self.totals)

    def step(self) -> bool:
        """Take one control step.

        Returns:
            Whether the episode ended with it; the next one has begun then.
        """
        acts = self.policy.predict(self._observations)
        self._observations, rewards, terminations, truncations, _ = self.env.step(acts)
        self.total += float(rewards[0])
        self.totals.append(self.total)
        self.actions.append(np.atleast_1d(np.asarray(acts[0], dtype=float)).ravel())
        if not (terminations[0] or truncations[0]):
            return False
        self.returns.append(self.total)
        self._begin()
        return True

    def change(self, context: Context) -> None:
        """Put other physics into force from the next step on; the episode goes on.

        Raises:
            WarmstartError: A parameter is unknown, out of bounds or unsound; nothing has been changed then.
        """
        self.inside.set_context(context, now=True)
        self._refresh()

    def _refresh(self) -> None:
        self.model = self.inside.simulations.materialize(0)[0]
        self._data = mujoco.MjData(self.model)
        self.pose()

    def pose(self, share: float = 1.0) -> tuple[Array, Array]:
        """Where the bodies are.

        Args:
            share: How much of the last control step to show: 0 is its beginning, 1 what it led to.

        Returns:
            Positions, m, and orientations as quaternions w, x, y, z. Shapes: (nbody, 3) and (nbody, 4).
        """
        states = self.hand.states
        place = int(share * len(states))
        state = states[place] if place < len(states) else self.inside.simulations.state[0]
        mujoco.mj_setState(self.model, self._data, state, STATE)
        compute_positions(self.model, self._data)
        return self._data.xpos.copy(), self._data.xquat.copy()

    def close(self) -> None:
        """Stop its threads."""
        self.env.close()
