"""What a run's log tells: return, action saturation, latency, and drift from training."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError
from warmstart.core.files import finite_json
from warmstart.sim2real.deployment.drift import FEWEST, Drift, drifts
from warmstart.sim2real.deployment.runtime.contract import Contract, DeploymentError, Dimension
from warmstart.transfer.replaying.run_logs import RunLog, read_run_log

AT_LIMIT = 1e-3
"""Distance from an action's limit, as a share of its range, within which it counts as saturated."""
QUANTILES = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
TIMES = {
    "late": "step behind its time",
    "compute": "policy",
    "age": "observation's age",
    "round_trip": "command to observation",
}
"""What a log times, in words."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Saturation:
    """How often an action was at its limits."""

    name: str
    low: float
    """Share of the steps at the lower limit."""
    high: float
    """Share of the steps at the upper limit."""
    limited: float
    """Share of the steps in which the policy wanted something else than was commanded."""


@dataclass(frozen=True)
class Monitored:
    """What one log tells."""

    path: Path
    task: str
    rate: float
    stop: str
    """Why the run ended; empty where the log was cut."""
    seconds: float
    steps: int
    missed: int
    """Steps that were left out since the one before took too long."""
    lost: float
    """Share of the robot's observations that never came."""
    unsound: int
    """Observations that held NaN or infinities."""
    returns: tuple[float, ...]
    """Of each episode that was seen to its end."""
    unfinished: tuple[float, ...]
    """Rewards so far of those that weren't: the last one, and those whose end was lost."""
    unfinished_steps: tuple[int, ...]
    """Steps of each of these whose reward was told."""
    trained_return: float
    """In the policy's own task, where the contract knows; else NaN."""
    saturation: tuple[Saturation, ...]
    times: Mapping[str, Mapping[str, float]]
    """Quantiles in ms of what `TIMES` names."""
    drift: tuple[Drift, ...]
    notes: tuple[str, ...]
    """What couldn't be told, and why."""

    @property
    def alarms(self) -> tuple[str, ...]:
        """Drift beyond its limits, in a sentence each."""
        return tuple(f"{each.name}: {each.alarm}" for each in self.drift if each.alarm)

    def told_returns(self) -> str:
        """The last returns in a line; empty where the robot told no reward."""
        parts = []
        if self.returns:
            last = ", ".join(f"{value:,.1f}" for value in self.returns[-8:])
            of = f" (the last 8 of {len(self.returns)} episodes)" if len(self.returns) > 8 else ""
            parts.append(f"returns {last}{of}")
        if self.unfinished:
            pairs = list(zip(self.unfinished, self.unfinished_steps, strict=True))[-8:]
            so_far = ", ".join(f"{value:,.1f} in {steps:,} steps" for value, steps in pairs)
            parts.append(f"{so_far} of an episode that wasn't seen to its end")
        if parts and not math.isnan(self.trained_return):
            parts.append(f"{self.trained_return:,.1f} in a whole episode in training")
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Plain values, NaN as None."""
        return finite_json({**asdict(self), "path": str(self.path), "alarms": self.alarms})  # type: ignore[no-any-return]


@np.errstate(over="ignore", invalid="ignore")  # a broken sensor gives any number
def monitor(log: RunLog | str | Path) -> Monitored:
    """Tell of a log what matters.

    Raises:
        WarmstartError: It is no log, or its contract can't be read.
    """
    log = log if isinstance(log, RunLog) else read_run_log(log)
    contract, notes = contract_of(log), list(log.notes)
    rows = log.columns
    acted = log.acted
    judged = acted & log.news & (rows["ended"] == 0)  # what the policy acted on; a last observation isn't
    steps = int(acted.sum())
    number = rows["number"][_running(log)]
    expected = float(number[-1] - number[0] + 1) if len(number) else 0.0
    clock = rows["clock"][acted]
    seconds = float(clock[-1] - clock[0]) if steps else 0.0
    returns, unfinished = _returns(log, notes)
    lost = 1 - len(number) / expected if expected else math.nan
    if lost > 0 and (returns or unfinished):
        notes.append(
            f"{lost:.1%} of the observations, and the rewards with them, were lost: returns lack them."
        )
    if not log.stop:
        notes.append("The log says no end: it was cut, or the run goes on.")
    drift = [*drifts(log, contract, judged, notes)]
    if drift and judged.sum() < FEWEST:
        notes.append(f"Drift isn't judged below {FEWEST} observations; there are {int(judged.sum())}.")
    return Monitored(
        path=log.path,
        task=contract.task or "",
        rate=log.rate,
        stop=log.stop,
        seconds=seconds,
        steps=steps,
        missed=max(0, round(seconds * log.rate) + 1 - steps) if steps else 0,
        lost=lost,
        unsound=sum("no number for" in event and event.startswith("not acted on") for event in log.events),
        returns=returns,
        unfinished=tuple(each.total for each in unfinished),
        unfinished_steps=tuple(each.steps for each in unfinished),
        trained_return=_trained_return(contract),
        saturation=_saturation(log, contract, acted),
        times={name: _quantiles(1e3 * rows[name][acted]) for name in TIMES},
        drift=tuple(drift),
        notes=tuple(notes),
    )


def contract_of(log: RunLog) -> Contract:
    """The contract in a log.

    Raises:
        WarmstartError: It can't be read.
    """
    try:
        return Contract.from_json(log.contract, f"the contract in {log.path}")
    except DeploymentError as error:
        raise WarmstartError(str(error)) from None


@dataclass(frozen=True)
class Episode:
    """One episode of a log."""

    last: int
    """Its last row."""
    steps: int
    """Steps whose reward was told."""
    total: float
    """Return; NaN where no reward was told."""
    ended: bool
    """Whether its end was seen."""


def episodes(log: RunLog) -> list[Episode]:
    """The episodes of a log, in order."""
    rows = log.columns
    news = np.flatnonzero(_running(log))
    found = []
    for episode in dict.fromkeys(rows["episode"][news].tolist()):
        own = news[rows["episode"][news] == episode]
        rewards = rows["reward"][own]
        known = np.isfinite(rewards)
        total = float(rewards[known].sum()) if known.any() else math.nan
        found.append(Episode(int(own[-1]), int(known.sum()), total, bool(rows["ended"][own[-1]])))
    return found


def _returns(log: RunLog, notes: list[str]) -> tuple[tuple[float, ...], list[Episode]]:
    """Returns of the episodes that ended, and the others."""
    known = [each for each in episodes(log) if np.isfinite(each.total)]
    if not known:
        notes.append("The robot told no reward, so there is no return.")
    return tuple(e.total for e in known if e.ended), [e for e in known if not e.ended]


def _trained_return(contract: Contract) -> float:
    found = contract.trained.get("return")
    return float(found) if isinstance(found, int | float) else math.nan


def _quantiles(values: Floats) -> dict[str, float]:
    known = values[np.isfinite(values)]
    return {name: float(np.quantile(known, q)) if len(known) else math.nan for name, q in QUANTILES}


def _running(log: RunLog) -> NDArray[np.bool_]:
    """Rows of new observations, up to the last control step. Shape: (n,)."""
    last = int(np.flatnonzero(log.acted).max(initial=-1))
    return log.news & (np.arange(len(log.events)) <= last)


def limits_of(contract: Contract) -> tuple[Floats, Floats]:
    """Limits of the actions, infinite where there are none. Shape: (m,) each."""
    n = max(1, math.prod(contract.action.shape))
    known = contract.action.dimensions or tuple(Dimension("") for _ in range(n))
    low = np.array([-np.inf if each.low is None else each.low for each in known])
    return low, np.array([np.inf if each.high is None else each.high for each in known])


def at_limit(commands: Floats, low: Floats, high: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which commands are at which limit. Shape: (n, m) each."""
    near = np.where(np.isfinite(high - low), AT_LIMIT * (high - low), 0.0)
    return commands <= low + near, commands >= high - near


def _saturation(log: RunLog, contract: Contract, acted: NDArray[np.bool_]) -> tuple[Saturation, ...]:
    commands, wanted = log.table(log.action)[acted], log.table(log.policy)[acted]
    if not len(commands):
        return ()
    asked = np.isfinite(wanted)
    at_low, at_high = at_limit(commands, *limits_of(contract))
    changed = asked & (np.abs(commands - wanted) > 1e-6 * (1 + np.abs(wanted)))
    shares = (each.mean(axis=0) for each in (at_low, at_high, changed))
    return tuple(Saturation(name, *map(float, of)) for name, *of in zip(log.action, *shares, strict=True))
