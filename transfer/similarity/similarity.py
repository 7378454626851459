"""Put the measures together: a prediction, and a method with its reason in plain words."""

import math
from dataclasses import dataclass

import numpy as np

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import to_plain
from warmstart.envs.tasks.task import Task
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.source import Source, read_source, source_name, source_notes
from warmstart.transfer.matching.by_name import DimensionMap
from warmstart.transfer.similarity.measures import Measure, critic, dynamics, two_samples, zero_shot
from warmstart.transfer.similarity.playing import play, teacher_for

CLEAR = 0.1
"""Share of the source's level from which on its policy counts as worth something in the target."""
ALIKE = 0.3
"""One-step difference up to which two tasks count as moving alike."""
USUAL_AREA = 0.5
"""Normalised area that a cold arm has which just gets to its final return within the budget."""
DYNAMICS_STEPS = 300


@dataclass(frozen=True)
class Similarity:
    """What a few thousand steps in the target say of a source."""

    source: str
    target: str
    measures: tuple[Measure, ...]
    predicted: float
    """Expected difference in normalised area to a cold arm: the zero-shot return less `USUAL_AREA` where the
    policy is worth something, else what it is worse than chance. Not calibrated yet; NaN where the source
    has nothing to give, or was trained without its task's reward."""
    outlook: str
    """``helps``, ``hurts`` or ``open``."""
    method: str
    """What to take."""
    reason: str
    """Why, in one sentence."""
    steps: int
    """Steps taken in the target."""
    notes: tuple[str, ...] = ()

    def measure(self, name: str) -> Measure:
        """The measure of a name."""
        return next(each for each in self.measures if each.name == name)

    def to_json(self) -> State:
        """Plain values."""
        plain: State = to_plain(self)
        return plain


def similarity(
    source: Source,
    task: str | Task,
    *,
    episodes: int = 8,
    seed: int = 0,
    algorithm: str | None = None,
    observation_map: DimensionMap | None = None,
    action_map: DimensionMap | None = None,
    source_task: str | None = None,
) -> Similarity:
    """Say before any training whether a source is likely to help in a task.

    The source's policy plays the target and its own task, chance both of them, once in each of ``episodes``
    environments. No parameter changes.

    Args:
        source: A checkpoint, its path, or a model.
        task: The target.
        episodes: Environments in which each is played once.
        seed: Of the first.
        algorithm: That the target is trained with; None for the source's.
        observation_map: ``{target name: source name}`` where names differ.
        action_map: The same for actions.
        source_task: Where the source was trained, if it doesn't say.

    Raises:
        WarmstartError: The source doesn't know its task, nothing matches, or an episode doesn't end.
    """
    checkpoint = read_source(source, source_task=source_task)
    trained_in = source_task or (None if checkpoint is None else checkpoint.task)
    if checkpoint is None or trained_in is None:
        raise WarmstartError("The source doesn't say in which task it was trained: give source_task.")
    home = Task.parse(trained_in)
    target = Task.parse(task) if isinstance(task, str) else task
    rng = np.random.default_rng(seed)
    context = TransferContext(rng, dict(observation_map or {}), dict(action_map or {}))
    teacher = teacher_for(checkpoint, target, context)
    at_home = teacher_for(checkpoint, home, TransferContext(rng))
    there, nobody = play(target, teacher.act, episodes, seed), play(target, None, episodes, seed)
    own, own_nobody = play(home, at_home.act, episodes, seed), play(home, None, episodes, seed)
    gamma = checkpoint.normalizer.gamma if checkpoint.normalizer is not None else 0.99
    measures = (
        zero_shot(there, nobody, own, own_nobody, rng),
        dynamics(home, target, teacher, DYNAMICS_STEPS, seed),
        two_samples(own, there, teacher, seed),
        critic(checkpoint, there, teacher, gamma),
    )
    outlook, method, reason = judged(measures, checkpoint, algorithm or checkpoint.algorithm)
    share = measures[0].value
    unknown = math.isnan(share) or checkpoint.reward is not None
    predicted = math.nan if unknown else max(share, 0.0) - USUAL_AREA if share > CLEAR else min(share, 0.0)
    used = there.steps + nobody.steps + (0 if math.isnan(measures[1].value) else DYNAMICS_STEPS)
    return Similarity(
        source_name(checkpoint),
        str(target),
        measures,
        predicted,
        outlook,
        method,
        reason,
        used,
        (*source_notes(checkpoint), *teacher.notes),
    )


def judged(measures: tuple[Measure, ...], source: Checkpoint, algorithm: str) -> tuple[str, str, str]:
    """Outlook, method and reason: keep whichever is stronger, the source's policy or its data.

    The rule of Three Regimes (2510.01460), with `guarded` where neither is known to be strong.
    """
    share, moves = measures[0], measures[1]
    if source.reward is not None:
        told = "It had no reward of its task: neither its returns nor its critic measure what it knows"
        if algorithm == source.algorithm:
            return "open", "fine_tune", f"{told}. Its networks can be carried."
        return "open", "scratch", f"{told}, and its networks are {source.algorithm}'s."
    if math.isnan(share.value):
        return "hurts", "scratch", "The source is no better than chance in its own task."
    if share.low > CLEAR:
        said = f"Its policy is worth {share.value:.0%} of its own level in the target at once"
        if algorithm == source.algorithm:
            return "helps", "fine_tune", f"{said}: keep the policy and go on from it."
        return "helps", "kickstart", f"{said}, but its networks are {source.algorithm}'s: let it teach."
    if algorithm != source.algorithm and share.high < 0:
        return "hurts", "scratch", "Its policy is clearly worse than chance in the target."
    if share.high < 0:
        told = "Its policy is clearly worse than chance in the target: what it knows is wrong there."
        return "hurts", "guarded", f"{told} Guarded, it is tried for a few percent of the budget and dropped."
    if moves.value < ALIKE and algorithm != "ppo":
        told = "Its policy is worth little, but both tasks move alike"
        return "open", "rlpd", f"{told}: its steps are stronger than its policy, so learn from them."
    if algorithm != source.algorithm:
        told = "Its policy isn't clearly better than chance in the target, and its networks can't be carried"
        return "open", "kickstart", f"{told}: a teacher that fades costs least."
    told = "Its policy isn't clearly better than chance in the target"
    return (
        "open",
        "guarded",
        f"{told}: guarded, it is tried for a few percent of the budget, and dropped if it doesn't help.",
    )
