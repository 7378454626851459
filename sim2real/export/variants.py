"""From a checkpoint to the variant that was asked for, judged in closed loop before anybody trusts it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.export.calibration import logged_inputs
from warmstart.sim2real.export.compress import Feed, compress
from warmstart.sim2real.export.export import SEED, Exported, export_policy
from warmstart.sim2real.export.judging import FEWEST, Judged, judge, latencies, played, step_of
from warmstart.sim2real.export.parity import Graph, compare
from warmstart.sim2real.export.student import Lesson, small_student

PREDICT, PLAIN = "SB3 predict", "float32"
CALIBRATION = 256
"""Inputs by which int8 decides its ranges."""


@dataclass(frozen=True)
class Wanted:
    """What to make of a policy; by default the graph as it is."""

    student: Sequence[int] = ()
    """Widths of a smaller network that takes its place; empty for none."""
    quantize: str = ""
    """Kind of a smaller graph; empty for none."""
    tolerance: float = 0.05
    """Share of the return that may be lost, by the bad end of the 95% interval."""
    episodes: int = 16
    """Closed-loop episodes of each variant."""
    steps: int = 100_000
    """Environment steps of a student's lessons."""
    calibration: Sequence[Path] = ()
    """Logs of runs by which int8 decides its ranges; empty for rollouts."""
    others: Sequence[str] = ()
    """More kinds to judge beside it, for the table alone."""


@dataclass(frozen=True)
class Prepared:
    """A policy that may be written, and the table that says why."""

    exported: Exported
    """What was asked for."""
    table: tuple[Judged, ...]
    """SB3's ``predict`` first, then the graphs."""


class NotGoodError(WarmstartError):
    """A variant that may lose too much; its ``table`` says what was measured."""

    def __init__(self, table: tuple[Judged, ...], message: str) -> None:
        super().__init__(message)
        self.table = table


def prepare(
    checkpoint: Checkpoint,
    task: Task | str | None,
    wanted: Wanted,
    *,
    trained: Mapping[str, Any] | None = None,
    seed: int = SEED,
    progress: Callable[[Lesson], None] | None = None,
) -> Prepared:
    """Export a checkpoint, make the variant, and judge it beside the original.

    Args:
        checkpoint: Any that acts.
        task: Where it is judged; None for where it was trained.
        wanted: The variant.
        trained: What is known of its training, for the contract.
        seed: Of the first episode.
        progress: Called after each of a student's lessons.

    Raises:
        WarmstartError: It can't be exported, or the variant may lose more of the return than allowed:
            says how much.
    """
    if (wanted.student or wanted.quantize) and wanted.episodes < FEWEST:
        raise WarmstartError(f"A variant is judged over at least {FEWEST} episodes, found {wanted.episodes}.")
    original = export_policy(checkpoint, task, trained=trained, seed=seed)
    with closing(make_vec(original.task, wanted.episodes, seed, n_threads=1)) as env:
        graph = Graph(original.graph, original.contract, wanted.episodes, keep=CALIBRATION)
        own = compare(graph, original.reference, env, seed, driven=False)
    feeds = list(graph.kept)
    calibrated: Sequence[Feed] = feeds
    if wanted.calibration:
        calibrated = logged_inputs(wanted.calibration, original.contract, CALIBRATION)
    variants = {PLAIN: original}
    chosen, base = PLAIN, original
    if wanted.student:
        pupil = small_student(
            checkpoint, original.task, wanted.student, steps=wanted.steps, progress=progress
        )
        chosen = "student " + "x".join(map(str, wanted.student))
        base = export_policy(pupil, original.task, trained=trained, seed=seed)
        variants[chosen] = base
    for kind in dict.fromkeys((*wanted.others, *([wanted.quantize] if wanted.quantize else []))):
        name = f"{chosen}, {kind}" if wanted.student else kind
        variants[name] = replace(base, model=compress(base.model, kind, calibrated))
    if wanted.quantize:
        chosen = f"{chosen}, {wanted.quantize}" if wanted.student else wanted.quantize
    table = _judged(variants, original, own.returns, feeds, wanted.episodes, seed)
    found = next(each for each in table if each.name == chosen)
    if chosen != PLAIN and not found.good(wanted.tolerance):
        raise NotGoodError(
            table,
            f"{chosen} isn't written: it returns {found.mean:.1f}, the policy {own.returns.mean():.1f}. It "
            f"may lose up to {found.high:.1%} (95% interval {found.low:.1%} to {found.high:.1%} over "
            f"{wanted.episodes} episodes), where {wanted.tolerance:.1%} is allowed. More --episodes narrow "
            "the interval, --tolerance allows more.",
        )
    exported = variants[chosen]
    if chosen != PLAIN:
        told = {"variant": chosen, "variant_largest": found.largest, "variant_return": found.mean}
        told |= {"return": float(own.returns.mean()), "lost": [found.low, found.lost, found.high]}
        contract = exported.contract
        exported = replace(exported, contract=replace(contract, parity={**contract.parity, **told}))
    return Prepared(exported, table)


def _judged(
    variants: Mapping[str, Exported],
    original: Exported,
    own: Any,
    feeds: Sequence[Mapping[str, Any]],
    episodes: int,
    seed: int,
) -> tuple[Judged, ...]:
    """Every variant's row, SB3's own way first."""
    graphs = {name: each.graph for name, each in variants.items()}
    names = [each.name for each in original.contract.observations]
    state = len(names) == 1 and not original.contract.states and original.reference.vision is None
    timed: list[Callable[[], object]] = [step_of(graph, feeds) for graph in graphs.values()]
    if state:
        rows = [each[names[0]] for each in feeds]
        turn = iter(range(1 << 62))
        timed.append(lambda: original.reference.predict(rows[next(turn) % len(rows)]))
    times = latencies(timed)
    found = []
    for (name, graph), latency in zip(graphs.items(), times, strict=False):
        contract, policy = variants[name].contract, original.reference
        comparison = played(graph, contract, policy, original.task, episodes, seed)
        found.append(judge(name, len(graph), latency, comparison, own))
    if state:
        mean = float(own.mean())
        found.insert(0, Judged(PREDICT, 0, times[-1], 0.0, mean, 0.0, 0.0, 0.0))
    return tuple(found)
