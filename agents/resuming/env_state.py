"""The state of stable-baselines3's vector environments and of the wrappers around them."""

from typing import Any

from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecExtractDictObs,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.models import held_model
from warmstart.envs.single.state import env_state, load_env_state

_STATISTICS = ("obs_rms", "ret_rms")
_HELD: dict[type[VecEnvWrapper], tuple[str, ...]] = {
    VecNormalize: ("returns", "old_reward", "old_obs"),
    VecMonitor: ("episode_returns", "episode_lengths", "episode_count"),
    VecFrameStack: (),
    VecTransposeImage: (),
    VecCheckNan: (),
    VecExtractDictObs: (),
}
"""What wrappers remember from step to step, beside the statistics and the stack of frames."""


def chain(env: VecEnv | None) -> list[VecEnv]:
    """An environment and what it wraps, outermost first."""
    found = []
    while env is not None:
        found.append(env)
        env = env.venv if isinstance(env, VecEnvWrapper) else None
    return found


def vec_env_state(env: Any) -> State:
    """The state of one layer of a vector environment.

    Raises:
        WarmstartError: It can't be kept; says why.
    """
    if hasattr(type(env), "state_dict"):  # a wrapper would answer for what it wraps
        inner = getattr(env, "vector_env", None)
        if inner is not None and not hasattr(inner, "state_dict"):
            raise WarmstartError(f"{type(inner.unwrapped).__name__} has no state_dict")
        state: State = env.state_dict()
        return state
    if isinstance(env, VecEnvWrapper):
        known = type(env).__module__.startswith(("stable_baselines3.", "warmstart."))
        kind = next((kind for kind in _HELD if known and isinstance(env, kind)), None)
        if kind is None:
            raise WarmstartError(f"{type(env).__name__} has no state_dict")
        held = {each: getattr(env, each, None) for each in _HELD[kind]}
        if isinstance(env, VecFrameStack):
            held["stack"] = _stacks(env)
        return held | {each: _moments(getattr(env, each, None)) for each in _STATISTICS}
    if isinstance(env, DummyVecEnv):
        states = [env_state(each, held_model(each.unwrapped)) for each in env.envs]
        if lost := states[0]["lost"]:
            raise WarmstartError(f"an environment keeps a state of its own in {', '.join(lost)}")
        return {"envs": states, "seeds": list(env._seeds), "options": list(env._options)}
    if isinstance(env, SubprocVecEnv):
        raise WarmstartError("the environments of SubprocVecEnv are in other processes")
    raise WarmstartError(f"{type(env).__name__} has no state_dict")


def load_vec_env_state(env: Any, state: State) -> None:
    """Restore what `vec_env_state` returned."""
    if isinstance(env, DummyVecEnv):
        env.reset()
        for each, values in zip(env.envs, state["envs"], strict=True):
            load_env_state(each, held_model(each.unwrapped), values)
        env._seeds, env._options = list(state["seeds"]), list(state["options"])
        return
    if hasattr(type(env), "state_dict"):  # a wrapper would answer for what it wraps
        env.load_state_dict(state)
        return
    for name, value in state.items():
        if name in _STATISTICS:
            _load_moments(getattr(env, name, None), value)
        elif name == "stack":
            for key, frames in value.items():
                _stacks(env)[key][...] = frames
        else:
            setattr(env, name, value)


def _stacks(env: Any) -> dict[str, Any]:
    """The frames that are stacked, by the observation's name; one without names has an empty one."""
    stacked: Any = env.stacked_obs
    inner = (
        stacked.sub_stacked_observations if hasattr(stacked, "sub_stacked_observations") else {"": stacked}
    )
    return {key: each.stacked_obs for key, each in inner.items()}


def _moments(statistics: Any) -> Any:
    if isinstance(statistics, dict):
        return {key: _moments(value) for key, value in statistics.items()}
    if statistics is None:
        return None
    return {name: getattr(statistics, name) for name in ("mean", "var", "count")}


def _load_moments(statistics: Any, state: Any) -> None:
    if isinstance(statistics, dict):
        for key, each in statistics.items():
            _load_moments(each, state[key])
    elif isinstance(statistics, RunningMeanStd):
        statistics.mean, statistics.var, statistics.count = state["mean"], state["var"], state["count"]
