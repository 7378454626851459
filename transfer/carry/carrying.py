"""Carry a source's policy, critic and normaliser into an agent: what most methods begin with."""

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces.utils import flatdim
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from warmstart.agents.algorithms.off_policy import OffPolicySeams
from warmstart.agents.checkpoints.architecture import ACTIVATIONS, algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.normalization import read_normalizer, write_normalizer
from warmstart.agents.checkpoints.policy import is_of_critic, load_tensors
from warmstart.agents.checkpoints.recurrent import refuse_recurrent
from warmstart.agents.rewards.base import trained_on
from warmstart.core.bounds import Count, NonNegative, Settings
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.layouts import Layout
from warmstart.transfer.carry.alignment import Alignment, align
from warmstart.transfer.carry.exploration import Exploration, set_exploration
from warmstart.transfer.carry.normalizer import MissingNormalizer, RewardStatistics, transfer_statistics
from warmstart.transfer.carry.report import TransferEntry, TransferReport
from warmstart.transfer.carry.source import (
    environment_layouts,
    environment_model,
    environment_name,
    source_name,
)
from warmstart.transfer.matching.by_name import DimensionMap, Sides, match
from warmstart.transfer.matching.matching import Matching
from warmstart.transfer.matching.mirror import ANYTHING, MIRROR, check_anything, other_side, reflected
from warmstart.transfer.matching.scaling import action_scaling


@dataclass(frozen=True)
class TransferContext:
    """What a method is told besides its own options: names, maps and a generator."""

    generator: np.random.Generator
    """Every random draw of the method comes from it."""

    observation_map: DimensionMap = field(default_factory=dict)
    """``{target name: source name}`` where the names differ; ``None`` leaves a dimension fresh."""

    action_map: DimensionMap = field(default_factory=dict)
    """The same for actions."""

    source_observations: Layout | None = None
    """Layout of the source's observations; ``None`` takes the checkpoint's."""

    source_actions: Layout | None = None
    """Layout of the source's actions; ``None`` takes the checkpoint's."""

    target_observations: Layout | None = None
    """Layout of the target's observations; ``None`` takes the environment's."""

    target_actions: Layout | None = None
    """Layout of the target's actions; ``None`` takes the environment's."""


@dataclass(frozen=True)
class CarryOptions:
    """How a source's weights and normaliser are carried: options of every method that does."""

    needs_match: ClassVar[bool] = True
    """Whether some observation of the target has to be one of the source."""

    normalizer_count: Count = 100_000
    """Observations (and returns) that carried statistics count as, at most: the fewer, the sooner they
    adapt."""

    reward_statistics: RewardStatistics = "keep"
    """``keep`` the scale of the source's rewards, which its critic knows, or ``reset`` it for another
    scale; where the source was trained on another reward than the target's, it is reset in any case."""

    missing_normalizer: MissingNormalizer = "error"
    """If the source standardises its observations and the target doesn't: ``error``, or ``fold`` the
    statistics into the first layers."""

    widening_noise: NonNegative = 0.0
    """Noise on the units that widening copies, as a fraction of the weights' standard deviation."""


def carry(
    model: BaseAlgorithm,
    source: Checkpoint,
    context: TransferContext,
    options: CarryOptions,
    exploration: Exploration | None = None,
    method: str = "carry",
) -> TransferReport:
    """Put the source's weights, normaliser and exploration into a model.

    Args:
        model: PPO, SAC or TD3 with its environment.
        source: What is carried.
        context: Names, maps and the generator.
        options: How.
        exploration: What becomes of ``log_std`` or the entropy coefficient; ``None`` leaves the target's.
        method: What the report calls the method.

    Returns:
        The report, nothing frozen yet.

    Raises:
        WarmstartError: Source and model don't go together.
    """
    algorithm = algorithm_name(model)
    _check_networks(model, source, algorithm)
    observations, actions = matchings(model, source, context, required=options.needs_match)
    other = source.reward != trained_on(model.env)
    statistics = transfer_statistics(
        source.normalizer,
        None if model.env is None else read_normalizer(model.env),
        observations,
        (source.observation_space, model.observation_space),
        count=options.normalizer_count,
        rewards="reset" if other else options.reward_statistics,
        missing=options.missing_normalizer,
    )
    scaling = action_scaling(actions, source.action_space, model.action_space, squashed=algorithm != "ppo")
    noise = float(options.widening_noise)
    alignment = Alignment(algorithm, observations, statistics, actions, scaling, context.generator, noise)
    own = {name: tensor.detach().cpu() for name, tensor in model.policy.state_dict().items()}
    kept = {} if source.critic else {name: value for name, value in own.items() if is_of_critic(name)}
    wanted = {name: tensor for name, tensor in own.items() if name not in kept}
    tensors, entries = align(source.policy_tensors, wanted, alignment)
    load_tensors(model.policy, {**tensors, **kept})
    entries += [
        TransferEntry(name, None, tuple(value.shape), "untouched", False, "the source has no critic")
        for name, value in kept.items()
    ]
    if statistics.state is not None and model.env is not None:
        write_normalizer(model.env, statistics.state)
    model._last_obs = None
    report = TransferReport(
        method,
        algorithm,
        source_name(source),
        environment_name(model.env),
        (*entries, *statistics.entries),
        (*observations.notes("observation"), *actions.notes("action"), *scaling.notes, *statistics.notes),
    )
    if other:
        report.add_notes((_other_reward(source, model),))
    set_exploration(model, source, exploration, report)
    if report.copied == 0:
        raise WarmstartError(f"Nothing of {report.source} could be carried to {report.target}.\n{report}")
    return report


def carry_into(
    model: BaseAlgorithm, networks: Settings, carrying: Callable[[BaseAlgorithm], TransferReport]
) -> tuple[TransferReport, dict[str, torch.Tensor]]:
    """Carry a source into a copy of a model with other networks; the model takes what isn't the policy's.

    Args:
        model: The agent; its own networks stay as they are.
        networks: What differs in the copy, in the words of its policy's constructor.
        carrying: Carries into the copy.

    Returns:
        Its report, and the copy's tensors by name.
    """
    policy: Any = model.policy
    other: Any = copy.copy(model)
    with torch.random.fork_rng(devices=[]):
        other.policy = type(policy)(**{**policy._get_constructor_parameters(), **networks})
    report = carrying(other)
    if vars(other).get("log_ent_coef") is not None:
        model.log_ent_coef = other.log_ent_coef  # type: ignore[attr-defined]
    return report, other.policy.state_dict()


def _other_reward(source: Checkpoint, model: BaseAlgorithm) -> str:
    theirs, ours = (
        "the task's reward" if reward is None else str(reward["name"])
        for reward in (source.reward, trained_on(model.env))
    )
    if theirs == ours:
        ours = f"{ours} with other options"
    return (
        f"The source was trained on {theirs}, the target is on {ours}: reward_statistics are reset, and the "
        "source's critic knows another reward: fit it (critic_fit_steps) or reset it (partial_reset)."
    )


def act_from_first_step(model: BaseAlgorithm, collected: int) -> tuple[str, ...]:
    """Let SAC and TD3 act with their policy from the first step, not uniformly at random (SB3 #1916, #435).

    Plain SB3 ties the first gradient step to the end of the random actions (``learning_starts``), so both
    begin at once; an agent of ours keeps its ``learning_starts``, no later than ``collected`` steps.

    Args:
        model: The agent.
        collected: Steps that will be in the replay buffer before learning; 0 if none.

    Returns:
        A note on what was changed.
    """
    if not isinstance(model, OffPolicyAlgorithm):
        return ()
    if isinstance(model, OffPolicySeams):
        model.random_steps = 0
        if collected:
            model.learning_starts = min(model.learning_starts, collected)
        return (f"No random actions; the first gradient step comes after {model.learning_starts:,} steps.",)
    model.learning_starts = 0
    return ("learning_starts is now 0: no random actions, and gradient steps from the start of learn.",)


def _check_networks(model: BaseAlgorithm, source: Checkpoint, algorithm: str) -> None:
    """Refuse a source whose networks mean something else than the model's."""
    refuse_recurrent(source.algorithm)
    if source.algorithm != algorithm:
        raise WarmstartError(
            f"The source was trained by {source.algorithm.upper()}, the target is {algorithm.upper()}: "
            f"their networks mean different things. Use {source.algorithm.upper()} in the target."
        )
    theirs = source.policy_kwargs.get("activation", "tanh" if algorithm == "ppo" else "relu")
    activation: Any = getattr(model.policy, "activation_fn", None)
    known = {cls: name for name, cls in ACTIVATIONS.items()}
    ours = known.get(activation, getattr(activation, "__name__", theirs))
    if theirs != ours:
        raise WarmstartError(
            f"The source's networks use {theirs}, the target's {ours}: the same weights would compute "
            f"something else. Build the target with activation_fn={theirs}."
        )


def _sides(model: BaseAlgorithm, context: TransferContext) -> Sides:
    """What is on the other side of the body of a model's environment.

    Raises:
        WarmstartError: A map asks for something else of all the others, or there is no MuJoCo model.
    """
    for asked in (context.observation_map, context.action_map):
        check_anything(asked.get(ANYTHING, MIRROR))
    simulated = environment_model(model.env)
    if simulated is None:
        raise WarmstartError("mirror: the target has no MuJoCo model that would tell what mirrors what.")

    def side(name: str, known: Collection[str]) -> tuple[str, float] | None:
        other = other_side(name, known)
        sign = None if other is None else reflected(simulated, name, other)
        return None if other is None or sign is None else (other, sign)

    return side


def matchings(
    model: BaseAlgorithm,
    source: Checkpoint,
    context: TransferContext,
    *,
    required: bool = True,
    actions: tuple[Space[Any], Space[Any]] | None = None,
) -> tuple[Matching, Matching]:
    """Which observation and which action of a source is which of a model's; ``required``: some has to be.

    ``actions`` are the source's and the target's, where the agents' own stand for others.

    Raises:
        WarmstartError: Nothing matches, or the actions are of different kinds.
    """
    ours, sides = environment_layouts(model.env), None
    if any(ANYTHING in each for each in (context.observation_map, context.action_map)):
        sides = _sides(model, context)
    observations = match(
        context.source_observations or source.observation_layout,
        context.target_observations or ours[0],
        (flatdim(source.observation_space), flatdim(model.observation_space)),
        context.observation_map,
        "observation",
        required,
        sides,
    )
    theirs, own = actions or (source.action_space, model.action_space)
    if type(theirs) is not type(own):
        raise WarmstartError(
            f"The source's actions are {type(theirs).__name__}, the target's {type(own).__name__}: no match. "
            "Where choices stand for a continuous action (action_bins), a teacher can teach."
        )
    matched = match(
        context.source_actions or source.action_layout,
        context.target_actions or ours[1],
        (flatdim(theirs), flatdim(own)),
        context.action_map,
        "action",
        sides=sides,
    )
    return observations, matched
