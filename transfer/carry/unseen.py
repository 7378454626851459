"""Take from a student what of its observations only its teacher shall see."""

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from warmstart.agents.algorithms.base import SeamAgent
from warmstart.agents.algorithms.trainability import Trainability
from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.unseen import Sees, Unseen
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import env_attribute
from warmstart.transfer.carry.networks import networks, target_of
from warmstart.transfer.carry.source import environment_layouts
from warmstart.transfer.matching.matching import listed

ALGORITHMS = ("ppo", "sac", "td3", "tqc")


def hide(model: BaseAlgorithm, sees: Sees, method: str) -> tuple[str, ...]:
    """Let an agent read only the features of frames, or only the state, of observations that hold both.

    Its first layers get zeros for the rest, which stay; so neither its actions nor its values depend on it.

    Args:
        model: The agent, one of ours.
        sees: ``all`` does nothing.
        method: Name of the method that asks, for messages.

    Returns:
        What was done, in one sentence; nothing for nothing.

    Raises:
        WarmstartError: The observations don't hold both, or its networks can't be told apart.
    """
    if sees == "all":
        return ()
    asked = f"{method}: student_sees={sees}"
    algorithm = algorithm_name(model)
    if not isinstance(model, SeamAgent) or algorithm not in ALGORITHMS:
        raise WarmstartError(f"{asked} takes one of warmstart's own {', '.join(ALGORITHMS)}.")
    layout, space = environment_layouts(model.env)[0], model.observation_space
    blocks = [] if layout is None else [bool(dimension.block) for dimension in layout.dimensions]
    if not isinstance(space, spaces.Box) or len(space.shape) != 1 or len(set(blocks)) < 2:
        shown = env_attribute(model.env, "task")
        raise WarmstartError(
            f"{asked} is of observations that hold the features of a frozen encoder and the state: give the "
            f"task obs=pixels+state and the arm a vision with train: frozen. {shown or 'The environment'} "
            f"observes {space}."
        )
    unseen = tuple(i for i, of_frame in enumerate(blocks) if of_frame == (sees == "state"))
    own: dict[str, Any] = dict(model.policy.named_parameters(remove_duplicate=False))
    first = [f"{network.hidden[0]}.weight" for network in networks(algorithm, own) if network.hidden]
    layers = [*first, *(name for name in own if target_of(name) in first)]
    masks = {}
    for name in layers:
        mask = torch.ones_like(own[name])
        mask[:, list(unseen)] = 0.0
        own[name].data.mul_(mask)
        masks[name] = mask
    held = Trainability((), {name: masks[name] for name in first})
    model.set_trainability(held if model.trainability is None else model.trainability.then(held))
    model.unseen = Unseen(sees, unseen, tuple(layers))
    assert layout is not None
    told = "features of frames" if sees == "state" else listed([layout.names[i] for i in unseen])
    return (f"Only the teacher sees {told}; the student's checkpoint takes {sees} alone.",)
