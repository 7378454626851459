"""Infos in the format of Gymnasium's vector environments: arrays, each with a mask of who has a value."""

import copy
import warnings
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from numpy.typing import NDArray

Array = NDArray[Any]
EACH = "warmstart.each"
"""Key of a reset's options under which each environment has its own."""
_INT64 = np.iinfo(np.int64)
Infos = dict[str, Any]
"""Infos by name, of one environment or, as arrays with their masks, of all."""


class VectorInfos:
    """Builds one step's infos.

    Attributes:
        entries: Arrays with one row per environment; ``_name`` masks the rows of ``name`` that count.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self.entries: Infos = {}

    def add_all(self, values: dict[str, Array], but: NDArray[np.int32] | None = None) -> None:
        """Add values of all environments, except those in `but`; views are copied, other arrays kept.

        Args:
            values: By name. Shapes: (n, …).
            but: Environments without a value. Shape: (k,).
        """
        mask = np.ones(self._n, dtype=bool)
        if but is not None:
            mask[but] = False
            if not mask.any():
                return
        for name, rows in values.items():
            kept = rows if rows.base is None and but is None else rows.copy()
            if but is not None:
                kept[but] = 0
            self.entries[name] = kept
            self.entries["_" + name] = mask

    def add(self, values: dict[str, Array], ids: NDArray[np.int32]) -> None:
        """Add values of some environments to those that are there.

        Args:
            values: By name, of all environments. Shapes: (n, …).
            ids: Those whose values count. Shape: (k,).
        """
        masks: dict[int, Array] = {}
        for name, rows in values.items():
            if name not in self.entries:
                self.entries[name] = np.zeros_like(rows)
                self.entries["_" + name] = np.zeros(self._n, dtype=bool)
            self.entries[name][ids] = rows[ids]
            old = self.entries["_" + name]
            if id(old) not in masks:
                masks[id(old)] = old.copy()
                masks[id(old)][ids] = True
            self.entries["_" + name] = masks[id(old)]

    def add_final(self, observations: Array, values: dict[str, Array], ids: NDArray[np.int32]) -> None:
        """Add the last observations and infos of episodes that ended.

        Args:
            observations: Of all environments. Shape: (n, …).
            values: Infos by name, of all environments. Shapes: (n, …).
            ids: Those whose episodes ended. Shape: (k,).
        """
        mask = np.zeros(self._n, dtype=bool)
        mask[ids] = True
        final_obs = np.full(self._n, None, dtype=object)
        for env in ids:
            final_obs[env] = observations[env].copy()
        final_info: dict[str, Array] = {}
        for name, rows in values.items():
            final = np.zeros_like(rows)
            final[ids] = rows[ids]
            final_info[name] = final
            final_info["_" + name] = mask
        self.entries.update(final_obs=final_obs, _final_obs=mask, final_info=final_info, _final_info=mask)


class _AnyInfos:
    """Gathers infos whose entries change their type or shape between environments or from step to step.

    Gymnasium's own way casts them to the first one's type, which cuts fractions off, or fails.
    """

    _told: frozenset[str] = frozenset()

    def _add_info(self, vector_infos: Infos, env_info: Infos, env_num: int) -> Infos:
        for name, value in env_info.items():
            key = str(name)
            if key.startswith("_") and key[1:] in env_info:
                self._tell(f"The info entry {key!r} is left out: it would be the mask of {key[1:]!r}.")
                continue
            if key is not name:
                self._tell(f"The info entry {name!r} is called {key!r}: names are text.")
            held = vector_infos.get(key)
            if held is not None and not _holds(held, value):
                mask = vector_infos[f"_{key}"]
                held = np.full(len(mask), None, dtype=object)
                for env in np.flatnonzero(mask).tolist():
                    held[env] = entry(vector_infos[key], env)
                vector_infos[key] = held
            if held is None and isinstance(value, int) and not _INT64.min <= value <= _INT64.max:
                held = vector_infos[key] = np.full(self.num_envs, None, dtype=object)  # type: ignore[attr-defined]
                vector_infos[f"_{key}"] = np.zeros(len(held), dtype=bool)
            if held is None or isinstance(held, dict):
                super()._add_info(vector_infos, {key: value}, env_num)  # type: ignore[misc]
            else:
                held[env_num] = value
                vector_infos[f"_{key}"][env_num] = True
        return vector_infos

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told |= {text}
            warnings.warn(text, stacklevel=2)


class PlainVectorEnv(_AnyInfos, SyncVectorEnv):
    """Gymnasium's environments one after another, with infos of any form."""


class ProcessVectorEnv(_AnyInfos, AsyncVectorEnv):
    """Gymnasium's environments in a process each, with infos of any form."""


def _holds(held: Any, value: Any) -> bool:
    """Whether an entry's array takes a value as it is."""
    if isinstance(held, dict) or isinstance(value, dict):
        return isinstance(held, dict) and isinstance(value, dict)
    if held.dtype == object:
        return True
    if not isinstance(value, bool | int | float | np.generic | np.ndarray):
        return False
    return bool(np.asarray(value).dtype == held.dtype and np.shape(value) == held.shape[1:])


def entry(values: Any, env: int) -> Any:
    """One environment's value of an info entry; of nested entries a dict."""
    if isinstance(values, dict):
        return {name: entry(values[name], env) for name in info_names(values) if values[f"_{name}"][env]}
    value = values[env] if values.dtype != object else copy.deepcopy(values[env])
    return value.item() if isinstance(value, np.generic) else value


def info_names(infos: Infos) -> list[str]:
    """Names of the entries, without masks and what only vector environments have."""
    return [
        name
        for name in infos
        if name not in ("final_obs", "final_info") and not (name.startswith("_") and name[1:] in infos)
    ]
