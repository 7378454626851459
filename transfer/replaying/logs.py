"""Logs of an exported policy's runs, on a robot or a simulated one, as recorded steps."""

import math
from pathlib import Path

import numpy as np

from warmstart.core.errors import WarmstartError
from warmstart.transfer.replaying.run_logs import RunLog, read_run_log
from warmstart.transfer.teaching.rollouts import Transitions


def read_log(path: str | Path) -> Transitions:
    """The steps of a log between observations that follow each other; without rewards these are NaN.

    Actions are those that were commanded, after limits. A step whose next observation was lost, or whose own
    wasn't acted on, is left out.

    Raises:
        WarmstartError: It is no log, its policy sees frames or several signals, or no two observations follow
            each other.
    """
    log = read_run_log(path)
    if len(log.observations) != 1:
        named = ", ".join(log.observations) or "none"
        raise WarmstartError(f"{path}: expected one signal of observations to learn from, found {named}.")
    (names,) = log.observations.values()
    action, dtype, shape = _action(log)
    wanted = math.prod(log.contract["observations"][0].get("shape", ())) if log.contract else len(names)
    if len(names) != wanted:
        raise WarmstartError(f"{path}: the log of a policy that sees frames doesn't hold them.")
    observed = log.table(names)
    rows = np.flatnonzero(log.news & np.isfinite(observed).all(axis=1))
    here, after = rows[:-1], rows[1:]
    number, episode, ended = (log.columns[name] for name in ("number", "episode", "ended"))
    follows = (number[after] == number[here] + 1) & (episode[after] == episode[here])
    follows &= log.acted[here] & (ended[here] == 0)
    here, after = here[follows], after[follows]
    if not len(here):
        raise WarmstartError(f"{path}: no two observations follow each other, so there is no step.")
    return Transitions(
        observations=observed[here],
        actions=log.table(action)[here].astype(dtype).reshape(len(here), *shape),
        rewards=log.columns["reward"][after],
        next_observations=observed[after],
        terminated=ended[after] == 1,
        truncated=ended[after] == 2,
    )


def _action(log: RunLog) -> tuple[tuple[str, ...], str, tuple[int, ...]]:
    """Columns, dtype and shape of an action; a choice has none."""
    signal = log.contract.get("action", {})
    dtype, shape = str(signal.get("dtype", "float32")), tuple(signal.get("shape", (len(log.action),)))
    if dtype == "int64" and shape == (1,):
        shape = ()
    if dtype not in ("float32", "int64") or math.prod(shape) != len(log.action):
        raise WarmstartError(f"{log.path}: its contract's action isn't {', '.join(log.action)}.")
    return log.action, dtype, shape
