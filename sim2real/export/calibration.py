"""Inputs to calibrate a quantised graph on: what a robot saw, out of the logs of its runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from warmstart.core.errors import WarmstartError
from warmstart.sim2real.deployment.monitor import contract_of
from warmstart.sim2real.deployment.runtime.contract import Contract
from warmstart.sim2real.export.compress import Feed
from warmstart.transfer.replaying.run_logs import read_run_log


def logged_inputs(paths: Sequence[Path], contract: Contract, most: int) -> list[Feed]:
    """Inputs of a policy out of logs, evenly over their rows.

    Args:
        paths: Logs that ``warmstart run`` wrote.
        contract: Of the policy.
        most: Inputs at most.

    Returns:
        Observations by signal. Shapes: (1, *signal).

    Raises:
        WarmstartError: The policy sees frames or remembers, which logs don't hold; or a log is of other
            observations, or of another task: lists the difference.
    """
    if contract.states or any(each.dtype != "float32" for each in contract.observations):
        raise WarmstartError(
            "Logs hold neither frames nor what a policy remembers: leave --calibration out, and rollouts "
            "take its place."
        )
    found: list[Feed] = []
    for path in paths:
        log = read_run_log(path)
        _check_same(path, contract_of(log), contract)
        rows = np.flatnonzero(log.news & log.acted)
        table = {each.name: log.table(log.observations[each.name]) for each in contract.observations}
        sound = [row for row in rows if all(np.isfinite(values[row]).all() for values in table.values())]
        for row in sound:
            shaped = {
                each.name: table[each.name][row].reshape(1, *each.shape) for each in contract.observations
            }
            found.append({name: values.astype(np.float32) for name, values in shaped.items()})
    if not found:
        raise WarmstartError(f"{', '.join(map(str, paths))}: no observation was acted on.")
    step = max(1, len(found) // most)
    return found[::step][:most]


def _check_same(path: Path, logged: Contract, contract: Contract) -> None:
    problems = []
    if logged.task != contract.task:
        problems.append(f"it is of {logged.task}, the policy of {contract.task}")
    theirs = [(s.name, d.name, d.unit) for s in logged.observations for d in s.dimensions]
    ours = [(s.name, d.name, d.unit) for s in contract.observations for d in s.dimensions]
    if theirs != ours:
        pairs = zip(theirs, ours, strict=False)
        first = next(
            (f"{a[1]} in {a[2]!r} where the policy has {b[1]} in {b[2]!r}" for a, b in pairs if a != b), ""
        )
        problems.append(first or f"it has {len(theirs)} numbers, the policy {len(ours)}")
    if problems:
        raise WarmstartError(f"{path} is no calibration for this policy: {'; '.join(problems)}.")
