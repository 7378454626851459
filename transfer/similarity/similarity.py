"""Put the measures together: a prediction, and a method with its reason in plain words."""

import math
from dataclasses import dataclass, replace

import numpy as np

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import to_plain
from warmstart.envs.tasks.task import Task
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.source import Source, read_source, source_name, source_notes
from warmstart.transfer.matching.by_name import DimensionMap
from warmstart.transfer.similarity.expected import Learning, cold_share, expected_difference
from warmstart.transfer.similarity.improvement import improvement
from warmstart.transfer.similarity.measures import Measure, critic, dynamics, two_samples, zero_shot
from warmstart.transfer.similarity.playing import play, teacher_for

CLEAR = 0.1
"""Share of the source's level from which on its policy counts as worth something in the target."""
ALIKE = 0.3
"""One-step difference up to which two tasks count as moving alike."""
DYNAMICS_STEPS = 300


@dataclass(frozen=True)
class Similarity:
    """What a few thousand steps in the target say of a source."""

    source: str
    target: str
    measures: tuple[Measure, ...]
    predicted: float
    """Expected difference in normalised area between going on from the source's policy and a cold arm, see
    `expected.expected_difference`; NaN where the source has nothing to give, or was trained without its
    task's reward."""
    predicted_low: float
    """Ends of its 95% interval, over episodes."""
    predicted_high: float
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
    context: TransferContext | None = None,
    learning: Learning | None = None,
    budget: int | None = None,
) -> Similarity:
    """Say before any training whether a source is likely to help in a task.

    The source's policy plays the target and its own task, chance both of them, once in each of ``episodes``
    environments, and the target once more as it explores. No parameter changes.

    Args:
        source: A checkpoint, its path, or a model.
        task: The target.
        episodes: Environments in which each is played once.
        seed: Of the first.
        algorithm: That the target is trained with; None for the source's.
        observation_map: ``{target name: source name}`` where names differ.
        action_map: The same for actions.
        source_task: Where the source was trained, if it doesn't say.
        context: Names and maps, in place of both maps.
        learning: How the source learnt at home, which says how fast a cold start is; None where nobody knows.
        budget: Environment steps that the target would be trained for; None for as many as the source's
            learning is known for.

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
    told = context or TransferContext(rng, dict(observation_map or {}), dict(action_map or {}))
    teacher = teacher_for(checkpoint, target, told)
    at_home = teacher_for(checkpoint, home, replace(told, observation_map={}, action_map={}))
    there, nobody = play(target, teacher.act, episodes, seed), play(target, None, episodes, seed)
    own, own_nobody = play(home, at_home.act, episodes, seed), play(home, None, episodes, seed)
    gamma = checkpoint.normalizer.gamma if checkpoint.normalizer is not None else 0.99
    gain = float(own.returns.mean() - own_nobody.returns.mean())
    improved, explored = improvement(teacher, target, gain, gamma, episodes, seed)
    share = zero_shot(there, nobody, own, own_nobody, rng)
    measures = (
        share,
        dynamics(home, target, teacher, DYNAMICS_STEPS, seed),
        two_samples(own, there, teacher, seed),
        critic(checkpoint, there, teacher, gamma),
        improved,
    )
    outlook, method, reason = judged(measures, checkpoint, algorithm or checkpoint.algorithm)
    steps, chance = budget or (learning.steps[-1] if learning else 0) or 1, float(own_nobody.returns.mean())
    gains = [math.nan] * 3
    if checkpoint.reward is None and not math.isnan(share.value):
        ends = (share.value, share.low, share.high)
        gains = [expected_difference(each, gain, chance, learning, steps) for each in ends]
        if learning is not None:
            outlook, method = outlook_of(gains[1], gains[2], method)
            level = cold_share(gain, chance, learning, steps)
            reason += (
                f" A cold start that learns as the source did is at {level:.0%} of its final return on "
                f"average over {steps:,} steps."
            )
    compared = 0 if math.isnan(measures[1].value) else DYNAMICS_STEPS
    return Similarity(
        source=source_name(checkpoint),
        target=str(target),
        measures=measures,
        predicted=gains[0],
        predicted_low=gains[1],
        predicted_high=gains[2],
        outlook=outlook,
        method=method,
        reason=reason,
        steps=there.steps + nobody.steps + compared + explored,
        notes=(*source_notes(checkpoint), *teacher.notes),
    )


def outlook_of(low: float, high: float, method: str) -> tuple[str, str]:
    """What an interval of the expected difference says, and the method: guarded where it hurts."""
    if high < 0:
        return "hurts", "guarded" if method == "fine_tune" else method
    return ("helps" if low > 0 else "open"), method


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
