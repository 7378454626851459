"""The evaluations that SB3's ``EvalCallback`` writes."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from warmstart.core.errors import WarmstartError
from warmstart.core.files import check_file
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
        with zipfile.ZipFile(check_file(path, LARGEST)) as packed:
            size = sum(item.file_size for item in packed.infolist())
        if size > LARGEST:
            raise WarmstartError(f"{path} holds {size:,} bytes, expected at most {LARGEST:,}. {expected}")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in ("timesteps", "results") if key not in archive.files]
            if missing:
                raise WarmstartError(f"{path} holds no {' and no '.join(missing)}. {expected}")
            steps, results = (np.asarray(archive[key]) for key in ("timesteps", "results"))
    except WarmstartError:
        raise
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        zipfile.BadZipFile,
        AttributeError,
        MemoryError,
        RuntimeError,  # an encrypted member, or a compression that zipfile doesn't know
        TypeError,
        zlib.error,
    ) as error:
        pickled = "allow_pickle" in str(error)
        why = "not an archive of plain numbers" if pickled else str(error) or type(error).__name__
        raise WarmstartError(f"{path} can't be read ({why}): truncated or foreign. {expected}") from error
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
