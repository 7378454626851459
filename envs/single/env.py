"""One plain Gymnasium environment with a physical context and a state that can be saved."""

import logging
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.fields import DIVERGED
from warmstart.envs.simulation.infos import EACH, Infos
from warmstart.envs.simulation.models import HeldModel
from warmstart.envs.single.physics import AttributePhysics, ModelPhysics, Physics, physics_of
from warmstart.envs.single.shapes import misshapen
from warmstart.envs.single.state import env_state, load_env_state
from warmstart.envs.tasks.contexts import Context, format_context, parse_context
from warmstart.envs.tasks.hooks import ChangingSource, ContextSource

Floats = NDArray[np.float64]
_log = logging.getLogger(__name__)
RESERVED = frozenset({"final_obs", "final_info", "_final_obs", "_final_info"})
"""Names in infos that are the vector environments' own."""


class SingleEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Applies the context asked for when an episode begins, and notices a diverged MuJoCo simulation.

    Args:
        env: Any environment of Gymnasium.
        source: Draws the physics of every episode on top of the context; the values are in ``info["drawn"]``.
        env_id: Number of this environment among its likes, for which the source draws.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], source: ContextSource | None = None, env_id: int = 0
    ) -> None:
        super().__init__(env)
        inner: Any = env.unwrapped
        self.physics: Physics = physics_of(inner)
        self._drawn: Floats | None = None
        self._warned = 0
        self._told: set[str] = set()
        self._remade_in_steps = 0
        self._begun = False
        self.next_context: Context = ()
        self.context: Context = ()
        self.source = source
        self.env_ids = np.array([env_id], dtype=np.int32)
        self._put = None if source is None else self.physics.bind(source)
        self._episode, self._elapsed = -1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Infos]:
        """Begin an episode with the context asked for; a seed starts the count of episodes anew."""
        if options and EACH in options:
            options = options[EACH][int(self.env_ids[0])] or None
        if not self._begun and (self.next_context or self.source is not None):
            # what it keeps of its first reset, a copy of its model perhaps, shall be nominal
            inner: Any = self.unwrapped
            inner.reset(seed=seed, options=options)
            self._follow()
        self._begun = True
        if self.next_context != self.context or self.source is not None:
            self.physics.apply(self.next_context)
            self.context = self.next_context
        self._episode, self._elapsed = 0 if seed is not None else self._episode + 1, 0
        if self.source is not None and self._put is not None:
            self._drawn = self.source.draw(self.env_ids, np.array([self._episode]))[0]
            self._put(self._drawn)
        observation, info = self.env.reset(seed=seed, options=options)
        self._check_observation(observation)
        self._keep_in_force()
        self._warned = self._warnings()
        info = self._without_reserved(info)
        return observation, info if self._drawn is None else {**info, "drawn": self._drawn}

    def _without_reserved(self, info: Infos) -> Infos:
        """An environment's info without the names under which vector environments give an episode's end."""
        if not RESERVED & info.keys():
            return info
        for name in sorted(RESERVED & info.keys()):
            self._tell_once(
                f"The info entry {name!r} is left out: vector environments give an episode's end there."
            )
        return {name: value for name, value in info.items() if name not in RESERVED}

    @property
    def _changed(self) -> bool:
        """Whether this environment is to have another physics than its own."""
        return bool(self.context) or self._drawn is not None

    def _keep_in_force(self) -> None:
        """Put context and draws into force again where a reset has made a new model or written values."""
        name = type(self.unwrapped).__name__
        if self._follow():
            self._tell_once(
                f"{name} makes its model anew: its physics is put into force in each new one, after the "
                "reset has computed its observation."
            )
        if self._changed and (lost := self.physics.reinstate()):
            self._tell_once(
                f"{name} writes {', '.join(lost)} itself in reset: what was asked for is put into force "
                "after it, when the reset has computed its observation."
            )

    def _check_observation(self, observation: Any) -> None:
        """See that an observation has the shape that its space has."""
        found = misshapen(self.env.observation_space, observation)
        if found is not None:
            where, expected, shape = found
            raise WarmstartError(
                f"{type(self.unwrapped).__name__}: observation{where} has the shape {shape} in step "
                f"{self._elapsed}; its observation_space says {expected}. Give both the same shape."
            )

    def _one_number(self, reward: Any) -> float:
        """The number that a reward of an array is."""
        name, shape = type(self.unwrapped).__name__, np.shape(reward)
        if np.size(reward) != 1:
            raise WarmstartError(f"{name}: the reward has the shape {shape}; expected one number.")
        self._tell_once(f"{name}: the reward has the shape {shape}; its number is taken.")
        return float(np.asarray(reward).item())

    def _tell_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            _log.warning("%s", message)

    def _follow(self) -> bool:
        """Turn to a model that the environment has made itself meanwhile; whether it was given a physics."""
        if not isinstance(self.physics, ModelPhysics) or not self.physics.outdated:
            return False
        self.physics.follow()
        if self.source is not None:
            self._put = self.physics.bind(self.source)
        if not self._changed:
            return False
        self.physics.apply(self.context)
        if self._drawn is not None and self._put is not None:
            self._put(self._drawn)
        return True

    def _check_force(self, times: tuple[float, ...]) -> None:
        """See that a step took place in the physics asked for.

        Args:
            times: Seconds simulated before it, as `HeldModel.times` gives them.

        Raises:
            WarmstartError: The environment made another model in this step and the one before, wrote the
                same values itself, or simulated another model than its own.
        """
        name = type(self.unwrapped).__name__
        self._remade_in_steps = self._remade_in_steps + 1 if self._follow() else 0
        if self._remade_in_steps == 1:
            self._tell_once(f"{name} makes its model anew in a step, which has that model's own physics.")
        if self._remade_in_steps > 1:
            raise WarmstartError(
                f"{name} makes its model anew in each step, so that {self._asked} has no effect: make it in "
                "reset."
            )
        if lost := self.physics.reinstate():
            raise WarmstartError(
                f"{name} writes {', '.join(lost)} itself in step, so that {self._asked} has no effect: write "
                "it in reset only, or leave it to the task."
            )
        if self._elapsed > 1 or not isinstance(self.physics, ModelPhysics) or self._remade_in_steps:
            return
        after = self.physics.held.times()
        if len(after) != len(times) or after[:1] != times[:1]:
            return
        if after != times:
            raise WarmstartError(
                f"{name} simulates another model than its `{'.'.join(map(str, self.physics.held.path))}`, so "
                f"that {self._asked} has no effect: call the one that is simulated `model`, its data `data`."
            )
        self._tell_once(
            f"{name}: a step didn't advance the time of any MjData that was found, so nobody can see whether "
            f"{self._asked} has an effect."
        )

    @property
    def _asked(self) -> str:
        return str(next(iter(self.context), "")) or "what is drawn"

    def _times(self) -> tuple[float, ...]:
        asked = self._changed and self._elapsed == 1 and isinstance(self.physics, ModelPhysics)
        return self.physics.held.times() if asked and isinstance(self.physics, ModelPhysics) else ()

    def _warnings(self) -> int:
        """MuJoCo's warnings so far that the simulation diverged."""
        data = self.physics.held.data if isinstance(self.physics, ModelPhysics) else None
        return 0 if data is None else int(data.warning.number[DIVERGED].sum())

    def _go_on(self) -> None:
        """Draw anew what changes within an episode."""
        if not isinstance(self.source, ChangingSource) or not self.source.changes_within or self._put is None:
            return
        if self.source.due(np.array([self._elapsed]), self._period)[0]:
            self.physics.apply(self.context)
            self._drawn = self._drawn_within(self.source)
            self._put(self._drawn)

    @property
    def _period(self) -> float:
        return float(getattr(self.env.unwrapped, "dt", 1.0))

    def _drawn_within(self, source: ChangingSource) -> Floats:
        episode, elapsed = np.array([self._episode]), np.array([self._elapsed])
        drawn: Floats = source.draw_within(self.env_ids, episode, elapsed, self._period)[0]
        return drawn

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, Infos]:
        """Take a step; a diverged simulation ends its episode, with the info "diverged"."""
        self._go_on()
        self._elapsed += 1
        times = self._times()
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._check_observation(observation)
        if isinstance(reward, np.ndarray | list | tuple):
            reward = self._one_number(reward)
        info = self._without_reserved(info)
        if self._changed:
            self._check_force(times)
        else:
            self._follow()
        before, self._warned = self._warned, self._warnings()
        if self._warned > before:
            return observation, 0.0, True, False, {**info, "diverged": True}
        return observation, reward, terminated, truncated, info

    @property
    def attribute_values(self) -> dict[str, float]:
        """Current values of the attributes that contexts can change."""
        assert isinstance(self.physics, AttributePhysics)
        return self.physics.values()

    @property
    def saved_state(self) -> State:
        """Everything of this environment that a copy of it needs to go on the same way; see `env_state`."""
        return {
            **env_state(self.env, self._held),
            "context": format_context(self.context),
            "next_context": format_context(self.next_context),
            "episode": self._episode,
            "elapsed": self._elapsed,
        }

    @saved_state.setter
    def saved_state(self, state: State) -> None:
        self.context, self.next_context = (
            parse_context(state["context"]),
            parse_context(state["next_context"]),
        )
        self._episode, self._elapsed = state["episode"], state["elapsed"]
        self.physics.apply(self.context)
        if self.source is not None and self._put is not None and self._episode >= 0:
            if isinstance(self.source, ChangingSource):
                self._drawn = self._drawn_within(self.source)
            else:
                self._drawn = self.source.draw(self.env_ids, np.array([self._episode]))[0]
            self._put(self._drawn)
        load_env_state(self.env, self._held, state)
        self._warned = self._warnings()

    @property
    def _held(self) -> HeldModel | None:
        return self.physics.held if isinstance(self.physics, ModelPhysics) else None
