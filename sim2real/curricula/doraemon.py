"""Domain randomization via entropy maximization: as wide as the agent succeeds (Tiboni et al. 2024).

Source: "Domain Randomization via Entropy Maximization", ICLR 2024, arXiv 2311.01885, and the authors' code
(gabrieletiboni/doraemon).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

import numpy as np
from scipy.special import betaincinv
from typing_extensions import override

from warmstart.core.bounds import Bounds, Count, Fraction, Positive, State
from warmstart.sim2real.curricula.base import Curriculum, CurriculumSettings, Finished, Floats, Ids
from warmstart.sim2real.curricula.beta import HIGHEST, SLACK, UpdateProblem, divergence, entropy, log_density
from warmstart.sim2real.randomization.terms import Term

_EDGE = 1e-9
"""Positions stay this far from 0 and 1, where log-densities are infinite."""
_FIGURES = (
    "update",
    "divergence",
    "measured_success_rate",
    "estimated_success_rate",
    "effective_sample_size",
)
"""What is known of the last update."""


@dataclass(frozen=True, kw_only=True)
class DORAEMONSettings(CurriculumSettings):
    """Maximise the entropy of the randomization while the agent succeeds often enough."""

    method: ClassVar[str] = "doraemon"
    alpha: Fraction = 0.5
    """Success rate that the distribution keeps, as estimated."""
    epsilon: Positive = 0.1
    """Kullback-Leibler divergence of the new distribution from the old one in an update, at most. Nats."""
    episodes_per_update: Count = 100
    """Episodes at the least from one update to the next."""
    concentration: Annotated[float, Bounds(2, HIGHEST)] = 200.0
    """Sum of the parameters of each term's Beta distribution at the start, whose mode is the nominal value:
    200 has a standard deviation of 3.5% of the widest range in its middle."""
    wait: bool = True
    """Whether the distribution stays as it is until the success rate first reaches ``alpha``, so that it
    doesn't flee from an agent that has learned nothing yet."""


class DORAEMON(Curriculum):
    """Independent Beta distributions over the widest ranges, of the largest entropy the agent bears.

    After at least ``episodes_per_update`` episodes the parameters become those of the largest entropy among
    all that keep the estimated success rate at ``alpha`` or above and diverge from the old ones by at most
    ``epsilon``. Where the old ones fail that, those of the largest success rate are the start, or, if these
    fail it, too, the result.

    Attributes:
        parameters: Alpha and beta of each term. Shape: (2, terms).
        reached: Whether the success rate has reached ``alpha`` (or needn't, without ``wait``).
        finished: Episodes since the last update, the fields of a `Finished` for each call of `update`.
        last: Figures of the last update; see `snapshot`.
    """

    settings: DORAEMONSettings
    settings_type = DORAEMONSettings
    saved = ("parameters", "reached", "finished", "last")

    def __init__(self, terms: Sequence[Term], settings: DORAEMONSettings, seed: int) -> None:
        super().__init__(terms, settings, seed)
        spread = settings.concentration - 2
        self.parameters: Floats = np.stack([1 + self.nominal * spread, 1 + (1 - self.nominal) * spread])
        self.reached = not settings.wait
        self.finished: list[dict[str, Floats]] = []
        self.last: State = dict.fromkeys(_FIGURES)
        self.record(0)

    @property
    def interval(self) -> tuple[Floats, Floats]:
        """Quantiles 5% and 95% of the positions. Shapes: (terms,)."""
        a, b = self.parameters
        return betaincinv(a, b, 0.05), betaincinv(a, b, 0.95)

    @property
    @override
    def entropy(self) -> float:
        return entropy(self.parameters) / len(self.randomized)

    @override
    def sample(self, shares: Floats, env_ids: Ids, episode_ids: Ids) -> tuple[Floats, Floats]:
        a, b = self.parameters
        positions = np.clip(betaincinv(a, b, shares), _EDGE, 1 - _EDGE)
        return positions, log_density(self.parameters, positions)

    @override
    def update(self, finished: Finished, step: int) -> None:
        self.finished.append(vars(finished))
        if sum(len(each["returns"]) for each in self.finished) < self.settings.episodes_per_update:
            return
        gathered = Finished(
            *(np.concatenate([each[item.name] for each in self.finished]) for item in fields(Finished))
        )
        self.finished.clear()
        old, alpha = self.parameters, self.settings.alpha
        problem = UpdateProblem(
            old, gathered.positions, gathered.successes, gathered.notes, alpha, self.settings.epsilon
        )
        kind = "waiting"
        if problem.success_rate(old) >= alpha - SLACK:
            self.reached, kind = True, "widened"
            self.parameters = problem.widest(old)
        elif self.reached:
            kind = "retreated"
            self.parameters = problem.most_successful()
            if problem.success_rate(self.parameters) >= alpha:
                kind = "retreated and widened"
                self.parameters = problem.widest(self.parameters)
        if self.reached and (self.parameters == old).all():
            kind = "kept"
        self.last = {
            "divergence": divergence(self.parameters, old),
            "measured_success_rate": float(gathered.successes.mean()),
            "estimated_success_rate": problem.success_rate(self.parameters),
            "effective_sample_size": problem.effective_sample_size(self.parameters),
        }
        self.record(step, update=kind)

    def snapshot(self) -> State:
        """See `Curriculum.snapshot`; ``low`` and ``high`` are the quantiles 5% and 95%.

        Also each term's Beta parameters (``NAME/alpha``, ``NAME/beta``) and, of the last update (None before
        the first): its ``divergence`` from the distribution before, the ``measured_success_rate`` of its
        episodes, the ``estimated_success_rate`` of the new distribution and the ``effective_sample_size`` of
        that estimate. The history also says what each ``update`` did: ``waiting``, ``widened``,
        ``retreated``, ``retreated and widened`` or ``kept``.
        """
        found = super().snapshot()
        for name, (alpha, beta) in zip(self.term_names, self.parameters.T.tolist(), strict=True):
            found |= {f"{name}/alpha": alpha, f"{name}/beta": beta}
        return {**found, **self.last}
