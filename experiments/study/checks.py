"""What can be known to be wrong with a study before anything is trained."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from gymnasium.spaces import Box
from gymnasium.spaces.utils import flatdim

from warmstart.agents.checkpoints.architecture import is_simba
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import make_encoder
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.observing.asymmetric import ASYMMETRIC_POLICIES
from warmstart.agents.observing.frames import frame_space
from warmstart.agents.rewards.base import RewardConfig, vector_size
from warmstart.agents.settings.config import AlgorithmConfig
from warmstart.agents.settings.encoder_training import EncoderTraining
from warmstart.core.bounds import Place, SettingError, Settings
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import placed
from warmstart.core.trust import check_trusted
from warmstart.envs.describe import describe
from warmstart.envs.frames.options import sees_pixels
from warmstart.envs.simulation.layouts import Layout
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.experiments.study.arms import FURTHER_SOURCES, ResolvedArm
from warmstart.experiments.study.given import told_of
from warmstart.experiments.study.plan import Plan
from warmstart.experiments.study.study import Study
from warmstart.sim2real.randomization.randomization import read_terms
from warmstart.sim2real.world import check_identify, check_world, resolved
from warmstart.transfer.carry.source import read_source
from warmstart.transfer.matching.by_name import match, named
from warmstart.transfer.matching.matching import Kind
from warmstart.transfer.matching.mirror import ANYTHING, check_anything
from warmstart.transfer.methods.base import CarryingMethod
from warmstart.transfer.replaying.datasets import REPLAY_DATA, fitting, replayed


@dataclass(frozen=True)
class _Side:
    """What is known of the agents on one side of a warm start before any of them is built."""

    text: str
    algorithm: str
    activation: str
    network: str
    standardises: bool
    spaces: tuple[Any, Any]
    layouts: tuple[Layout | None, Layout | None]


def check_buildable(plan: Plan) -> None:
    """See that tasks and simulations can be made, that algorithms fit them, and that warm starts can be made.

    Raises:
        SettingError: An unknown environment, option or physical parameter, an algorithm that can't act there,
            a name in a map that neither side has, or a source whose algorithm, dimensions or normaliser
            don't go with the target's.
    """
    checkpoint = plan.study.source_checkpoint
    given = None if checkpoint is None else _given_side(checkpoint, plan.study)
    build = cache(_built_side)  # arms mostly share their tasks
    for arm in plan.arms:
        target = build(str(arm.target), ("target",), arm.algorithm)
        _check_training(arm, target)
        if plan.study.keep_replay and arm.algorithm.algorithm == "ppo":
            raise SettingError(("keep_replay",), "ppo keeps no replay buffer: only off-policy agents do.")
        source = given
        if arm.source is not None:
            source = build(str(arm.source), ("source",), arm.source_algorithm)
            _check_reward(arm.source_reward, arm, source, arm.source_algorithm, ("source_reward",))
        place: Place = ("arms", arm.name)
        for key in FURTHER_SOURCES:
            for path in getattr(arm.method, key, ()):
                placed((*place, key), load_checkpoint, path)
        data = getattr(arm.method, "data", None)
        if data == REPLAY_DATA:
            placed((*place, "data"), _check_replay, arm, None if given is None else checkpoint)
        elif data is not None:
            placed((*place, "data"), fitting, data, *target.spaces)
        if source is not None and arm.method.needs_source:
            _check_spaces(plan.study, source, target, arm)
            if isinstance(arm.method, CarryingMethod) and arm.method.carries:
                _check_networks(source, target, arm, arm.method)


def _check_replay(arm: ResolvedArm, checkpoint: Path | None) -> None:
    """See that a source has, or will have, a replay buffer."""
    if checkpoint is not None:
        replayed(load_checkpoint(checkpoint))
    elif arm.source_algorithm.algorithm == "ppo":
        raise WarmstartError("ppo keeps no replay buffer; leave `data` out to take the source's rollouts.")
    elif arm.source is None:
        raise WarmstartError("there is no source whose replay buffer could be taken.")


def _check_training(arm: ResolvedArm, target: _Side) -> None:
    """See that the simulation that an arm trains in can be made, and that its encoder takes the frames."""
    place: Place = ("arms", arm.name)
    world = placed(place, resolved, arm.world, arm.target)
    if target.network == "simba" or target.algorithm == "crossq":
        what = "the simba network" if target.network == "simba" else "crossq"
        seen = "frames" if arm.vision is not None else "privileged values" if arm.world.privileged else ""
        if not seen and not isinstance(target.spaces[0], Box):
            seen = str(target.spaces[0])
        if seen:
            raise SettingError(place, f"{what} reads vectors alone, and this arm's agents see {seen}.")
    if arm.world.privileged and target.algorithm not in ASYMMETRIC_POLICIES:
        known = ", ".join(ASYMMETRIC_POLICIES)
        raise SettingError(place, f"{target.algorithm} takes no privileged values; use {known}.")
    varied: Settings = {}
    if arm.vision is not None:
        varied = arm.vision.randomize
        placed(("vision", "randomize"), read_terms, varied)
        config = EncoderConfig.parse(arm.vision.encoder)
        if not config.file:
            config = replace(config, weights="random")  # the network's shape is what matters
        placed(("vision",), make_encoder, config, frame_space(target.spaces[0])[0].shape)
        _check_frames(arm, arm.vision)
    if world or varied:
        placed(place if world else ("vision", "randomize"), check_world, world, arm.target, varied)
    if arm.world.identify:
        placed(place, check_identify, arm.world.identify, arm.target)
    _check_reward(arm.reward, arm, target, arm.algorithm, (*place, "reward"))
    for key in ("privileged", "history"):
        if arm.reward.replaces and getattr(arm.world, key):
            message = f"{arm.reward.name} is of plain observations: leave {key} out."
            raise SettingError((*place, "reward"), message)


def _check_reward(
    reward: RewardConfig, arm: ResolvedArm, side: _Side, config: AlgorithmConfig, place: Place
) -> None:
    """See that a reward can be given for what an arm's agents, or their sources, observe."""
    if not reward.replaces:
        return
    if arm.vision is not None and arm.vision.train != "frozen":
        message = f"{reward.name} is of vectors, and this encoder trains with the agent: set train to frozen."
        raise SettingError(place, message)
    size = 1 if arm.vision is not None else placed(place, vector_size, side.spaces[0], reward.name)
    placed(place, reward.build, size, config.n_envs, 0)


def _check_frames(arm: ResolvedArm, vision: EncoderTraining) -> None:
    """See that what is learned from the source's frames is shown alike in the target."""
    if arm.source is None or not sees_pixels(arm.source):
        return
    if not (arm.method.needs_source or vision.pretrain):
        return
    for option, default in (("visuals", "lean"), ("size", 84)):
        theirs, ours = (task.option(option, default) for task in (arm.source, arm.target))
        if theirs != ours:
            raise SettingError(
                ("target",),
                f"its frames have {option}={ours}, the source's {option}={theirs}: the encoder would see "
                "other pixels than it learned from. Give both tasks the same.",
            )


def _check_spaces(study: Study, source: _Side, target: _Side, arm: ResolvedArm) -> None:
    """See that the source's dimensions can be told among the target's.

    What an agent sees through an encoder is matched by the encoder, when it is there.
    """
    given = (study.source_observation_names, study.source_action_names)
    kinds: tuple[Kind, Kind] = ("observation", "action")
    needed = getattr(arm.method, "needs_match", True) and ANYTHING not in study.observation_map
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
            if ours == ANYTHING:
                placed((f"{kind}_map", ours), check_anything, its)
                continue
            sides = ((ours, study.target, target.layouts[index]), (its, source.text, theirs))
            for name, where, layout in sides:
                known = () if layout is None else layout.names
                plain = name if name is None or name in known else name.removeprefix("-")
                if plain is not None and layout is not None and plain not in known:
                    wrong = unknown_name(f"dimension of {where}", name, layout.names)
                    raise SettingError((f"{kind}_map", ours), str(wrong))
        matching = placed(
            (f"{kind}_map",) if mapping else place,
            lambda: match(theirs, target.layouts[index], sizes, mapping, kind, needed),  # noqa: B023 (called here)
        )
        if kind == "action" and not matching.matched and names is not None:
            message = f"none of {', '.join(names)} is an action of {study.target}: give an action_map."
            raise SettingError(place, message)
    if type(source.spaces[1]) is not type(target.spaces[1]):
        message = f"its actions are {source.spaces[1]}, the target's {target.spaces[1]}."
        raise SettingError(("source",), message)


def _check_networks(source: _Side, target: _Side, arm: ResolvedArm, method: CarryingMethod) -> None:
    """See that the source's networks can be carried into the target's."""
    if source.algorithm != target.algorithm:
        raise SettingError(
            ("algorithm",),
            f"the source was trained by {source.algorithm}, and the target is {target.algorithm}: their "
            f"networks mean different things. Use {source.algorithm}, or a method in which the source "
            "teaches (kickstart, distill, jump_start).",
        )
    if source.network != target.network:
        raise SettingError(
            ("algorithm",),
            f"the source's networks are {source.network}, the target's {target.network}: set "
            f"`network: {source.network}` under `algorithm`.",
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
    if source.standardises and not target.standardises and method.missing_normalizer == "error":
        raise SettingError(
            ("algorithm",),
            "the source was trained on standardised observations, but the target's are as they are: set "
            "`normalize_obs: true` under `algorithm`, or the arm's option `missing_normalizer: fold`.",
        )


def _built_side(text: str, place: Place, config: AlgorithmConfig) -> _Side:
    """What a task is, from its description."""
    found = placed(place, describe, text)
    if sees_pixels(found.task):
        placed(place, frame_space, found.observation_space)
        placed(place, _draw, found.task)
    spaces, layouts = (
        (found.observation_space, found.action_space),
        (found.observation_layout, found.action_layout),
    )
    if config.algorithm != "ppo" and not isinstance(spaces[1], Box):
        message = f"{config.algorithm} acts in continuous spaces, but {text} has {spaces[1]}; use ppo."
        raise SettingError(("algorithm",), message)
    network = getattr(config, "network", "plain")
    return _Side(text, config.algorithm, config.activation, network, config.normalize_obs, spaces, layouts)


def _draw(task: Task) -> None:
    """Draw a frame: without OpenGL this fails here, not in every trial."""
    env = make_vec(task, 1, seed=0, n_threads=1)
    try:
        env.reset()
    finally:
        env.close()


def _given_side(path: Path, study: Study) -> _Side:
    """Read a given checkpoint; its names may come from a task."""
    trusted = {"trust_normalizer": study.source_normalizer, **told_of(study)}
    if study.source_normalizer is not None:
        placed(("source_normalizer",), check_trusted, study.source_normalizer)
        placed(("source_normalizer",), load_checkpoint, path, **trusted)
    place = ("source",) if study.source_task is None else ("source_task",)
    found = placed(place, lambda: read_source(path, source_task=study.source_task, **trusted))
    assert found is not None
    usual = "tanh" if found.algorithm == "ppo" else "relu"
    return _Side(
        str(path),
        found.algorithm,
        str(found.policy_kwargs.get("activation", usual)),
        "simba" if is_simba(found.policy_kwargs) else "plain",
        found.normalizer is not None and found.normalizer.normalize_obs,
        (found.observation_space, found.action_space),
        (found.observation_layout, found.action_layout),
    )
