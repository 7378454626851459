"""Domain randomization: draws of terms over physical and visual parameters, by key."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from warmstart.core.bounds import Settings, State
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.keyed import keys_of, uniforms
from warmstart.core.plain import read
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.tasks.contexts import Operation
from warmstart.sim2real.randomization.correlations import Correlation, copula
from warmstart.sim2real.randomization.distributions import Uniform
from warmstart.sim2real.randomization.terms import Term, TermSource, read_term

Floats = NDArray[np.float64]
Ids = NDArray[Any]
_NEUTRAL: Mapping[Operation, float] = {"scale": 1.0, "add": 0.0, "set": np.nan}
"""What leaves a parameter as it is."""


class Randomization(TermSource):
    """A `ContextSource` that draws the physics of every episode from terms.

    Draws are looked up by key: the same (seed, term, environment, episode) gives the same value whatever the
    number of environments, the order in which their episodes end, or the other terms. They act on what the
    task's context gives, so nothing compounds.

    Args:
        terms: What is drawn; none at all leaves training bit-identical to no randomization.
        seed: Seed of all draws.
        correlations: Terms whose draws go together.
        drawn_as: What the draws of each term are looked up by; None for its name and operation.

    Raises:
        WarmstartError: A correlation names no term, or they contradict one another.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        seed: int,
        correlations: Sequence[Correlation] = (),
        *,
        drawn_as: Sequence[str] | None = None,
    ) -> None:
        super().__init__(terms)
        self.seed = seed
        self.correlations = tuple(correlations)
        self._copula = copula(self.randomized, self.correlations)
        self._drawn_as = tuple(_distinct(self.randomized) if drawn_as is None else drawn_as)
        self._keys = keys_of(self._drawn_as)
        self._chances = keys_of([f"{name}|applied" for name in self._drawn_as])
        self._startup = np.array([term.when.kind == "startup" for term in self.randomized], dtype=bool)
        self._probability = np.array([term.probability for term in self.randomized])
        self._by_chance = bool((self._probability < 1).any())
        self._bounds = np.array([term.distribution.bounds for term in self.randomized]).reshape(-1, 2)
        self._low, self._width = self._bounds[:, 0], np.diff(self._bounds)[:, 0]
        kinds = [type(term.distribution) for term in self.randomized]
        self._curved = [column for column, kind in enumerate(kinds) if kind is not Uniform]
        self._neutral = np.array([_NEUTRAL[term.operation] for term in self.randomized])
        self._periods: tuple[float, NDArray[np.int64]] | None = None
        self.changes_within = any(term.when.kind in ("steps", "seconds") for term in self.randomized)

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """Smallest and largest numbers that can be drawn. Shapes: (n_terms,)."""
        low, high = self._bounds[self.columns].T
        return low, high

    def draw(self, env_ids: Ids, episode_ids: Ids) -> Floats:
        """Draw the values of episodes that begin.

        Args:
            env_ids: Environments that start an episode. Shape: (n,).
            episode_ids: Their episode counters. Shape: (n,).

        Returns:
            One value per parameter, in the unit of its operation; NaN leaves it alone. Shape: (n, n_terms).
        """
        return self._drawn(env_ids, episode_ids, np.zeros(len(np.atleast_1d(env_ids)), dtype=np.int64))

    def due(self, elapsed: NDArray[np.int64], period: float) -> NDArray[np.bool_]:
        """Where something is drawn anew within an episode.

        Args:
            elapsed: Steps since each environment's reset. Shape: (n,).
            period: Seconds of a control step.
        """
        every = self._every(period)
        due = np.zeros(len(elapsed), dtype=bool)
        for steps in np.unique(every[every > 0]):
            due |= elapsed % steps == 0
        return due & (elapsed > 0)

    def draw_within(
        self, env_ids: Ids, episode_ids: Ids, elapsed: NDArray[np.int64], period: float
    ) -> Floats:
        """Draw the values that hold at a step of an episode; see `draw`.

        Args:
            env_ids: Environments. Shape: (n,).
            episode_ids: Their episode counters. Shape: (n,).
            elapsed: Steps since their resets. Shape: (n,).
            period: Seconds of a control step.

        Returns:
            Shape: (n, n_terms).
        """
        every = self._every(period)
        rounds = np.where(every > 0, elapsed[:, None] // np.maximum(every, 1), 0)
        return self._drawn(env_ids, episode_ids, rounds)

    def _every(self, period: float) -> NDArray[np.int64]:
        """Steps between draws of each term. Shape: (terms,)."""
        if self._periods is None or self._periods[0] != period:
            steps = np.array([term.when.steps(period) for term in self.randomized], dtype=np.int64)
            self._periods = (period, steps)
        return self._periods[1]

    def _drawn(self, env_ids: Ids, episode_ids: Ids, rounds: NDArray[np.int64]) -> Floats:
        envs, episodes = np.atleast_1d(env_ids), np.atleast_1d(episode_ids)
        shares = self._shares(self._keys, envs, episodes, rounds)
        if self._copula is not None:
            together, root = self._copula
            shares[:, together] = ndtr(ndtri(shares[:, together]) @ root)
        values = self._low + shares * self._width
        for column in self._curved:
            values[:, column] = self.randomized[column].distribution.quantile(shares[:, column])
        if self._by_chance:
            chances = self._shares(self._chances, envs, episodes, rounds)
            values = np.where(chances < self._probability, values, self._neutral)
        return np.asarray(values[:, self.columns])

    def _shares(self, keys: Any, envs: Ids, episodes: Ids, rounds: NDArray[np.int64]) -> Floats:
        """A uniform number for each environment and term; startup terms know of no episodes."""
        if rounds.ndim == 1:
            found = uniforms(self.seed, keys, envs, episodes, rounds)
        else:  # terms are drawn anew at different steps
            columns = [
                uniforms(self.seed, keys[i : i + 1], envs, episodes, rounds[:, i]) for i in range(len(keys))
            ]
            found = np.concatenate(columns, axis=1) if columns else np.zeros((len(envs), 0))
        if self._startup.any():
            none = np.zeros_like(envs)
            found[:, self._startup] = uniforms(self.seed, keys[self._startup], envs, none, none)
        return found

    def expanded(self, parameters: Parameters) -> "Randomization":
        """The same as it acts on a task's parameters: what is drawn is in force.

        Where a term says ``each``, there is one for every parameter that its patterns mean. Parameters about
        which another term decides (the more specific one as they were written, then the later) are left out,
        and so are terms that decide about none. What is left is drawn as before.

        Raises:
            WarmstartError: A name is unknown (the nearest are named), or a correlated term decides about
                nothing.
        """
        terms: list[Term] = []
        acting: list[tuple[str, ...]] = []  # the parameters of each term about which it decides
        became: dict[str, list[int]] = {}
        for term, decided in zip(self.randomized, self._decided(parameters), strict=True):
            first = len(terms)
            if term.each:
                meant = dict.fromkeys(p.name for each in term.parameters for p in parameters.select(each))
                terms += [replace(term, parameters=(name,), each=False) for name in meant]
                acting += [(name,) if any(name in found for found in decided) else () for name in meant]
            else:
                terms.append(term)
                acting.append(tuple(p for p, found in zip(term.parameters, decided, strict=True) if found))
            became[term.name] = [place for place in range(first, len(terms)) if acting[place]]
        patterns = any(term.each for term in self.randomized)
        keys = _distinct(terms) if patterns else self._drawn_as  # of all: the order tells some of them apart
        kept = [place for place, names in enumerate(acting) if names]
        correlations = [
            Correlation((terms[i].name, terms[j].name), each.r)
            for each in self.correlations
            for i in _deciding(each.between[0], became)
            for j in _deciding(each.between[1], became)
        ]
        left = [
            term if term.parameters == names else replace(term, parameters=names, title=term.name)
            for term, names in ((terms[place], acting[place]) for place in kept)
        ]
        try:
            return Randomization(left, self.seed, correlations, drawn_as=[keys[place] for place in kept])
        except WarmstartError as error:
            if len(correlations) == len(self.correlations):
                raise
            raise WarmstartError(
                f"{error} With each: true a term is drawn for every one of its parameters, and each of these "
                "draws has the correlation."
            ) from None

    def _decided(self, parameters: Parameters) -> list[list[set[str]]]:
        """Full names of the parameters about which each selector of each term decides."""
        won = parameters.winners(self.names)
        found = [{entry.parameter.name for entry in won.get(place, ())} for place in range(len(self.names))]
        ends = np.cumsum([0, *(len(term.parameters) for term in self.randomized)]).tolist()
        return [found[start:end] for start, end in pairwise(ends)]

    def state_dict(self) -> State:
        """State to store in a checkpoint: nothing but the seed, since draws are keyed."""
        return {"seed": self.seed}

    def load_state_dict(self, state: State) -> None:
        """Restore ``state_dict()``."""
        self.seed = int(state["seed"])


def read_terms(written: Settings) -> tuple[tuple[Term, ...], tuple[Correlation, ...]]:
    """Read terms by name, as in YAML, and their ``correlations``, ``[{between: [a, b], r: 0.5}]``.

    Raises:
        WarmstartError: A term or correlation is not one; the message names it.
    """
    if not isinstance(written, Mapping):
        raise WarmstartError(f"Expected terms by name, {{torso.mass: x0.5:x2}}, found {written!r}.")
    terms = {str(key): read_term(str(key), value) for key, value in written.items() if key != "correlations"}
    listed = written.get("correlations") or ()
    together: tuple[Correlation, ...] = read(tuple[Correlation, ...], listed, ("correlations",))
    for name in (name for each in together for name in each.between):
        if name not in terms:
            raise unknown_name("term to correlate", name, terms)
    pairs = [(terms[each.between[0]].name, terms[each.between[1]].name) for each in together]
    correlations = tuple(Correlation(pair, each.r) for pair, each in zip(pairs, together, strict=True))
    copula(tuple(terms.values()), correlations)  # what can't be drawn together is refused here already
    return tuple(terms.values()), correlations


def _deciding(name: str, became: Mapping[str, Sequence[int]]) -> Sequence[int]:
    """Places of the terms that a correlated one became."""
    if not became[name]:
        raise WarmstartError(
            f"Expected a correlated term that decides about a parameter, found {name}, about whose "
            "parameters other terms decide: leave its correlations out."
        )
    return became[name]


def _distinct(terms: Sequence[Term]) -> list[str]:
    """A name for each term's draws; terms about the same parameters are told apart by their order."""
    seen: dict[str, int] = {}
    names = []
    for term in terms:
        name = f"{term.name}|{term.operation}"
        seen[name] = seen.get(name, -1) + 1
        names.append(f"{name}|{seen[name]}" if seen[name] else name)
    return names
