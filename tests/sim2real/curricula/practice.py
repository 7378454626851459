"""Curricula that are told of made-up returns."""

import numpy as np

from warmstart.agents.algorithms.seams import EpisodeBatch
from warmstart.sim2real.curricula.table import read_curriculum
from warmstart.sim2real.randomization.distributions import LogUniform
from warmstart.sim2real.randomization.terms import Term, read_term

POLE = read_term("pole.mass", "x0.5:x4")
CART = read_term("cart.mass", "x0.5:x2.5")
LOG = Term(("damping",), LogUniform(0.25, 4))
METHODS = {
    "paced": {"success": 1, "window": 20, "rate": 0.25},
    "adr": {"success": 1, "t_low": 0.2, "buffer": 8, "start": 0.2},
    "doraemon": {"success": 1, "episodes_per_update": 50},
}


def make(method, terms, seed=0, **settings):
    return read_curriculum({"method": method, **METHODS[method], **settings}, terms, seed)


def tell(curriculum, returns, env_ids=None, step=0):
    ids = np.arange(len(returns)) if env_ids is None else np.asarray(env_ids)
    curriculum.on_episodes(
        EpisodeBatch(np.asarray(returns, float), np.ones(len(ids), np.int64), ids.astype(np.int64), step)
    )


def practise(curriculum, succeeds, rounds, n=32, first=0):
    """After a reset, rounds of one episode in each environment: return 1 where its values succeed, else 0."""
    envs = np.arange(n)
    values = curriculum.draw(envs, np.full(n, first))
    drawn = [values]
    for episode in range(first + 1, first + rounds + 1):
        returns = succeeds(values).astype(float)
        values = curriculum.draw(envs, np.full(n, episode))  # in the step in which the last ones end
        tell(curriculum, returns, envs, step=episode * n)
        drawn.append(values)
    return np.array(drawn)
