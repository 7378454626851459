"""The statistics of a ``VecNormalize`` that stable-baselines3 saved, of any version; nothing in it is run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.agents.checkpoints.normalization import NormalizerState
from warmstart.agents.untrusted.pickles import Called, read_pickle
from warmstart.core.errors import WarmstartError
from warmstart.core.files import read_bytes

_SPACES = {
    "box": ("Box",),
    "dict": ("Dict",),
    "discrete": ("Discrete",),
    "multi_binary": ("MultiBinary",),
    "multi_discrete": ("MultiDiscrete",),
}

NORMALIZER_GLOBALS: dict[str, tuple[str, ...]] = {
    "builtins": ("dict", "list", "tuple", "set", "bytearray", "bytes", "slice", "object"),
    "__builtin__": ("dict", "list", "tuple", "set", "bytearray", "bytes", "slice", "object"),
    "collections": ("OrderedDict",),
    "copyreg": ("_reconstructor",),
    "copy_reg": ("_reconstructor",),
    "_codecs": ("encode",),
    "numpy": ("dtype", "ndarray", "bool_", "float32", "float64", "int8", "int32", "int64", "uint8"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.numeric": ("_frombuffer",),
    "numpy.random._pcg64": ("PCG64",),
    "numpy.random._mt19937": ("MT19937",),
    "numpy.random._pickle": ("__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"),
    "numpy.random.bit_generator": ("SeedSequence", "__pyx_unpickle_SeedSequence"),
    "gym.utils.seeding": ("RandomNumberGenerator",),
    **{f"gym.spaces.{module}": names for module, names in _SPACES.items()},
    **{f"gymnasium.spaces.{module}": names for module, names in _SPACES.items()},
    "stable_baselines3.common.running_mean_std": ("RunningMeanStd",),
    "stable_baselines3.common.vec_env.vec_normalize": ("VecNormalize",),
    "warmstart.agents.normalization": ("FastVecNormalize",),
    "warmstart.agents.checkpoints.normalization": ("FastVecNormalize",),
}
"""Names by module that a ``VecNormalize`` refers to; also old ones of NumPy, gym, Python and this package."""


def read_trusted_normalizer(path: Path) -> NormalizerState:
    """Read a file that SB3's ``VecNormalize.save`` wrote.

    It is a pickle, read as data: no name in it is called, and one that has no business there is refused.

    Raises:
        WarmstartError: It is missing, damaged, or not a ``VecNormalize``.
    """
    if not path.is_file():
        raise WarmstartError(f"There is no VecNormalize file at {path}.")
    try:
        wrapper = read_pickle(read_bytes(path), NORMALIZER_GLOBALS)
        if not isinstance(wrapper, Called) or not wrapper.name.endswith("VecNormalize"):
            found = wrapper.name if isinstance(wrapper, Called) else type(wrapper).__name__
            raise WarmstartError(f"it holds a {found}")
        return _state(wrapper.attributes())
    except WarmstartError as error:
        raise WarmstartError(
            f"{path} is not a VecNormalize that stable-baselines3 saved: {error}."
        ) from error
    except OSError as error:
        raise WarmstartError(f"{path} can't be read: {error.strerror}.") from error


def _state(attributes: Mapping[str, Any]) -> NormalizerState:
    """The statistics in the attributes of a ``VecNormalize``."""
    try:
        normalize_obs = bool(attributes["norm_obs"])
        mean, var, count = np.zeros(0), np.ones(0), 1e-4
        keys = attributes.get("norm_obs_keys")
        moments = attributes["obs_rms"] if normalize_obs else None
        means: Any = mean
        variances: Any = var
        if isinstance(moments, dict):
            known = {key: _moments(value) for key, value in moments.items() if keys is None or key in keys}
            means = {key: value[0] for key, value in known.items()}
            variances = {key: value[1] for key, value in known.items()}
            count = max(value[2] for value in known.values())
        elif moments is not None:
            means, variances, count = _moments(moments)
        return_mean, return_var, return_count = _moments(attributes["ret_rms"])
        return NormalizerState(
            mean=means,
            var=variances,
            count=count,
            clip=float(attributes["clip_obs"]),
            epsilon=float(attributes["epsilon"]),
            return_mean=float(return_mean),
            return_var=float(return_var),
            return_count=return_count,
            clip_reward=float(attributes["clip_reward"]),
            gamma=float(attributes["gamma"]),
            normalize_obs=normalize_obs,
            normalize_reward=bool(attributes["norm_reward"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WarmstartError(f"it lacks or contradicts {error}") from error


def _moments(value: Any) -> tuple[Any, Any, float]:
    """Mean, variance and count of a ``RunningMeanStd``."""
    if not isinstance(value, Called) or not value.name.endswith(".RunningMeanStd"):
        raise ValueError(f"running moments, found {value.name if isinstance(value, Called) else type(value)}")
    held = value.attributes()
    mean, var = np.asarray(held["mean"], np.float64), np.asarray(held["var"], np.float64)
    if mean.shape != var.shape or not np.isfinite(mean).all() or not (np.isfinite(var) & (var >= 0)).all():
        raise ValueError("means and variances that are finite and of one shape")
    return mean, var, float(held["count"])
