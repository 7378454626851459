"""Infos in the format of Gymnasium's vector environments: arrays, each with a mask of who has a value."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
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
        """Add values of all environments, except those in `but`; views are copied, other arrays kept."""
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
        """Add values of some environments to those that are there."""
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
        """Add the last observations and infos of episodes that ended."""
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
