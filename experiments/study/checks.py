"""What can be known to be wrong with a study before anything is trained: built once and compared."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from gymnasium.spaces import Box
from gymnasium.spaces.utils import flatdim

from warmstart.agents.checkpoints.loading import load_checkpoint
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import make_encoder
from warmstart.agents.observing.frames import frame_space
from warmstart.agents.settings.config import AlgorithmConfig
from warmstart.core.errors import unknown_name
from warmstart.core.plain import Place, SettingError, placed
from warmstart.envs.frames.options import sees_pixels
from warmstart.envs.simulation.layouts import Layout
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.experiments.study.arms import ResolvedArm
from warmstart.experiments.study.plan import Plan
from warmstart.experiments.study.study import Study
from warmstart.experiments.trial.seeing import randomized_looks
from warmstart.sim2real.world import check_identify, check_world, resolved
from warmstart.transfer.carry.matching import Kind, match, named
from warmstart.transfer.carry.source import read_source
from warmstart.transfer.methods.base import CarryingMethod


@dataclass(frozen=True)
class _Side:
    """What is known of the agents on one side of a warm start before any of them is built."""

    text: str
    algorithm: str
    activation: str
    standardises: bool
    spaces: tuple[Any, Any]
    layouts: tuple[Layout | None, Layout | None]


def check_buildable(plan: Plan) -> None:
    """Build each environment once; see that the algorithm fits its actions and that warm starts can be made.

    Raises:
        SettingError: An unknown environment, option or physical parameter, an algorithm that can't act there,
            a name in a map that neither side has, or a source whose algorithm, dimensions or normaliser
            don't go with the target's.
    """
    study = plan.study
    given = None
    if plan.checkpoint is not None:
        given = _given_side(plan.checkpoint, study, plan.normalizer)
    build = cache(_built_side)  # arms mostly share their tasks
    for arm in plan.arms:
        target = build(str(arm.target), ("target",), arm.algorithm)
        if arm.vision is not None:
            _check_encoder(arm, target)
        _check_world(arm)
        source = given
        if arm.source is not None:
            source = build(str(arm.source), ("source",), arm.source_algorithm)
        if arm.vision is not None and arm.source is not None:
            _check_looks(arm)
        if source is not None and isinstance(arm.method, CarryingMethod):
            _check_pair(study, source, target, arm)


def _check_world(arm: ResolvedArm) -> None:
    """See that the simulation that an arm trains in can be made."""
    place = ("arms", arm.name)
    world = placed(place, resolved, arm.world, arm.target)
    looks = {} if arm.vision is None else arm.vision.randomize
    if world:
        placed(place, check_world, world, arm.target, looks)
    if arm.world.identify:
        placed(place, check_identify, arm.world.identify, arm.target)


def _check_looks(arm: ResolvedArm) -> None:
    """See that what is learned from the source's frames is shown alike in the target."""
    assert arm.vision is not None
    assert arm.source is not None
    if not (arm.method.needs_source or arm.vision.pretrain):
        return
    for option, default in (("visuals", "lean"), ("size", 84)):
        theirs, ours = (task.option(option, default) for task in (arm.source, arm.target))
        if theirs != ours:
            raise SettingError(
                ("target",),
                f"its frames have {option}={ours}, the source's {option}={theirs}: the encoder would see "
                "other pixels than it learned from. Give both tasks the same.",
            )


def _check_encoder(arm: ResolvedArm, target: _Side) -> None:
    """See that an arm's encoder takes frames of the task's size."""
    settings = arm.vision
    assert settings is not None
    frames, _ = frame_space(target.spaces[0])
    config = EncoderConfig.parse(settings.encoder)
    if not config.file:
        config = replace(config, weights="random")  # the network's shape is what matters
    placed(("vision",), make_encoder, config, frames.shape)
    looks = placed(("vision", "randomize"), randomized_looks, settings, 0)
    placed(
        ("vision", "randomize"), lambda: make_vec(arm.target, 1, n_threads=1, context_source=looks).close()
    )


def _check_pair(study: Study, source: _Side, target: _Side, arm: ResolvedArm) -> None:
    """See that the source's policy can be carried into the target.

    What an agent sees through an encoder is matched by the encoder, when it is there.
    """
    assert isinstance(arm.method, CarryingMethod)
    needs_normalizer = arm.method.missing_normalizer == "error"
    if source.algorithm != target.algorithm:
        raise SettingError(
            ("algorithm",),
            f"the source was trained by {source.algorithm}, and the target is {target.algorithm}: their "
            f"networks mean different things. Use {source.algorithm}.",
        )
    given = (study.source_observation_names, study.source_action_names)
    kinds: tuple[Kind, Kind] = ("observation", "action")
    for index, kind in enumerate(kinds):
        if kind == "observation" and arm.vision is not None:
            continue
        names, mapping = given[index], getattr(study, f"{kind}_map")
        theirs = named(names, kind) if names is not None else source.layouts[index]
        sizes = (flatdim(source.spaces[index]), flatdim(target.spaces[index]))
        place: Place = (f"source_{kind}_names",) if names is not None else ("source",)
        if names is None and study.source_task is not None:
            place = ("source_task",)
        for ours, its in mapping.items():
            sides = ((ours, study.target, target.layouts[index]), (its, source.text, theirs))
            for name, where, layout in sides:
                if name is not None and layout is not None and name not in layout.names:
                    wrong = unknown_name(f"dimension of {where}", name, layout.names)
                    raise SettingError((f"{kind}_map", ours), str(wrong))
        matching = placed(
            (f"{kind}_map",) if mapping else place,
            lambda: match(theirs, target.layouts[index], sizes, mapping, kind),  # noqa: B023 (called here)
        )
        if kind == "action" and not matching.matched and names is not None:
            raise SettingError(
                place, f"none of {', '.join(names)} is an action of {study.target}: give an action_map."
            )
    if type(source.spaces[1]) is not type(target.spaces[1]):
        raise SettingError(
            ("source",), f"its actions are {source.spaces[1]}, the target's {target.spaces[1]}."
        )
    if source.activation != target.activation:
        raise SettingError(
            ("algorithm",),
            f"the source's networks use {source.activation}, the target's {target.activation}: set "
            f"`activation: {source.activation}` under `algorithm`.",
        )
    if not isinstance(source.spaces[0], Box) or arm.vision is not None:
        return
    if target.standardises and not source.standardises:
        raise SettingError(
            ("algorithm",),
            "the target standardises its observations (normalize_obs), but the source has no statistics of "
            "its own. If it was trained with VecNormalize, give that file as source_normalizer; else set "
            "`normalize_obs: false` under `algorithm`.",
        )
    if source.standardises and not target.standardises and needs_normalizer:
        raise SettingError(
            ("algorithm",),
            "the source was trained on standardised observations, but the target's are as they are: set "
            "`normalize_obs: true` under `algorithm`, or the arm's option `missing_normalizer: fold`.",
        )


def _built_side(text: str, place: Place, config: AlgorithmConfig) -> _Side:
    """Build an environment of a task, to see what it is."""
    env: Any = placed(place, make_vec, text, 1, seed=0, n_threads=1)
    try:
        if sees_pixels(Task.parse(text)):
            placed(place, frame_space, env.single_observation_space)
            placed(place, env.reset)  # draws a frame: without OpenGL this fails here, not in every trial
        spaces = (env.single_observation_space, env.single_action_space)
        if config.algorithm != "ppo" and not isinstance(spaces[1], Box):
            raise SettingError(
                ("algorithm",),
                f"{config.algorithm} acts in continuous spaces, but {text} has {spaces[1]}; use ppo.",
            )
        layouts = (env.observation_layout, env.action_layout)
        return _Side(text, config.algorithm, config.activation, config.normalize_obs, spaces, layouts)
    finally:
        env.close()


def _given_side(path: Path, study: Study, normalizer: Path | None) -> _Side:
    """Read a given checkpoint; its names may come from a task."""
    placed(("source_normalizer",), load_checkpoint, path, trust_normalizer=normalizer)
    place = ("source",) if study.source_task is None else ("source_task",)
    found = placed(
        place, lambda: read_source(path, source_task=study.source_task, trust_normalizer=normalizer)
    )
    assert found is not None
    usual = "tanh" if found.algorithm == "ppo" else "relu"
    return _Side(
        str(path),
        found.algorithm,
        str(found.policy_kwargs.get("activation", usual)),
        found.normalizer is not None and found.normalizer.normalize_obs,
        (found.observation_space, found.action_space),
        (found.observation_layout, found.action_layout),
    )
