"""What curricula share: randomization whose ranges widen as the agent learns."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from warmstart.agents.algorithms.seams import EpisodeBatch, Feedback
from warmstart.core.bounds import Count, Finite, State
from warmstart.core.errors import WarmstartError
from warmstart.core.keyed import keys_of, uniforms
from warmstart.core.plain import check
from warmstart.sim2real.curricula.positions import check_terms, nominal_positions
from warmstart.sim2real.randomization.terms import Term, TermSource

Floats = NDArray[np.float64]
Ids = NDArray[Any]
MOST_BEGUN = 10_000
"""Episodes of an environment that may begin without the curriculum being told of an end."""


@dataclass(frozen=True, kw_only=True)
class CurriculumSettings:
    """What every curriculum is told.

    Raises:
        WarmstartError: A setting is out of range.
    """

    method: ClassVar[str]
    """Name of the curriculum."""
    success: Finite
    """Return from which on an episode is a success."""
    window: Count = 100
    """Episodes over which the success rate is taken."""
    nominal: Mapping[str, Finite] = field(default_factory=dict)
    """Where terms begin, by their names and in the unit of their operation. By default 1 for those that
    scale, 0 for those that add (the nearest end where the range leaves that out), and the middle of the range
    for those that set."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Finished:
    """Episodes that ended, and what they were begun with."""

    positions: Floats
    """Where in its widest range each term was; see `Curriculum`. Shape: (episodes, terms)."""
    notes: Floats
    """What `Curriculum.sample` noted of each. Shape: (episodes,)."""
    returns: Floats
    """Undiscounted, not scaled. Shape: (episodes,)."""
    successes: NDArray[np.bool_]
    """Whether the return reached `CurriculumSettings.success`. Shape: (episodes,)."""


class Curriculum(TermSource, Feedback):
    """A `ContextSource` whose distribution follows how the agent does.

    Give the same object to the environment (``make_vec(..., context_source=curriculum)``) and to the agent
    (``Seams(feedback=(curriculum,))``). Draws are looked up by (seed, term, environment, episode) as those of
    `Randomization` are: the same key gives the same share of the current distribution.

    A subclass says how positions are sampled, where they lie now, and how episodes change that. A position is
    a number from 0 to 1: where a value lies in its term's widest range, in its logarithm for log-uniform
    terms.

    Attributes:
        randomized: The terms; their ranges are the widest allowed.
        settings: What the curriculum was told.
        seed: Seed of all draws.
        nominal: Positions at which the terms begin. Shape: (n,) for n of `randomized`.
        history: `snapshot` at the start and after every change, with the ``step`` it happened at.

    Args:
        terms: Uniform or log-uniform terms, drawn at every episode.
        settings: Of the class ``settings_type``.
        seed: Seed of all draws.

    Raises:
        WarmstartError: A term can't be widened, or a nominal value is none.
    """

    settings: CurriculumSettings
    settings_type: ClassVar[type[CurriculumSettings]]
    saved: ClassVar[tuple[str, ...]] = ()
    """Attributes of a subclass that are stored with its state, under their names."""

    def __init__(self, terms: Sequence[Term], settings: CurriculumSettings, seed: int) -> None:
        if not isinstance(settings, self.settings_type):
            raise WarmstartError(
                f"{type(self).__name__} expects {self.settings_type.__name__}, found "
                f"{type(settings).__name__}."
            )
        super().__init__(terms)
        self.settings, self.seed = settings, seed
        self.term_names = tuple(term.name for term in self.randomized)
        check_terms(self.randomized)
        self.nominal = nominal_positions(self.randomized, settings.nominal)
        self.history: list[State] = []
        self._keys = keys_of([f"{term.name}|{term.operation}" for term in self.randomized])
        self._begun: dict[int, deque[tuple[Floats, float]]] = {}
        self._recent: deque[bool] = deque(maxlen=settings.window)

    def sample(self, shares: Floats, env_ids: Ids, episode_ids: Ids) -> tuple[Floats, Floats]:
        """Sample positions from the current distribution.

        Args:
            shares: A uniform number for each episode and term. Shape: (n, terms).
            env_ids: Environments. Shape: (n,).
            episode_ids: Their episode counters. Shape: (n,).

        Returns:
            Positions, shape (n, terms), and a number to remember of each episode, shape (n,).
        """
        raise NotImplementedError(f"{type(self).__name__} has no sample(shares, env_ids, episode_ids).")

    def update(self, finished: Finished, step: int) -> None:
        """Change the distribution after episodes; ``self.record(step)`` notes that it changed."""
        raise NotImplementedError(f"{type(self).__name__} has no update(finished, step).")

    @property
    def interval(self) -> tuple[Floats, Floats]:
        """Ends between which (almost) all positions lie now. Shapes: (terms,)."""
        raise NotImplementedError(f"{type(self).__name__} has no interval.")

    @property
    def entropy(self) -> float:
        """Differential entropy of the positions, nats per term: 0 at the widest, -inf at a point.

        Per term as in the paper of ADR.
        """
        low, high = self.interval
        with np.errstate(divide="ignore"):
            return float(np.log(high - low).mean())

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """Smallest and largest numbers that may ever be drawn. Shapes: (n_terms,)."""
        low, high = self.values(np.array([[0.0], [1.0]]) * np.ones(len(self.randomized)))
        return low, high

    @property
    def success_rate(self) -> float | None:
        """Of the last ``window`` episodes; None before the first ended."""
        return float(np.mean(self._recent)) if self._recent else None

    def values(self, positions: Floats) -> Floats:
        """Numbers drawn at positions, in the unit of their operation. Shape: (n, terms) to (n, n_terms)."""
        found = np.empty_like(positions)
        for column, term in enumerate(self.randomized):
            found[:, column] = term.distribution.quantile(positions[:, column])
        return np.asarray(found[:, self.columns])

    def draw(self, env_ids: Ids, episode_ids: Ids) -> Floats:
        """Draw the values of episodes that begin, and remember them until those end.

        Args:
            env_ids: Environments that start an episode. Shape: (n,).
            episode_ids: Their episode counters. Shape: (n,).

        Returns:
            One value per parameter, in the unit of its operation. Shape: (n, n_terms).

        Raises:
            WarmstartError: The curriculum isn't told of the ends of episodes.
        """
        envs, episodes = np.atleast_1d(env_ids), np.atleast_1d(episode_ids)
        shares = uniforms(self.seed, self._keys, envs, episodes, np.zeros_like(envs))
        positions, notes = self.sample(shares, envs, episodes)
        for env, position, note in zip(envs.tolist(), positions, notes.tolist(), strict=True):
            begun = self._begun.setdefault(env, deque())
            if len(begun) == MOST_BEGUN:
                raise WarmstartError(
                    f"{MOST_BEGUN} episodes of environment {env} began and none ended, as far as this "
                    "curriculum was told: give it to the agent, too, as Seams(feedback=(curriculum,))."
                )
            begun.append((position, note))
        return self.values(positions)

    def on_episodes(self, batch: EpisodeBatch) -> None:
        """Learn from episodes that ended: all those of a rollout, in the order in which they did.

        Raises:
            WarmstartError: An episode ended that never began.
        """
        if not len(batch.env_ids):
            return
        begun = self._take(batch.env_ids.tolist())
        positions, notes = (np.array(column) for column in zip(*begun, strict=True))
        successes = batch.returns >= self.settings.success
        self._recent.extend(successes.tolist())
        self.update(Finished(positions, notes, batch.returns, successes), batch.step)

    def _take(self, env_ids: list[int]) -> list[tuple[Floats, float]]:
        """What the oldest episodes of the environments were begun with; they are forgotten.

        The next episode begins in the step in which the last one ends, before anybody is told, so one more
        than ended is known. Any others were cut off by a reset or an interrupted rollout, and nobody will
        ever be told of them. Both happen between rollouts: they are the oldest.
        """
        for env, ended in Counter(env_ids).items():
            begun = self._begun.get(env, deque())
            if len(begun) < ended:
                raise WarmstartError(
                    f"Environment {env} ended {ended} episodes of which this curriculum began {len(begun)}: "
                    "the object that listens must be the one that the training environment draws from."
                )
            for _ in range(len(begun) - ended - 1):
                begun.popleft()
        return [self._begun[env].popleft() for env in env_ids]

    def record(self, step: int, **details: Any) -> None:
        """Add the present to the history; ``step`` counts environment steps."""
        self.history.append({"step": step, **details, **self.snapshot()})

    def snapshot(self) -> State:
        """Describe the present in plain numbers, for logs.

        Returns:
            Each term's ends, ``NAME/low`` and ``NAME/high``, as drawn; the ``entropy``, None at a point; the
            ``width``, the mean share of the widest ranges that is in use, 0 to 1; the ``success_rate``.
        """
        ends = [
            term.distribution.quantile(np.array(pair))
            for term, *pair in zip(self.randomized, *self.interval, strict=True)
        ]
        found: State = {}
        for name, (low, high) in zip(self.term_names, ends, strict=True):
            found |= {f"{name}/low": float(low), f"{name}/high": float(high)}
        low, high = self.interval
        entropy = self.entropy
        return {
            **found,
            "entropy": entropy if np.isfinite(entropy) else None,
            "width": float((high - low).mean()),
            "success_rate": self.success_rate,
        }

    def state_dict(self) -> State:
        """Everything needed to draw and widen the same way, what a subclass names in ``saved`` included."""
        begun = [(env, *each) for env, episodes in self._begun.items() for each in episodes]
        return {
            "method": self.settings.method,
            "terms": list(self.term_names),
            "seed": self.seed,
            "begun": {
                "env_ids": np.array([env for env, _, _ in begun], dtype=np.int64),
                "positions": np.array([each for _, each, _ in begun]).reshape(-1, len(self.randomized)),
                "notes": np.array([note for _, _, note in begun], dtype=np.float64),
            },
            "recent": list(self._recent),
            "history": [dict(entry) for entry in self.history],
            **{name: deepcopy(getattr(self, name)) for name in self.saved},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            WarmstartError: It is that of another curriculum.
        """
        if state["method"] != self.settings.method or tuple(state["terms"]) != self.term_names:
            raise WarmstartError(
                f"Expected the state of {self.settings.method} over {', '.join(self.term_names)}, found that "
                f"of {state['method']} over {', '.join(state['terms'])}."
            )
        self.seed = int(state["seed"])
        self._begun = {}
        saved = state["begun"]
        for env, position, note in zip(saved["env_ids"], saved["positions"], saved["notes"], strict=True):
            self._begun.setdefault(int(env), deque()).append((np.array(position), float(note)))
        self._recent = deque(map(bool, state["recent"]), maxlen=self.settings.window)
        self.history = [dict(entry) for entry in state["history"]]
        for name in self.saved:
            now, then = getattr(self, name), state[name]
            setattr(self, name, np.array(then, now.dtype) if isinstance(now, np.ndarray) else deepcopy(then))
