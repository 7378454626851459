"""Warm-start an agent in one call, plain SB3's or warmstart's own."""

import inspect
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback

from warmstart.agents.algorithms.base import SeamAgent
from warmstart.agents.algorithms.seams import Seams
from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import setting_names
from warmstart.envs.simulation.layouts import Layout
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.carry.source import Source, read_source, source_notes
from warmstart.transfer.matching.by_name import DimensionMap, named
from warmstart.transfer.matching.matching import Kind
from warmstart.transfer.methods.base import TransferMethod
from warmstart.transfer.methods.critic import fit_critic, needs_an_episode
from warmstart.transfer.table import METHODS, make_method

Names = Sequence[str] | Layout


def warm_start(
    model: BaseAlgorithm,
    source: Source,
    method: str | Settings | TransferMethod = "fine_tune",
    *,
    observation_map: DimensionMap | None = None,
    action_map: DimensionMap | None = None,
    source_observation_names: Names | None = None,
    source_action_names: Names | None = None,
    target_observation_names: Names | None = None,
    target_action_names: Names | None = None,
    source_task: str | None = None,
    trust_normalizer: str | Path | None = None,
    source_activation: str | None = None,
    source_onnx: str | Path | None = None,
    seed: int | None = None,
    callback: MaybeCallback = None,
    max_steps: int | None = None,
    **options: Any,
) -> TransferReport:
    """Start a model from what another one learned.

    Initialises, freezes and fits the critic to the frozen policy (its steps are counted in
    ``model.num_timesteps``). Go on with
    ``model.learn(steps, reset_num_timesteps=False, callback=report.callback)``.

    Args:
        model: PPO, SAC or TD3, of ``stable_baselines3`` or of ``warmstart``, with its environment.
        source: A checkpoint directory, an SB3 zip or a ``.pt`` of rsl_rl's or mjlab's (nothing is unpickled),
            a ``Checkpoint``, or another model.
        method: Name of a transfer method, a mapping with its options, or a method.
        observation_map: ``{target name: source name}`` where names differ; ``-name`` turns the sign round,
            ``None`` leaves a dimension fresh, ``{"*": "mirror"}`` takes the others from the other side.
        action_map: The same for actions.
        source_observation_names: Names of the source's observations, in order, where it holds none (an SB3
            zip).
        source_action_names: Names of the source's actions. A ``Layout`` also gives the actuators' scale
            (gear).
        target_observation_names: Names of the target's observations, where its environment has none.
        target_action_names: Names of the target's actions.
        source_task: Task that the source was trained in, for its names: ``"Hopper-v5"``.
        trust_normalizer: ``VecNormalize`` file of an SB3 source: a pickle, of which nothing is run.
        source_activation: Activation function of a source of rsl_rl's, whose files don't say it; ``None``
            takes ``elu``.
        source_onnx: ONNX model of mjlab's that names the dimensions of a source of rsl_rl's; ``None`` takes
            the one beside it, if any.
        seed: Seeds the method's random draws; ``None`` takes the model's seed.
        callback: Runs in the critic's fit, as it would in ``learn``.
        max_steps: Budget that the fit mustn't exceed, nor the first episode that a ``HerReplayBuffer`` needs.
        options: Options of the method: ``critic_fit_steps=10_000``, ``exploration=Floor(-1.0)``.

    Returns:
        What was done to every tensor, and the ``callback`` that ``learn`` needs.

    Raises:
        WarmstartError: If anything doesn't fit: names the option that helps.
    """
    _check_options(method, options)
    chosen = make_method(method, **options)
    checkpoint = read_source(
        source,
        source_task=source_task,
        trust_normalizer=trust_normalizer,
        activation=source_activation,
        onnx=source_onnx,
    )
    context = TransferContext(
        _generator(chosen, seed, model),
        dict(observation_map or {}),
        dict(action_map or {}),
        _layout(source_observation_names, "observation"),
        _layout(source_action_names, "action"),
        _layout(target_observation_names, "observation"),
        _layout(target_action_names, "action"),
    )
    install_seams(model, chosen, chosen.seams(checkpoint))
    report = chosen.initialise(model, checkpoint, context)
    report.add_notes(source_notes(checkpoint))
    report.steps = chosen.prepare(model, callback, max_steps)
    chosen.amend(report, model)
    if chosen.trains and needs_an_episode(model):
        left = None if max_steps is None else max_steps - report.steps
        report.steps += fit_critic(model, 1, callback, updates=0, max_steps=left)
    if report.steps and isinstance(vars(model).get("replay_buffer"), HerReplayBuffer):
        report.add_notes(
            [f"HerReplayBuffer draws from ended episodes only: {report.steps:,} steps hold at least one."]
        )
    return report


def install_seams(model: BaseAlgorithm, method: TransferMethod, seams: Seams) -> None:
    """Put a method's seams into an agent that is built already.

    Raises:
        WarmstartError: If the agent is plain SB3's and has none, or a seam needs to be there when it is
            built.
    """
    needed = [seam.name for seam in fields(seams) if getattr(seams, seam.name)]
    if not needed:
        return
    if not isinstance(model, SeamAgent):
        ours = next(
            (c.__name__ for c in type(model).__mro__ if c.__name__ in ("PPO", "SAC", "TD3", "TQC", "CrossQ")),
            "PPO",
        )
        raise WarmstartError(
            f"{method.name} needs more of the agent ({', '.join(needed)}) than stable_baselines3's {ours} "
            f"offers. Build the model with warmstart.{ours}, which takes the same arguments."
        )
    asked = seams.policy_kwargs.items()
    there = all(model.policy_kwargs.get(name) == value for name, value in asked)
    built = [name for name in ("initialise", *(() if there else ("policy_kwargs",))) if name in needed]
    if built:
        raise WarmstartError(
            f"{method.name} changes how the agent is built ({', '.join(built)}): give "
            f"warmstart.{type(model).__name__} seams=make_method({method.name!r}).seams(source)."
        )
    model.seams = seams
    if seams.trainability is not None:
        model.set_trainability(seams.trainability)


def _check_options(method: str | Settings | TransferMethod, options: Settings) -> None:
    """Name the nearest option, of the method or of ``warm_start``, for a misspelt one."""
    name = method if isinstance(method, str | TransferMethod) else method.get("method")
    if not isinstance(name, str) or name not in METHODS:
        return
    known = setting_names(METHODS[name])
    parameters = inspect.signature(warm_start).parameters.values()
    ours = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of {name}", option, (*known, *ours))


def _generator(method: TransferMethod, seed: int | None, model: BaseAlgorithm) -> np.random.Generator:
    chosen = seed if seed is not None else model.seed
    if chosen is None and method.needs_seed:
        raise WarmstartError(
            f"{method.name} draws at random: give warm_start(..., seed=0), or the model a seed."
        )
    return np.random.default_rng(0 if chosen is None else chosen)


def _layout(names: Names | None, kind: Kind) -> Layout | None:
    """Turn names into a layout."""
    if names is None or isinstance(names, Layout):
        return names
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise WarmstartError(f"Names of dimensions are a list of strings, in order, not {names!r}.")
    return named(list(names), kind)
