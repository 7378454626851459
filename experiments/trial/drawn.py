"""What training draws, written down: spread of every randomized parameter, and how a curriculum goes."""

from collections import deque

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from warmstart.core.bounds import State
from warmstart.envs.sb3 import env_attribute
from warmstart.experiments.records.recorder import Recorder
from warmstart.sim2real.world import TrainingWorld

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of what was drawn that are recorded."""
KEPT = 4096
"""Newest episodes whose draws a record sums up, at most."""


class DrawnRecorder(BaseCallback):
    """Records what the episodes since the last record were begun with."""

    def __init__(self, recorder: Recorder, world: TrainingWorld) -> None:
        super().__init__()
        self.recorder, self.world = recorder, world
        self._drawn: deque[NDArray[np.float64]] = deque(maxlen=KEPT)
        self._names: tuple[str, ...] = ()
        self._continued = False

    def state_dict(self) -> State:
        """What the episodes since the last record were begun with."""
        return {"drawn": list(self._drawn)}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned; the episodes that run were counted when they began."""
        self._drawn = deque(state["drawn"], maxlen=KEPT)
        self._continued = True

    def _on_training_start(self) -> None:
        self._names = env_attribute(self.training_env, "drawn_names") or self._names
        if not self._continued:
            self._keep(np.ones(self.training_env.num_envs, bool))
        self._continued = False

    def _on_step(self) -> bool:
        self._keep(self.locals["dones"])
        return True

    def _keep(self, begun: NDArray[np.bool_]) -> None:
        """Note what episodes were begun with in some of the environments. Shape: (num_envs,)."""
        infos = self.training_env.unwrapped.reset_infos  # wrappers don't pass them on
        chosen = (info for new, info in zip(begun, infos, strict=True) if new and "drawn" in info)
        self._drawn.extend(np.asarray(info["drawn"]) for info in chosen)

    def _on_rollout_end(self) -> None:
        if self._drawn and self.recorder.drawn(self.num_timesteps, self._summary()):
            self._drawn.clear()

    def _summary(self) -> State:
        drawn = np.array(self._drawn)
        quantiles = {
            name: np.nanquantile(column, SHARES).tolist()
            for name, column in zip(self._names, drawn.T, strict=True)
            if not np.isnan(column).all()
        }
        found: State = {"episodes": len(drawn), "quantiles": quantiles}
        curriculum = self.world.curriculum
        if curriculum is not None:
            found["curriculum"] = curriculum.snapshot()
        return found
