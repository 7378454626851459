"""Lets actions and observations of a batched environment pass what goes wrong with them."""

import numpy as np
from typing_extensions import override

from warmstart.core.errors import WarmstartError
from warmstart.core.plain import State
from warmstart.envs.tasks.hooks import Ids, Perturbation, PerturbedEnv
from warmstart.sim2real.imperfections.actuators import action_stages
from warmstart.sim2real.imperfections.imperfections import Imperfections
from warmstart.sim2real.imperfections.numbers import Numbers
from warmstart.sim2real.imperfections.sensors import observation_stages
from warmstart.sim2real.imperfections.stages import Array, Floats, Moment, Stage


def perturbations(imperfections: Imperfections, seed: int) -> tuple[Perturbation, ...]:
    """Make what acts on a batched environment; nothing at all where everything is off.

    Args:
        imperfections: What goes wrong.
        seed: Of all random numbers; they don't depend on the number of environments.

    Returns:
        Perturbations for one environment; make others for another.
    """
    return () if imperfections.is_off else (SignalPaths(imperfections, seed),)


class SignalPaths(Perturbation):
    """The two chains of stages that actions and observations of one batched environment pass.

    Args:
        imperfections: What goes wrong.
        seed: Of all random numbers.
    """

    def __init__(self, imperfections: Imperfections, seed: int) -> None:
        self.imperfections, self.seed = imperfections, seed
        self._env: PerturbedEnv | None = None
        self._saved: list[dict[str, Array]] | None = None
        self._acting: list[Stage] = []
        self._sensing: list[Stage] = []

    @override
    def before_step(self, env: PerturbedEnv, actions: Array) -> Array:
        if env is not self._env:
            self._join(env)
        if not self._acting:
            return actions
        return self._pass(self._acting, actions, self._everyone, self._everyone[env.elapsed == 0], True)

    @override
    def on_observations(self, env: PerturbedEnv, observations: Array, ids: Ids) -> Array:
        if env is not self._env:
            self._join(env)
        begins = not env.elapsed[ids[0]]
        begun = ids if begins else ids[:0]
        self._numbers.go_on(begun, next_step=not begins)
        if not self._sensing:
            return observations
        return self._pass(self._sensing, observations, ids, begun, not begins)

    @override
    def state_dict(self) -> State:
        if self._env is None:
            arrays = self._saved
        else:
            stages = (*self._acting, *self._sensing)
            arrays = [{key: a.copy() for key, a in stage.arrays.items()} for stage in stages]
        return {"seed": self.seed, "imperfections": self.imperfections.to_json(), "arrays": arrays}

    @override
    def load_state_dict(self, state: State) -> None:
        if state["imperfections"] != self.imperfections.to_json():
            raise WarmstartError(
                f"Expected the state of the imperfections {self.imperfections.to_json()}, found that of "
                f"{state['imperfections']}."
            )
        self.seed, self._saved = int(state["seed"]), state["arrays"]
        if self._env is not None:
            env, self._env = self._env, None
            self._join(env)

    def _pass(self, stages: list[Stage], values: Array, ids: Ids, begun: Ids, goes_on: bool) -> Floats:
        """Let values pass stages; see `Moment`. Shapes: (m, k)."""
        env = self._env
        assert env is not None
        numbers, dt = self._numbers.now(), env.sim.dt[:, None]
        if len(begun):
            episodes = env.episode_ids[begun]
            for stage in stages:
                stage.begin(begun, episodes)
        if len(ids) == env.num_envs:
            now = Moment(ids, slice(None), begun, goes_on, env.elapsed, dt, numbers)
        else:
            now = Moment(ids, ids, begun, goes_on, env.elapsed[ids], dt[ids], numbers[ids])
        values = np.array(values, dtype=np.float64)
        for stage in stages:
            values = stage.apply(values, now)
        return values

    def _join(self, env: PerturbedEnv) -> None:
        if self._env is not None:
            raise WarmstartError(
                "Expected one environment for each set of imperfections, found a second one: make "
                "perturbations for each environment."
            )
        if env.in_frames and not self.imperfections.observations_are_true:
            raise WarmstartError(
                f"{env.task} is seen in frames, which noise, delays and failures of sensors leave alone: "
                "give imperfections of actions, and change what is seen by visual parameters."
            )
        self._numbers = Numbers(self.seed, env)
        self._everyone: Ids = np.arange(env.num_envs, dtype=np.int32)
        self._acting = action_stages(self.imperfections, self._numbers)
        self._sensing = observation_stages(self.imperfections, self._numbers)
        stages = (*self._acting, *self._sensing)
        for stage, saved in zip(stages, self._saved or [], strict=self._saved is not None):
            stage.arrays = {key: array.copy() for key, array in saved.items()}
        self._env, self._saved = env, None
