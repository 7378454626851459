"""Domain randomization for one plain Gymnasium environment, MuJoCo's or any other. May import envs."""

from collections.abc import Mapping
from typing import Any

import gymnasium

from warmstart.envs.single_env import ModelPhysics, SingleEnv
from warmstart.sim2real.randomization import Randomization, read_terms


class RandomizedEnv(SingleEnv):
    """Draws the physics of every episode; what was drawn is in ``info["drawn"]`` of its reset.

    A seed given to ``reset`` becomes the seed of the draws, too: environments that are seeded differently, as
    SB3's ``make_vec_env`` does it, live in different draws, and the same seed gives the same ones.

    Args:
        env: MuJoCo's parameters are those of a task's text (``torso.mass``, ``friction``); of any other
            environment they are its public numeric attributes (CartPole's ``length``).
        randomize: Terms by name, as in a study's YAML, with ``correlations`` among them.
        seed: Of the draws until a reset is given one.

    Raises:
        WarmstartError: A term isn't one, its parameter is unknown, or its values are out of bounds.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], randomize: Mapping[str, Any], *, seed: int = 0) -> None:
        terms, correlations = read_terms(randomize)
        self.randomization = Randomization(terms, seed, correlations)
        inner: Any = env.unwrapped
        if hasattr(inner, "model"):
            self.randomization = self.randomization.expanded(ModelPhysics(inner).parameters)
        super().__init__(env, self.randomization)

    @property
    def drawn_names(self) -> tuple[str, ...]:
        """Parameters that are drawn, one name per number of ``info["drawn"]``."""
        return self.randomization.names

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in a physics drawn for it."""
        if seed is not None:
            self.randomization.seed = seed
        return super().reset(seed=seed, options=options)
