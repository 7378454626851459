"""A trial that trains nothing: what uniformly random actions reach."""

from typing import TYPE_CHECKING, Any

import numpy as np

from warmstart.agents.evaluation import evaluate
from warmstart.envs.describe import describe
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.recorder import Recorder

if TYPE_CHECKING:
    from warmstart.sim2real.reality import Reality


def evaluate_random(config: TrialConfig, recorder: Recorder, reality: "Reality | None") -> None:
    """Evaluate uniformly random actions: what returns are normalised by."""
    space = describe(config.task).action_space
    space.seed(config.evaluation_seed)

    def act(observations: Any) -> Any:
        first = next(iter(observations.values())) if isinstance(observations, dict) else observations
        return np.stack([np.asarray(space.sample()) for _ in range(len(first))])

    episodes, seed = config.evaluation_episodes, config.evaluation_seed
    where = config.task if reality is None else reality
    recorder.evaluation(evaluate(act, where, episodes=episodes, seed=seed), 0.0)
    recorder.end(0, 0, constant=True)
