"""`save_training` and `load_training`: the training of any stable-baselines3 agent, kept and gone on with."""

import platform
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from warmstart.agents.resuming.recipe import (
    CantBuildError,
    agent_recipe,
    build_agent_again,
    build_env_again,
    env_recipe,
)
from warmstart.agents.resuming.storage import read_states, write_state
from warmstart.agents.resuming.training_state import load_training_state, other_machine, training_state
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError


def save_training(model: BaseAlgorithm, path: str | Path) -> Path:
    """Keep everything that the next step of a training depends on.

    Call it after ``learn``, or in a callback's ``_on_rollout_start``. Whoever loads it, in any process, and
    learns on, ends with the same parameters as if there had been no interruption. A callback's own state
    isn't part of it. Saved again to the same folder, what changed is written, and the state before is kept
    until the new one is on the disk.

    Args:
        model: Any agent of stable-baselines3, sb3-contrib or warmstart.
        path: A folder, made where there is none.

    Returns:
        The file of the state, in that folder.

    Warns:
        UserWarning: The resume will be statistical, not exact: says why.

    Raises:
        WarmstartError: Something of the agent can't be kept, or it is in the middle of a rollout.
        DiskFullError: No space is left.
    """
    inside = _rollout(model)
    if inside is not None and "new_obs" in inside:
        raise WarmstartError(
            "A training is saved between two rollouts: after learn, or in a callback's _on_rollout_start."
        )
    state = training_state(model)
    lost = list(state["lost"])
    if inside is not None and getattr(model, "use_sde", False):
        lost.append("gSDE has drawn its noise for this rollout already; after learn it would be exact")
    if inside is not None and any(each is not None for each in state["noise"]):
        lost.append("learn begins the action noise anew; after learn it would be exact")
    whole = {
        "agent": state | {"lost": lost},
        "versions": _versions(),
        "recipe": _recipe(lambda: agent_recipe(model)),
        "envs": _recipe(lambda: env_recipe(model.env)),
    }
    path = write_state(Path(path), model.num_timesteps, whole)
    _warn(lost)
    return path


def load_training(
    path: str | Path,
    *,
    model: BaseAlgorithm | None = None,
    env: VecEnv | None = None,
    device: str = "auto",
) -> Any:
    """Go on with a training that `save_training` kept; nothing in the folder is run.

    ``load_training("half").learn(500_000, reset_num_timesteps=False)`` goes on for 500,000 steps.

    Args:
        path: The folder.
        model: The agent, built as it was before, where it can't be built from its plain values (a policy, a
            schedule or an environment of your own).
        env: Only the environments, made as they were before.
        device: Where the agent computes.

    Returns:
        The agent.

    Warns:
        UserWarning: The resume is statistical, not exact: says why. Or a damaged state was passed over.

    Raises:
        WarmstartError: There is no whole state, or what can't be built again is to be given: says what.
    """
    path = Path(path)
    for _, state in read_states(path, lambda told: warnings.warn(told, stacklevel=2)):
        try:
            if model is None:
                model = _built(state, path, env, device)
            load_training_state(model, (), state["agent"])
            here = _versions()
            others = [
                f"it was kept with {name} {version}, here is {here.get(name)}"
                for name, version in state["versions"].items()
                if here.get(name) != version
            ]
            lost = [*map(str, state["agent"]["lost"]), *others, *other_machine(model, state["agent"])]
        except WarmstartError as error:
            raise WarmstartError(f"{path}: {error}") from None
        except Exception as error:
            raise WarmstartError(
                f"{path}: the state doesn't fit this agent ({type(error).__name__}: {error})."
            ) from error
        _warn(lost)
        return model
    raise WarmstartError(f"{path} holds no training state: expected a folder that save_training wrote.")


def _built(state: State, path: Path, env: VecEnv | None, device: str) -> BaseAlgorithm:
    if "why" in state["recipe"]:
        raise WarmstartError(
            f"the agent isn't built from plain values: {state['recipe']['why']}. Build it as before, and "
            f"give it: load_training({str(path)!r}, model=model)."
        )
    if env is None:
        if "why" in state["envs"]:
            raise WarmstartError(
                f"the environments aren't made from plain values: {state['envs']['why']}. Make them as "
                f"before, and give them: load_training({str(path)!r}, env=env)."
            )
        env = build_env_again(state["envs"]["made"])
    model = build_agent_again(state["recipe"]["made"], env, device, state["agent"]["modules"]["policy"])
    logs = model.tensorboard_log
    if logs is not None and not Path(logs).is_dir():
        model.tensorboard_log = None
        warnings.warn(
            f"{logs}, where TensorBoard's files were, isn't here: none are written. Set tensorboard_log of "
            "the agent to another folder.",
            stacklevel=3,
        )
    return model


def _recipe(write: Any) -> State:
    """A recipe, or why there is none."""
    try:
        return {"made": write()}
    except CantBuildError as error:
        return {"why": str(error)}


def _warn(reasons: Sequence[str]) -> None:
    if reasons:
        warnings.warn(f"Statistical resume, not exact: {'; '.join(reasons)}.", stacklevel=3)


def _versions() -> dict[str, str]:
    modules: tuple[Any, ...] = (gymnasium, mujoco, np, stable_baselines3, torch)
    return {"python": platform.python_version()} | {each.__name__: each.__version__ for each in modules}


def _rollout(model: BaseAlgorithm) -> dict[str, Any] | None:
    """The variables of the rollout that the agent is collecting; None between two calls of ``learn``."""
    frame: Any = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "collect_rollouts" and frame.f_locals.get("self") is model:
            return dict(frame.f_locals)
        frame = frame.f_back
    return None
