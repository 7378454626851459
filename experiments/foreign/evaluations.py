"""The evaluations that SB3's ``EvalCallback`` writes."""

from pathlib import Path

import numpy as np

from warmstart.agents.untrusted.arrays import read_array
from warmstart.agents.untrusted.zips import open_zip
from warmstart.core.errors import WarmstartError
from warmstart.experiments.foreign.recording import Recording, in_sequence, whole_steps

LARGEST = 1 << 30
"""Most bytes that are unpacked."""


def read_evaluations(path: Path) -> Recording:
    """Read what SB3's ``EvalCallback`` writes.

    Args:
        path: ``evaluations.npz`` with ``timesteps`` (points,) and ``results`` (points, episodes).

    Raises:
        WarmstartError: Truncated, too large, or not such a file.
    """
    expected = "Expected the evaluations.npz of SB3's EvalCallback (timesteps, results)."
    try:
        with open_zip(path, LARGEST, what="an archive of plain numbers") as packed:
            names = packed.namelist()
            missing = [key for key in ("timesteps", "results") if f"{key}.npy" not in names]
            if missing:
                raise WarmstartError(f"{path} holds no {' and no '.join(missing)}. {expected}")
            steps, results = (read_array(packed, f"{key}.npy") for key in ("timesteps", "results"))
    except WarmstartError as error:
        told = str(error) if str(path) in str(error) else f"{path} can't be read: {error}"
        raise WarmstartError(told if expected in told else f"{told} {expected}") from None
    if not (np.issubdtype(steps.dtype, np.number) and np.issubdtype(results.dtype, np.number)):
        raise WarmstartError(f"{path} holds {steps.dtype} and {results.dtype}, not numbers. {expected}")
    if steps.ndim != 1 or results.ndim not in (1, 2) or len(steps) != len(results) or not len(steps):
        raise WarmstartError(
            f"{path}: timesteps of shape {steps.shape} and results of shape {results.shape}. Expected "
            "(points,) and (points, episodes)."
        )
    if not results.size or np.iscomplexobj(results) or np.iscomplexobj(steps):
        raise WarmstartError(f"{path}: expected real returns of at least one episode each. {expected}")
    returns = results.reshape(len(steps), -1).astype(np.float64).mean(axis=1)
    counted, kept, notes = in_sequence(whole_steps(steps, str(path)), str(path))
    return Recording(path, counted, returns[kept], np.full(len(kept), np.nan), tuple(notes))
