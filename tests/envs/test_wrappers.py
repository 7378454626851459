"""Wrappers that change observations change the last ones of episodes, too."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from warmstart.envs.vector import make_vec
from warmstart.envs.wrappers import ObservationWrapper


class Doubled(ObservationWrapper):
    """Observes twice the state, and notes what it was told."""

    def __init__(self, env: Any) -> None:
        super().__init__(env, spaces.Box(-np.inf, np.inf, env.single_observation_space.shape, np.float64))
        self.begun: list[Any] = []
        self.newest: Any = None

    def observed(self, observations: Any, ids: Any) -> Any:
        del ids
        return 2 * observations

    def begin(self, observations: Any, ids: Any) -> None:
        assert len(observations) == len(ids)
        self.begun.append(ids.tolist())

    def proceed(self, observations: Any, actions: Any) -> None:
        del actions
        self.newest = observations.copy()


def test_every_observation_is_changed_in_one_place() -> None:
    plain, doubled = (make_vec("Hopper-v5:time_limit=3", 2, 0) for _ in range(2))
    wrapped = Doubled(doubled)
    np.testing.assert_array_equal(wrapped.reset()[0], 2 * plain.reset()[0])
    actions = np.zeros((2, 3))
    for _ in range(3):
        observations, *_, infos = plain.step(actions)
        found, *_, changed = wrapped.step(actions)
        np.testing.assert_array_equal(found, 2 * observations)
    assert wrapped.begun == [[0, 1], [0, 1]]
    for env in range(2):
        np.testing.assert_array_equal(changed["final_obs"][env], 2 * infos["final_obs"][env])
        np.testing.assert_array_equal(wrapped.newest[env], infos["final_obs"][env])
    wrapped.reset(options={"reset_mask": np.array([False, True])})
    assert wrapped.begun[-1] == [1]
    assert wrapped.context_names == ()  # what isn't changed is passed on


def test_it_must_say_what_is_observed() -> None:
    env = make_vec("Hopper-v5", 1, 0)
    with pytest.raises(NotImplementedError, match="has no observed"):
        ObservationWrapper(env, env.single_observation_space).reset()
