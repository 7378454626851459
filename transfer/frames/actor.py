"""Let a policy act in a task that shows frames and state, whichever of them it takes.

What is collected are the task's own frames, whatever the policy makes of them.
"""

from typing import Any

from gymnasium import spaces
from gymnasium.vector import VectorEnv
from typing_extensions import override

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.policy import Policy
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.layouts import Dimension, generic_layout
from warmstart.envs.wrappers import Ids, ObservationWrapper
from warmstart.transfer.frames.collect import ActionPolicy

Env = VectorEnv[Any, Any, Any]


def state_dimensions(env: Env) -> tuple[Dimension, ...]:
    """Names and units of the state beside the frames; none where there is no state."""
    space = env.single_observation_space
    if not isinstance(space, spaces.Dict):
        return ()
    known = getattr(env, "state_layout", None)
    return (known if known is not None else generic_layout(space["state"], "state")).dimensions


def actor_in(checkpoint: Checkpoint, env: Env) -> tuple[Env, ActionPolicy]:
    """Let a policy act in a task that shows frames and state, whichever of them it takes.

    Args:
        checkpoint: A policy of states, of a frozen encoder's features or of stacks of frames.
        env: The task's environments.

    Returns:
        The environments, which observe the same as before; and the policy for these observations.

    Raises:
        WarmstartError: Neither the state nor the frames are what the policy takes, or its actions differ.
    """
    policy, own = checkpoint.policy(), env.single_observation_space
    if not _alike(policy.action_space, env.single_action_space):
        raise WarmstartError(
            f"{_named(checkpoint)} has actions {policy.action_space}, the task {_task(env)} takes "
            f"{env.single_action_space}."
        )
    if (
        policy.vision is None
        and isinstance(own, spaces.Dict)
        and _alike(policy.observation_space, own["state"])
    ):
        _check_names(checkpoint, env)
        return policy.told(env), lambda observations: policy(observations["state"])
    if policy.vision is not None:
        for with_state in (False, True) if isinstance(own, spaces.Dict) else (False,):
            original = _Original(env, with_state)
            processing = policy.wrap(original)
            if _alike(policy.observation_space, processing.single_observation_space):
                restored = _Restored(processing, original)
                return restored, restored.acting(policy)
    raise WarmstartError(
        f"{_named(checkpoint)} observes {policy.observation_space}; the task {_task(env)} shows {own}, which "
        "isn't that."
    )


def _alike(first: spaces.Space[Any], second: spaces.Space[Any]) -> bool:
    """Whether two spaces hold the same kind of arrays; bounds may differ."""
    if isinstance(first, spaces.Dict) and isinstance(second, spaces.Dict):
        return first.keys() == second.keys() and all(_alike(first[key], second[key]) for key in first)
    same = type(first) is type(second) and first.shape == second.shape
    return same and getattr(first, "n", 0) == getattr(second, "n", 0)


def _check_names(checkpoint: Checkpoint, env: Env) -> None:
    layout, names = checkpoint.observation_layout, [d.name for d in state_dimensions(env)]
    if layout is None or list(layout.names) == names:
        return
    own, other = next((a, b) for a, b in zip(layout.names, names, strict=True) if a != b)
    raise WarmstartError(f"{_named(checkpoint)} observes {own} where the task {_task(env)} has {other}.")


def _named(checkpoint: Checkpoint) -> str:
    trained = f" (trained in {checkpoint.task})" if checkpoint.task else ""
    return f"The policy in {checkpoint.path}{trained}"


def _task(env: Env) -> str:
    return str(getattr(env, "task", env))


class _Original(ObservationWrapper):
    """Keeps all that a task shows, and passes on the part that a policy observes."""

    def __init__(self, env: Env, with_state: bool) -> None:
        own = env.single_observation_space
        self._cut = isinstance(own, spaces.Dict) and not with_state
        super().__init__(env, own["pixels"] if self._cut else own)  # type: ignore[index]
        self.shown: Any = None
        self.last: Any = None

    @override
    def observed(self, observations: Any, ids: Ids) -> Any:
        self.shown = observations
        return observations["pixels"] if self._cut else observations

    @override
    def final(self, observations: Any, ids: Ids, infos: dict[str, Any]) -> Any:
        self.last = observations
        return super().final(observations, ids, infos)


class _Restored(ObservationWrapper):
    """Observes the original again, while ``processed`` holds what the policy's vision makes of it."""

    def __init__(self, env: Env, original: _Original) -> None:
        super().__init__(env, original.env.single_observation_space)
        self._original = original
        self.processed: Any = None

    def acting(self, policy: Policy) -> ActionPolicy:
        """The policy, which takes ``processed`` whatever it is given."""
        return lambda _: policy(self.processed)

    @override
    def observed(self, observations: Any, ids: Ids) -> Any:
        self.processed = observations
        return self._original.shown

    @override
    def final(self, observations: Any, ids: Ids, infos: dict[str, Any]) -> Any:
        return self._original.last
