"""Domain randomization for one plain Gymnasium environment, MuJoCo's or any other."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from typing_extensions import override

from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError
from warmstart.envs.single.env import SingleEnv
from warmstart.envs.single.physics import ModelPhysics, physics_of
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.randomization.correlations import Correlation
from warmstart.sim2real.randomization.randomization import Randomization, read_terms
from warmstart.sim2real.randomization.recipes import randomize_terms
from warmstart.sim2real.randomization.terms import Term, When

_TRIED = 16
"""Draws by which it is found out whether an attribute that is a whole number stays one."""
_NO_PERIOD = 1.0
"""The control period, s, where none matters: `_in_steps` has made seconds steps."""


class RandomizedEnv(SingleEnv):
    """Draws the physics of every episode.

    What was drawn is in ``info["drawn"]`` of a reset, and of a step before which terms of `when: every …`
    were drawn anew. A seed given to ``reset`` becomes the seed of the draws, too: environments that are
    seeded differently, as SB3's ``make_vec_env`` does it, live in different draws, and the same seed gives
    the same ones. ``every 2 s`` counts control steps of the environment's own ``dt``, else of its ``tau``,
    else of its metadata's ``render_fps``, each as it is when it is wrapped.

    Imperfections, pushes and noisy starts, visual terms and curricula don't exist here: they need the batched
    tasks (`make_vec`, and studies).

    Attributes:
        randomization: What draws.
        n_diverged: Diverged MuJoCo simulations so far; each ends its episode, and the first one warns.

    Args:
        env: MuJoCo's parameters are those of a task's text (``torso.mass``, ``friction``); of any other
            environment they are its public numeric attributes (CartPole's ``length``), of which those that
            are positive stay positive.
        randomize: Terms by name, as in a study's YAML, with ``correlations`` among them; for Gymnasium's
            MuJoCo tasks also a recipe's name (``medium``), or terms on top of one (``recipe: medium``).
        seed: Of the draws until a reset is given one; None for another one in every wrapper.

    Raises:
        WarmstartError: A term isn't one, its parameter is unknown, its values are out of bounds, there is no
            such recipe for the environment, or it has no control period for ``every … s``.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        randomize: str | Settings,
        *,
        seed: int | None = None,
    ) -> None:
        inner: Any = env.unwrapped
        terms, correlations = _read(randomize, inner)
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        drawn = Randomization([_in_steps(term, inner) for term in terms], seed, correlations)
        physics = physics_of(inner)
        if isinstance(physics, ModelPhysics):
            drawn = drawn.expanded(physics.parameters)
        else:
            _check_attributes(drawn, physics.values(), type(inner).__name__)
            nothing = np.zeros(_TRIED, np.int64)
            physics.check_whole(drawn.terms, drawn.draw(np.arange(_TRIED, dtype=np.int32), nothing))
        self.randomization, self.n_diverged = drawn, 0
        super().__init__(env, drawn)

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

    @override
    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        elapsed = np.array([self._elapsed])
        changes = self.randomization.changes_within and bool(self.randomization.due(elapsed, _NO_PERIOD)[0])
        observation, reward, terminated, truncated, info = super().step(action)
        if changes:
            episode = np.array([self._episode])
            values = self.randomization.draw_within(self.env_ids, episode, elapsed, _NO_PERIOD)
            info = {**info, "drawn": values[0]}
        if info.get("diverged"):
            self.n_diverged += 1
            if self.n_diverged == 1:
                warnings.warn(
                    f"{_name(self.unwrapped)}: the simulation diverged; its episode was terminated. "
                    "`n_diverged` counts further ones.",
                    stacklevel=2,
                )
        return observation, reward, terminated, truncated, info


def _read(randomize: str | Settings, inner: Any) -> tuple[tuple[Term, ...], tuple[Correlation, ...]]:
    """Read terms, or a recipe for the task that an environment is."""
    if not (isinstance(randomize, str) or (isinstance(randomize, Mapping) and "recipe" in randomize)):
        return read_terms(randomize)
    if inner.spec is None:
        raise WarmstartError(
            f"Expected an environment of gymnasium.make, whose id a recipe is for, found {_name(inner)} "
            "without an id: write terms such as {torso.mass: x0.8:x1.2} instead."
        )
    return randomize_terms(randomize, Task(inner.spec.id))


def _in_steps(term: Term, inner: Any) -> Term:
    """A term whose ``every … s`` is counted in control steps of an environment."""
    if term.when.kind != "seconds":
        return term
    return replace(term, when=When("steps", term.when.steps(_period(inner))))


def _period(inner: Any) -> float:
    """Seconds of a control step: the environment's ``dt``, ``tau`` or one frame of its ``render_fps``."""
    fps = inner.metadata.get("render_fps")
    for found in (getattr(inner, "dt", None), getattr(inner, "tau", None), 1 / fps if fps else None):
        if isinstance(found, int | float | np.number) and 0 < found < np.inf:
            return float(found)
    raise WarmstartError(
        f"Expected a control period of {_name(inner)} (dt, tau or render_fps in its metadata) to count "
        "seconds by, found none: write every N steps instead."
    )


def _check_attributes(drawn: Randomization, nominal: Mapping[str, float], environment: str) -> None:
    """See that each attribute is drawn once and keeps its sign; unknown names are refused by `bind`."""
    names: Sequence[str] = drawn.names
    for (name, operation), low, high in zip(drawn.terms, *drawn.bounds, strict=True):
        if names.count(name) > 1:
            raise WarmstartError(f"Expected one term about {name}, found {names.count(name)}.")
        given = nominal.get(name, 0.0)
        ends = {"set": (low, high), "scale": (given * low, given * high), "add": (given + low, given + high)}
        if given > 0 and ends[operation][0] <= 0:
            found = " to ".join(f"{end:g}" for end in ends[operation])
            raise WarmstartError(
                f"Expected {name} of {environment} above 0, as its own {given:g} is, found {found}."
            )


def _name(inner: Any) -> str:
    return type(inner).__name__ if inner.spec is None else str(inner.spec.id)
