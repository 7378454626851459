"""Many copies of one MuJoCo task as a `gymnasium.vector.VectorEnv` that resets in the same step."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.divergence import find_diverged, warn_of_divergence
from warmstart.envs.frames.painters import Painter, film_painter
from warmstart.envs.frames.rendering import Frame
from warmstart.envs.physics.cameras import Camera
from warmstart.envs.physics.in_force import EnvContexts, read_contexts
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.physics.visuals import VisualFields
from warmstart.envs.robots.base import INTEGRATORS, MujocoTask
from warmstart.envs.simulation.dimensions import action_layout, box_spaces
from warmstart.envs.simulation.infos import Infos, VectorInfos
from warmstart.envs.simulation.layouts import Layout
from warmstart.envs.simulation.models import send_engine_messages_to_logging
from warmstart.envs.simulation.seeding import check_state, generators, masked_ids
from warmstart.envs.simulation.simulation import Simulation
from warmstart.envs.simulation.steppers import make_stepper
from warmstart.envs.tasks.contexts import Context
from warmstart.envs.tasks.hooks import ContextSource, Ids, Perturbation
from warmstart.envs.tasks.task import Task

Array = NDArray[Any]
StepResult = tuple[Array, Array, NDArray[np.bool_], NDArray[np.bool_], Infos]


class BatchedEnv(VectorEnv[Array, Array, Array]):
    """Environments of one MuJoCo task, stepped together.

    Environment `i` draws its start states from a generator seeded with ``seed + i``, as Gymnasium's vector
    environments do: the same seed gives the same episodes, whatever the number of threads. An episode that
    ends is followed by the next one's first observation in the same step (`AutoresetMode.SAME_STEP`); its
    last observation and info are in ``infos["final_obs"]`` and ``infos["final_info"]``. What a context source
    drew for it is in ``infos["drawn"]``, in the order of `drawn_names`.

    A simulation that diverges (MuJoCo would silently reset it) ends its episode: terminated, reward 0, the
    last sound observation as the final one, ``infos["final_info"]["diverged"]``, counted in `n_diverged`.

    Attributes:
        task: What is simulated.
        robot: The class of the task, with its options.
        sim: The simulations, as tasks and perturbations see them.
        simulations: What steps them: their whole state and the fields of their models.
        parameters: The model's physical parameters.
        n_diverged: Diverged simulations so far.
        visuals: Values of the visual parameters; None where no camera was given.
    """

    def __init__(
        self,
        task: Task,
        robot: MujocoTask,
        n_envs: int,
        seed: int | None = None,
        *,
        n_threads: int = 1,
        stepper: str = "auto",
        context_source: ContextSource | None = None,
        perturbations: Sequence[Perturbation] = (),
        render_mode: str | None = None,
        camera: Camera | None = None,
    ) -> None:
        if n_envs < 1:
            raise WarmstartError(f"Expected at least one environment, found n_envs={n_envs}.")
        if render_mode not in (None, "rgb_array"):
            raise WarmstartError(f"Expected render_mode None or 'rgb_array', found {render_mode!r}.")
        send_engine_messages_to_logging()
        model = robot.model()
        if robot.integrator is not None:
            model.opt.integrator = int(INTEGRATORS[robot.integrator])
        self.task, self.robot = task, robot
        self.num_envs, self.render_mode = n_envs, render_mode
        self.spec = task.spec(robot.time_limit)
        self.simulations = make_stepper(model, n_envs, n_threads, robot.contact_forces, stepper)
        self.sim = Simulation(self.simulations, robot.frame_skip)
        for name in robot.reads:
            self.sim.read(name)
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": max(1, round(1 / float(self.sim.dt[0]))),
            "autoreset_mode": AutoresetMode.SAME_STEP,
        }
        self.parameters = Parameters(model, camera=camera)
        self.visuals = None if camera is None else VisualFields(model, camera, self.simulations)
        self._contexts = EnvContexts(
            self.simulations, self.sim, self.parameters, task.context, context_source, self.visuals
        )
        self._perturbations = tuple(perturbations)
        self._by_substep = any(type(p).on_substep is not Perturbation.on_substep for p in perturbations)
        self._everyone: Ids = np.arange(n_envs, dtype=np.int32)
        self._elapsed = np.zeros(n_envs, dtype=np.int64)
        self._episodes = np.full(n_envs, -1, dtype=np.int64)
        self._generators = generators(seed, self.num_envs)
        self.n_diverged = 0
        self._painter: Painter | None = None
        self.simulations.forward()
        self._observations = _own(robot.observe(self.sim))
        self.single_observation_space, self.single_action_space = box_spaces(
            model, self._observations.shape[1]
        )
        self.action_space = batch_space(self.single_action_space, n_envs)
        self.observation_space = batch_space(self.single_observation_space, n_envs)

    @cached_property
    def observation_layout(self) -> Layout:
        """Name, unit and range of every observation."""
        return self.robot.observation_layout(self.sim.model, self._observations.shape[1])

    @cached_property
    def action_layout(self) -> Layout:
        """Name, unit and range of every action."""
        return action_layout(self.sim.model)

    @property
    def in_frames(self) -> bool:
        """Whether it is observed in frames."""
        return self.visuals is not None

    @property
    def n_threads(self) -> int:
        """Threads that simulate, the caller's included."""
        return self.simulations.n_threads

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, Infos]:
        """Begin new episodes.

        Args:
            seed: Environment i is seeded with ``seed + i``, or the i-th of a list; None draws on. A seed also
                starts the count of episodes anew.
            options: ``{"reset_mask": mask}`` resets only some environments.

        Returns:
            Observations, shape (n, k), and infos.
        """
        ids = masked_ids(options, self.num_envs)
        if seed is not None:
            seeded, self._np_random_seed = generators(seed, self.num_envs), seed  # type: ignore[assignment]
            for env in ids:
                self._generators[env] = seeded[env]
            self._episodes[ids] = -1
        self._begin(ids)
        observations = self._perturbed(self.robot.observe(self.sim)[ids], ids)
        self._observations = self._observations.copy()
        self._observations[ids] = observations
        infos = VectorInfos(self.num_envs)
        infos.add(self._reset_info(), ids)
        return self._observations.copy(), infos.entries

    def step(self, actions: Array) -> StepResult:
        """Take one control step in every environment.

        Args:
            actions: Controls; MuJoCo clips them to the actuators' ranges. Shape: (n, nu).

        Returns:
            Observations (n, k), rewards (n,), terminations (n,), truncations (n,) and infos.

        Raises:
            WarmstartError: The actions have another shape or aren't finite.
        """
        actions = self._checked(actions)
        self._contexts.go_on(self._episodes, self._elapsed)
        for perturbation in self._perturbations:
            actions = perturbation.before_step(self, actions)
        robot, sim, limit = self.robot, self.sim, self.robot.time_limit
        sim.ctrl[...] = actions
        robot.before_step(sim)
        failed = self._advance()
        self._elapsed += 1
        observations = _own(robot.observe(sim))
        rewards, entries = robot.reward(sim, actions)
        rewards, terminations = _own(rewards), robot.terminated(sim)
        truncations = self._elapsed >= (np.inf if limit is None else limit)
        diverged = find_diverged(self.simulations, failed, observations, rewards)
        if diverged is not None:
            flags = self._end_diverged(diverged, rewards, terminations, truncations)
            entries = {**entries, "diverged": flags}
            observations[diverged] = self._observations[diverged]
        if self._perturbations:
            observations = self._perturbed(observations, self._everyone)
        if diverged is not None:
            observations[diverged] = self._observations[diverged]
        infos = VectorInfos(self.num_envs)
        ended = terminations | truncations
        if ended.any():
            self._restart(np.flatnonzero(ended).astype(np.int32), observations, entries, infos)
        else:
            infos.add_all(entries)
        self._observations = observations
        return observations.copy(), rewards, terminations, truncations, infos.entries

    def set_context(
        self,
        context: Context | str | Sequence[Context | str],
        env_ids: Sequence[int] | NDArray[np.integer[Any]] | None = None,
        now: bool = False,
    ) -> None:
        """Set the physics of an environment's next episode and those after it.

        Args:
            context: Changes, or their text (``"gravity=x0.5"``), for all environments or one for each.
            env_ids: The environments, shape (k,); None is all of them.
            now: Whether it holds from the next step on already, within the running episode.

        Raises:
            WarmstartError: A parameter is unknown, out of bounds or unsound.
        """
        ids = self._everyone if env_ids is None else np.asarray(env_ids, dtype=np.int32)
        if ids.size and not 0 <= ids.min() <= ids.max() < (n := self.num_envs):
            raise WarmstartError(f"Expected environments from 0 to {n - 1}, found {ids.tolist()}.")
        self._contexts.set(read_contexts(context, len(ids)), ids, now)

    @property
    def time_limit(self) -> int | None:
        """Steps after which an episode is truncated; None is never."""
        return self.robot.time_limit

    @property
    def elapsed(self) -> NDArray[np.int64]:
        """Steps since each environment's reset. Shape: (n,)."""
        return self._elapsed

    @property
    def episode_ids(self) -> NDArray[np.int64]:
        """Number of each environment's episode, from 0. Shape: (n,)."""
        return self._episodes

    @property
    def drawn_names(self) -> tuple[str, ...]:
        """Parameters that the context source draws, one name per column of ``infos["drawn"]``."""
        source = self._contexts.source
        return () if source is None else tuple(selector for selector, _ in source.terms)

    @property
    def contexts(self) -> tuple[Context, ...]:
        """The context in force in each environment, without what a context source draws."""
        return tuple(self._contexts.in_force)

    @property
    def context_names(self) -> tuple[str, ...]:
        """Parameters that contexts are about, one name per number."""
        return self._contexts.names

    def context_values(self) -> Array:
        """Current physical values of `context_names`, in their units. Shape: (n, k)."""
        return self._contexts.values()

    def render(self, env_ids: Sequence[int] | None = None) -> tuple[Frame, ...] | None:
        """Draw environments, by default all; None without ``render_mode="rgb_array"``.

        Returns:
            A frame for each. Shape: (height, width, 3), uint8.

        Raises:
            WarmstartError: No OpenGL library works.
        """
        if self.render_mode is None:
            return None
        self._painter = self._painter or film_painter(self.robot, self.sim.model)
        ids = range(self.num_envs) if env_ids is None else env_ids
        draw = self._painter.submit(
            lambda renderer: tuple(renderer.draw(*self.simulations.materialize(env)) for env in ids)
        )
        return draw.result()  # type: ignore[no-any-return]

    def state_dict(self) -> State:
        """Everything an equally constructed environment needs to go on bit for bit."""
        return {
            "task": str(self.task),
            "stepper": self.simulations.state_dict(),
            "contexts": self._contexts.state_dict(),
            "perturbations": [p.state_dict() for p in self._perturbations],
            "generators": [generator.bit_generator.state for generator in self._generators],
            "elapsed": self._elapsed.copy(),
            "episodes": self._episodes.copy(),
            "observations": self._observations.copy(),
            "n_diverged": self.n_diverged,
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned.

        Raises:
            WarmstartError: The state is of another task or number of environments.
        """
        check_state(state["task"], len(state["generators"]), str(self.task), self.num_envs)
        self._contexts.load_state_dict(state["contexts"])
        self.simulations.load_state_dict(state["stepper"])
        for perturbation, saved in zip(self._perturbations, state["perturbations"], strict=True):
            perturbation.load_state_dict(saved)
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        self._elapsed[...] = state["elapsed"]
        self._episodes[...] = state["episodes"]
        self._observations = state["observations"].copy()
        self.n_diverged = state["n_diverged"]

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads and free the renderer."""
        del kwargs
        self.simulations.close()
        if self._painter is not None:
            self._painter.close()
            self._painter = None

    def _restart(self, ids: Ids, observations: Array, entries: dict[str, Array], infos: VectorInfos) -> None:
        """Record the final observations and infos, begin the next episodes, put in their observations."""
        infos.add_final(observations, entries, ids)
        infos.add_all(entries, but=ids)
        self._begin(ids)
        observations[ids] = self._perturbed(self.robot.observe(self.sim)[ids], ids)
        infos.add(self._reset_info(), ids)

    def _reset_info(self) -> dict[str, Array]:
        """Info entries of episodes that begin: the task's, and what was drawn."""
        drawn = {"drawn": self._contexts.drawn} if self._contexts.drawn.size else {}
        return {**self.robot.reset_info(self.sim), **drawn}

    def _begin(self, ids: Ids) -> None:
        """Start the next episode of the given environments."""
        sim = self.sim
        self._elapsed[ids] = 0
        self._episodes[ids] += 1
        self._contexts.begin(ids, self._episodes[ids])
        self.simulations.reset(ids)
        for env in ids:
            sim.qpos[env], sim.qvel[env] = self.robot.reset_state(sim, self._generators[env])
        for perturbation in self._perturbations:
            perturbation.on_reset(self, ids)
        self.simulations.forward(ids)

    def _advance(self) -> NDArray[np.intp]:
        """Simulate one control period; environments may differ in their substeps."""
        substeps = self.sim.n_substeps
        if self._by_substep:
            return self._advance_by_substep(substeps)
        first = int(substeps[0])
        if (substeps == first).all():
            return self.simulations.step(None, first)
        groups = [np.flatnonzero(substeps == count).astype(np.int32) for count in np.unique(substeps)]
        return np.concatenate([self.simulations.step(ids, int(substeps[ids[0]])) for ids in groups])

    def _advance_by_substep(self, substeps: NDArray[np.int_]) -> NDArray[np.intp]:
        failed = []
        for substep in range(int(substeps.max())):
            for perturbation in self._perturbations:
                perturbation.on_substep(self, substep)
            going = [(substeps == substep + 1, True), (substeps > substep + 1, False)]
            failed += [
                self.simulations.step(np.flatnonzero(mask).astype(np.int32), 1, last)
                for mask, last in going
                if mask.any()
            ]
        return np.unique(np.concatenate(failed))

    def _end_diverged(
        self, diverged: NDArray[np.intp], rewards: Array, terminations: Array, truncations: Array
    ) -> NDArray[np.bool_]:
        """End the episodes of diverged simulations, in place; returns which they are. Shape: (n,)."""
        if not self.n_diverged:
            warn_of_divergence(str(self.task), diverged)
        self.n_diverged += diverged.size
        rewards[diverged], terminations[diverged], truncations[diverged] = 0.0, True, False
        flags = np.zeros(self.num_envs, dtype=bool)
        flags[diverged] = True
        return flags

    def _perturbed(self, observations: Array, ids: Ids) -> Array:
        for perturbation in self._perturbations:
            observations = perturbation.on_observations(self, observations, ids)
        return observations

    def _checked(self, actions: Array) -> Array:
        actions = np.ascontiguousarray(actions)
        if self._episodes[0] < 0:
            raise ResetNeeded("Expected reset() before step().")
        if actions.shape != self.sim.ctrl.shape:
            raise WarmstartError(f"Expected actions of shape {self.sim.ctrl.shape}, found {actions.shape}.")
        if not np.isfinite(actions).all():
            env = int(np.flatnonzero(~np.isfinite(actions).all(axis=1))[0])
            raise WarmstartError(f"Expected finite actions, found {actions[env]} for environment {env}.")
        return actions


def _own(values: Array) -> Array:
    """The values as float64 in an array of its own, not a view of the simulation's."""
    return np.array(values, dtype=np.float64, copy=None if values.base is None else True)
