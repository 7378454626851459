"""Any Gymnasium environment behind the interface of `BatchedEnv`, in Gymnasium's own vector environments."""

import copy
import multiprocessing
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.divergence import not_finite
from warmstart.envs.frames.options import PixelOptions, split_options
from warmstart.envs.physics.in_force import read_contexts
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.robots.table import GYMNASIUM_TASKS, observation_layout
from warmstart.envs.simulation.dimensions import action_layout
from warmstart.envs.simulation.infos import Infos, PlainVectorEnv, ProcessVectorEnv
from warmstart.envs.simulation.layouts import Layout, generic_layout
from warmstart.envs.simulation.models import send_engine_messages_to_logging
from warmstart.envs.simulation.seeding import check_state
from warmstart.envs.single.env import SingleEnv
from warmstart.envs.single.physics import AttributePhysics, ModelPhysics
from warmstart.envs.single.pixels import observe_frames
from warmstart.envs.tasks.contexts import Context, parse_context
from warmstart.envs.tasks.hooks import ContextSource
from warmstart.envs.tasks.task import Task

Array = NDArray[Any]


class GymnasiumVectorEnv(VectorEnv[Any, Any, Any]):
    """Gymnasium's own environments, resetting in the same step.

    They run one after another in this process or, with a step timeout, in a process each.

    Attributes:
        task: What is simulated.
        parameters: Physical parameters where the environment's model is MuJoCo's, else None: contexts are
            then about the environment's public numeric attributes.
        n_diverged: Diverged MuJoCo simulations so far.
    """

    def __init__(
        self,
        task: Task,
        n_envs: int,
        seed: int | None = None,
        *,
        step_timeout: float | None = None,
        render_mode: str | None = None,
        pixels: PixelOptions | None = None,
        context_source: ContextSource | None = None,
    ) -> None:
        if step_timeout is not None and not step_timeout > 0:
            raise WarmstartError(f"Expected a positive step_timeout in seconds, found {step_timeout}.")
        self.task, self.num_envs, self.render_mode = task, n_envs, render_mode
        self.drawn_names = () if context_source is None else tuple(name for name, _ in context_source.terms)
        makers = [_maker(task, render_mode, pixels, context_source, env_id) for env_id in range(n_envs)]
        self._example = makers[0]()
        self._physics = self._example.physics
        self._physics.check(task.context)
        self.parameters: Parameters | None = getattr(self._physics, "parameters", None)
        self._step_timeout = step_timeout
        same_step = AutoresetMode.SAME_STEP
        self._env: SyncVectorEnv | AsyncVectorEnv
        if step_timeout is None:
            self._env = PlainVectorEnv([lambda: self._example, *makers[1:]], autoreset_mode=same_step)
        else:
            self._env = ProcessVectorEnv(makers, autoreset_mode=same_step)
        self.metadata = {**self._env.metadata, "autoreset_mode": same_step}
        self.spec = copy.deepcopy(self._example.env.spec)
        self.single_observation_space = self._env.single_observation_space
        self.single_action_space = self._env.single_action_space
        self.observation_space = self._env.observation_space
        self.action_space = self._env.action_space
        self.n_diverged = 0
        self._first_seed = seed
        self._ids = np.arange(n_envs)
        self._elapsed = np.zeros(n_envs, dtype=np.int64)
        self._names = list(dict.fromkeys(change.selector for change in task.context))
        self._wanted: list[Context] = [()] * n_envs
        if task.context:
            self.set_context(task.context)

    @cached_property
    def observation_layout(self) -> Layout:
        """Names of the observations: those of Gymnasium's MuJoCo v5 tasks, else ``obs[0]`` and so on."""
        if self.task.id in GYMNASIUM_TASKS:
            return observation_layout(self.task.id, self._model, dict(self.task.options))
        return generic_layout(self.single_observation_space, "obs")

    @cached_property
    def action_layout(self) -> Layout:
        """Names of the actions: those of the joints where the model is MuJoCo's."""
        if isinstance(self.single_action_space, spaces.Box) and self.parameters is not None:
            layout = action_layout(self._model)
            if len(layout) == spaces.utils.flatdim(self.single_action_space):
                return layout
        prefix = "choice" if isinstance(self.single_action_space, spaces.Discrete) else "action"
        return generic_layout(self.single_action_space, prefix)

    @property
    def members(self) -> SyncVectorEnv | AsyncVectorEnv:
        """Gymnasium's vector environment of the single ones."""
        return self._env

    @property
    def np_random_seed(self) -> Any:
        """The seed of each environment."""
        return self._env.np_random_seed

    @property
    def _model(self) -> Any:
        assert isinstance(self._physics, ModelPhysics)
        return self._physics.held.model

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Infos]:
        """Begin new episodes; see `gymnasium.vector.VectorEnv.reset`.

        Raises:
            WarmstartError: An environment took longer than the step timeout.
        """
        if seed is None:
            seed, self._first_seed = self._first_seed, None
        seeds = seed if seed is None or isinstance(seed, int | np.integer) else list(seed)
        seeds = int(seeds) if isinstance(seeds, np.integer) else seeds
        result: tuple[Any, Infos]
        if isinstance(self._env, SyncVectorEnv):
            result = self._env.reset(seed=seeds, options=options)
        else:
            self._env.reset_async(seed=seeds, options=options)
            result = self._waited(self._env.reset_wait, "reset")
        self._elapsed[:] = 0
        self._refuse("observation", not_finite(result[0]))
        return result

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, Infos]:
        """Take a step in every environment; see `gymnasium.vector.VectorEnv.step`.

        Args:
            actions: One per environment. Shape: (n, …).

        Returns:
            Observations, shape (n, …) or a dict or tuple of such arrays; rewards, terminations and
            truncations, shape (n,); infos.

        Raises:
            WarmstartError: An environment took longer than the step timeout, or gave numbers that aren't
                finite.
        """
        if isinstance(self._env, SyncVectorEnv):
            result: Any = self._env.step(actions)
        else:
            self._env.step_async(actions)
            result = self._waited(self._env.step_wait, "step")
        self._count_diverged(result[4])
        self._check_finite(*result)
        return result  # type: ignore[no-any-return]

    def set_context(
        self,
        context: Context | str | Sequence[Context | str],
        env_ids: Sequence[int] | NDArray[np.integer[Any]] | None = None,
    ) -> None:
        """Set the physics of an environment's next episode; see `BatchedEnv.set_context`.

        Args:
            context: One for all, or one for each of the environments.
            env_ids: The environments; ``None`` for all. Shape: (k,).
        """
        ids = self._ids if env_ids is None else np.asarray(env_ids)
        contexts = read_contexts(context, len(ids))
        for each in dict.fromkeys(contexts):
            self._physics.check(each)
            self._names += [c.selector for c in each if c.selector not in self._names]
        for env, each in zip(ids, contexts, strict=True):
            self._wanted[env] = each
        self._env.set_attr("next_context", tuple(self._wanted))

    @property
    def time_limit(self) -> int | None:
        """Steps after which an episode is truncated; None is never, or not by Gymnasium's wrapper."""
        return None if self.spec is None else self.spec.max_episode_steps

    @property
    def contexts(self) -> tuple[Context, ...]:
        """The context in force in each environment."""
        return tuple(self._env.call("context"))

    @property
    def context_names(self) -> tuple[str, ...]:
        """Parameters or attributes that contexts so far are about."""
        return tuple(self._names)

    def context_values(self) -> Array:
        """Current values of `context_names`. Shape: (n, k).

        Raises:
            WarmstartError: The environment's model is MuJoCo's; only batched tasks tell these values.
        """
        if not isinstance(self._physics, AttributePhysics):
            raise WarmstartError(
                f"Expected a batched task, found {self.task}: only those know their parameters' values."
            )
        rows = [[row[name] for name in self._names] for row in self._env.call("attribute_values")]
        return np.array(rows).reshape(self.num_envs, len(self._names))

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of every environment, or read an attribute."""
        return tuple(self._env.call(name, *args, **kwargs))

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of every environment."""
        return tuple(self._env.get_attr(name))

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment, to one value or to a list of them."""
        self._env.set_attr(name, values)

    def render(self) -> tuple[Any, ...] | None:
        """Frames of all environments; None without a render mode."""
        return None if self.render_mode is None else tuple(self._env.call("render"))

    def state_dict(self) -> State:
        """The environments' plain attributes, generators and MuJoCo data; copies go on the same way.

        Raises:
            WarmstartError: One keeps its state in objects of its own, an emulator or Box2D's world.
        """
        envs = list(self._env.call("saved_state"))
        if lost := envs[0]["lost"]:
            raise WarmstartError(f"{self.task} has a state that can't be kept: {', '.join(lost)}.")
        elapsed = self._elapsed.copy()
        return {"task": str(self.task), "envs": envs, "n_diverged": self.n_diverged, "elapsed": elapsed}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned.

        Raises:
            WarmstartError: The state is of another task or number of environments.
        """
        check_state(state["task"], len(state["envs"]), str(self.task), self.num_envs)
        self._env.reset()
        self._env.set_attr("saved_state", state["envs"])
        self._wanted = [parse_context(env["next_context"]) for env in state["envs"]]
        self._elapsed[...] = state["elapsed"]
        self.n_diverged = state["n_diverged"]
        self._first_seed = None

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments."""
        if not self._env.closed:
            self._env.close(**kwargs)
        if self._step_timeout is not None:
            self._example.close()

    def _check_finite(
        self, observations: Any, rewards: Array, terminations: Array, truncations: Array, infos: Infos
    ) -> None:
        """See at once that what a step gave is finite: a network would carry NaN into its parameters."""
        self._elapsed += 1
        self._refuse("reward", not_finite(rewards))
        ended = np.flatnonzero(terminations | truncations)
        for env in ended.tolist():
            self._refuse("observation", not_finite(infos["final_obs"][env]), env)
        self._elapsed[ended] = 0
        self._refuse("observation", not_finite(observations))

    def _refuse(
        self, what: str, found: tuple[str, tuple[int, ...], float] | None, env: int | None = None
    ) -> None:
        """Raise if `not_finite` found a number; of one environment, or of the one its place begins with."""
        if found is None:
            return
        name, place, number = found
        if env is None:
            env, *rest = place
            place = tuple(rest)
        where = what + (f" {name}" if name else "") + (f"[{', '.join(map(str, place))}]" if place else "")
        raise WarmstartError(
            f"{self.task}: environment {env} gave {number} as {where} in step {self._elapsed[env]} of its "
            "episode; expected finite numbers. Mend the environment, or end its episodes before that."
        )

    def _waited(self, wait: Callable[..., Any], what: str) -> Any:
        assert isinstance(self._env, AsyncVectorEnv)
        try:
            return wait(timeout=self._step_timeout)
        except multiprocessing.TimeoutError as error:
            pipes = self._env.parent_pipes
            hanging = [env for env, pipe in enumerate(pipes) if not (pipe and pipe.poll(0))]
            for process in self._env.processes:
                process.kill()
            self._env.close(terminate=True)
            raise WarmstartError(
                f"{self.task}: expected a {what} within {self._step_timeout:g} s, but environment "
                f"{', '.join(map(str, hanging))} gave no answer. The environments were stopped; look for "
                "what hangs there, or allow more time with step_timeout."
            ) from error

    def _count_diverged(self, infos: Infos) -> None:
        final = infos.get("final_info", {})
        if "diverged" not in final:
            return
        first = np.flatnonzero(final["_diverged"])[0]
        if not self.n_diverged:
            warnings.warn(
                f"{self.task}: the simulation of environment {first} diverged; its episode was terminated. "
                "`n_diverged` counts further ones.",
                stacklevel=3,
            )
        self.n_diverged += int(final["_diverged"].sum())


def _maker(
    task: Task,
    render_mode: str | None,
    pixels: PixelOptions | None,
    source: ContextSource | None,
    env_id: int,
) -> Callable[[], SingleEnv]:
    """A function that makes one environment of a task; it also works in another process."""
    options = split_options(str(task), dict(task.options))[1]
    kwargs: dict[str, Any] = {name: value for name, value in options.items() if name != "time_limit"}
    if render_mode is not None or pixels is not None:
        kwargs["render_mode"] = render_mode or "rgb_array"
    if "time_limit" in options:
        kwargs["max_episode_steps"] = options["time_limit"]
    try:
        spec: Any = gymnasium.spec(task.id) if ":" not in task.id else task.id
    except gymnasium.error.Error as error:
        raise WarmstartError(f"Gymnasium doesn't know {task.id}: {error}") from error

    def make() -> SingleEnv:
        send_engine_messages_to_logging()
        try:
            env: gymnasium.Env[Any, Any] = gymnasium.make(spec, **kwargs)
            if pixels is not None:
                env = observe_frames(env, pixels, str(task))
            return SingleEnv(env, source, env_id)
        except (TypeError, gymnasium.error.Error, ImportError) as error:
            raise WarmstartError(f"Gymnasium couldn't make {task}: {error}") from error

    return make
