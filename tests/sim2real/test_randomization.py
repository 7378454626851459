import numpy as np
import pytest

from warmstart.envs.errors import WarmstartError
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization import Randomization, Range

MASS = Range("torso.mass", 0.5, 2.0)
FRICTION = Range("friction", 0.3, 1.5, distribution="log_uniform")


def test_a_draw_depends_on_seed_term_environment_and_episode_only():
    source = Randomization([MASS, FRICTION], seed=3)
    together = source.draw(np.arange(8), np.full(8, 5))
    backwards = source.draw(np.arange(8)[::-1], np.full(8, 5))[::-1]
    alone = np.concatenate([source.draw(np.array([i]), np.array([5])) for i in range(8)])
    np.testing.assert_array_equal(together, backwards)
    np.testing.assert_array_equal(together, alone)
    assert len(np.unique(together)) == 16
    for other in (Randomization([MASS, FRICTION], seed=4), Randomization([FRICTION, MASS], seed=3)):
        assert not np.isin(other.draw(np.arange(8), np.full(8, 5)), together).any()
    assert not np.isin(source.draw(np.arange(8), np.full(8, 6)), together).any()


def test_draws_follow_their_distributions():
    values = Randomization([MASS, FRICTION], seed=0).draw(np.arange(20_000), np.zeros(20_000, int))
    assert values[:, 0].min() >= 0.5
    assert values[:, 0].max() <= 2.0
    np.testing.assert_allclose(values[:, 0].mean(), 1.25, atol=0.01)
    np.testing.assert_allclose(values[:, 0].var(), 1.5**2 / 12, atol=0.01)
    log = np.log(values[:, 1])
    np.testing.assert_allclose([log.min(), log.max()], np.log([0.3, 1.5]), atol=0.01)
    np.testing.assert_allclose(log.mean(), np.log([0.3, 1.5]).mean(), atol=0.02)
    assert abs(np.corrcoef(values.T)[0, 1]) < 0.02


def test_an_environment_lives_in_what_was_drawn_and_nothing_compounds():
    source = Randomization([MASS, Range("gravity", -1.0, 1.0, operation="add")], seed=1)
    env = make_vec("Hopper-v5", 4, seed=0, context_source=source, n_threads=1)
    env.reset(seed=0)
    nominal = env.sim.model.body("torso").mass[0]
    for _ in range(400):
        env.step(np.ones((4, 3), np.float32))
    names = list(env.context_names)
    column = next(i for i, name in enumerate(names) if name.startswith("body.torso.mass"))
    drawn = env.context_values()[:, column]
    assert ((drawn > 0.5 * nominal) & (drawn < 2.0 * nominal)).all()
    assert len(np.unique(drawn)) == 4
    env.close()


def test_the_same_ranges_give_the_same_episodes_and_none_changes_nothing():
    def path(source):
        env = make_vec("Hopper-v5", 3, seed=0, context_source=source, n_threads=1)
        env.reset(seed=0)
        observations = [env.step(np.full((3, 3), 0.5, np.float32))[0] for _ in range(60)]
        env.close()
        return np.array(observations)

    np.testing.assert_array_equal(path(Randomization([MASS], 7)), path(Randomization([MASS], 7)))
    assert (path(Randomization([MASS], 7)) != path(Randomization([MASS], 8))).any()
    np.testing.assert_array_equal(path(Randomization([], 7)), path(None))
    np.testing.assert_array_equal(path(Randomization([Range("torso.mass", 1, 1)], 7)), path(None))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"low": 2, "high": 1}, "low <= high"),
        ({"low": 0, "high": 1, "distribution": "log_uniform"}, "above 0"),
        ({"low": float("nan"), "high": 1}, "finite"),
    ],
)
def test_unsound_ranges(arguments, said):
    with pytest.raises(WarmstartError, match=said):
        Range("torso.mass", **arguments)


def test_an_unknown_selector_names_the_nearest():
    with pytest.raises(WarmstartError, match=r"torso\.mass"):
        make_vec("Hopper-v5", 2, context_source=Randomization([Range("torso.mas", 1, 2)], 0)).reset(seed=0)
