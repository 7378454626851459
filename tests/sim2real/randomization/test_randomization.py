"""Drawing by key, and what drawn values do in an environment."""

import gymnasium
import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.robots.table import robots
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization.correlations import Correlation
from warmstart.sim2real.randomization.distributions import LogUniform, Uniform
from warmstart.sim2real.randomization.randomization import Randomization, read_terms
from warmstart.sim2real.randomization.terms import Term, When, read_term

MASS = read_term("torso.mass", "x0.5:x2")
FRICTION = Term(("friction",), LogUniform(0.3, 1.5))


def terms(**written):
    return read_terms({name.replace("__", "."): text for name, text in written.items()})[0]


def test_a_draw_depends_on_seed_term_environment_and_episode_only():
    source = Randomization([MASS, FRICTION], seed=3)
    together = source.draw(np.arange(8), np.full(8, 5))
    backwards = source.draw(np.arange(8)[::-1], np.full(8, 5))[::-1]
    alone = np.concatenate([source.draw(np.array([i]), np.array([5])) for i in range(8)])
    np.testing.assert_array_equal(together, backwards)
    np.testing.assert_array_equal(together, alone)
    assert len(np.unique(together)) == 16
    reordered = Randomization([FRICTION, read_term("gravity", "x0.9:x1"), MASS], seed=3)
    found = reordered.draw(np.arange(8), np.full(8, 5))
    np.testing.assert_array_equal(found[:, [2, 0]], together, "other terms don't matter, nor their order")
    assert not np.isin(
        Randomization([MASS, FRICTION], seed=4).draw(np.arange(8), np.full(8, 5)), together
    ).any()
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


def test_shared_draws_are_one_number():
    term = read_term("legs", {"parameters": ["thigh.mass", "leg.mass"], "range": "x0.8:x1.2"})
    source = Randomization([term, MASS], 0)
    assert source.names == ("thigh.mass", "leg.mass", "torso.mass")
    values = source.draw(np.arange(100), np.zeros(100, int))
    np.testing.assert_array_equal(values[:, 0], values[:, 1])
    assert (values[:, 0] != values[:, 2]).all()


def test_correlated_draws_keep_their_own_distributions():
    correlation = Correlation(("torso.mass", "friction"), 0.8)
    gravity = read_term("gravity", "x0.9:x1.1")
    source = Randomization([MASS, gravity, FRICTION], 0, [correlation])
    values = source.draw(np.arange(20_000), np.zeros(20_000, int))
    ranks = np.argsort(np.argsort(values, axis=0), axis=0)
    found = np.corrcoef(ranks.T)
    assert found[0, 2] == pytest.approx(6 / np.pi * np.arcsin(0.4), abs=0.02)  # Spearman's, of a copula
    assert abs(found[0, 1]) < 0.02
    np.testing.assert_allclose(values[:, 0].mean(), 1.25, atol=0.01)
    alone = Randomization([gravity], 0).draw(np.arange(50), np.zeros(50, int))
    np.testing.assert_array_equal(values[:50, 1:2], alone)
    for r, expected in ((1.0, True), (-1.0, False)):
        source = Randomization([MASS, FRICTION], 0, [Correlation(("torso.mass", "friction"), r)])
        a, b = source.draw(np.arange(50), np.zeros(50, int)).T
        assert (np.argsort(a) == np.argsort(b if expected else -b)).all()


def test_correlations_that_contradict():
    three = [MASS, FRICTION, read_term("gravity", "x0.9:x1.1")]
    pairs = [("torso.mass", "friction", 0.9), ("friction", "gravity", 0.9), ("torso.mass", "gravity", -0.9)]
    with pytest.raises(WarmstartError, match="contradict one another: no numbers can have all of torso"):
        Randomization(three, 0, [Correlation((a, b), r) for a, b, r in pairs])
    twice = [Correlation(("torso.mass", "friction"), 0.5), Correlation(("friction", "torso.mass"), 0.4)]
    with pytest.raises(WarmstartError, match="is given twice"):
        Randomization(three, 0, twice)
    with pytest.raises(WarmstartError, match="Did you mean 'friction'"):
        read_terms({"friction": "x1:x2", "correlations": [{"between": ["friktion", "friction"], "r": 0.5}]})
    late = read_term("gravity", {"range": "x0.9:x1.1", "when": "startup"})
    with pytest.raises(WarmstartError, match="only what is drawn together"):
        Randomization([MASS, late], 0, [Correlation(("torso.mass", "gravity"), 0.5)])
    with pytest.raises(WarmstartError, match="from -1 to 1, found 2"):
        Correlation(("a", "b"), 2)
    with pytest.raises(WarmstartError, match="between two terms"):
        Correlation(("a", "a"), 0.5)


def test_probability_leaves_parameters_alone():
    source = Randomization(
        [
            Term(("torso.mass",), Uniform(2, 3), probability=0.25),
            Term(("gravity",), Uniform(1, 2), "add", probability=0.25),
            Term(("joint.*.damping",), Uniform(1, 2), "set", probability=0.25),
        ],
        0,
    )
    values = source.draw(np.arange(8000), np.zeros(8000, int))
    left = [values[:, 0] == 1, values[:, 1] == 0, np.isnan(values[:, 2])]
    np.testing.assert_allclose([column.mean() for column in left], 0.75, atol=0.02)
    assert abs(np.corrcoef(np.array(left, dtype=float))[0, 1]) < 0.05
    env = make_vec("Hopper-v5", 64, seed=0, context_source=source, n_threads=1)
    env.reset(seed=0)
    names = env.context_names
    damping = env.context_values()[:, names.index("joint.thigh_joint.damping")]
    drawn = source.draw(np.arange(64), np.zeros(64, int))[:, 2]
    np.testing.assert_array_equal(damping, np.where(np.isnan(drawn), 1.0, drawn))
    env.close()


def test_startup_terms_are_drawn_once_and_others_anew():
    source = Randomization([Term(("torso.mass",), Uniform(0.5, 2), when=When("startup")), FRICTION], 0)
    first, second = (source.draw(np.arange(4), np.full(4, episode)) for episode in (0, 7))
    np.testing.assert_array_equal(first[:, 0], second[:, 0])
    assert (first[:, 1] != second[:, 1]).all()
    assert len(np.unique(first[:, 0])) == 4


@pytest.mark.parametrize("when", ["every 3 steps", "every 0.024 s"])
@pytest.mark.parametrize("task", ["Hopper-v5", "Ant-v5"])
def test_terms_within_an_episode_change_there_and_leave_the_state_alone(when, task):
    """Hopper's control period is 8 ms, Ant's 50."""
    change = read_term("torso.mass", {"range": "x0.5:x2", "when": when})
    source = Randomization([change, FRICTION], 0)
    env = make_vec(task, 2, seed=0, context_source=source, n_threads=1)
    env.reset(seed=0)
    every = 1 if task == "Ant-v5" and when.endswith("s") and "0.024" in when else 3
    seen = []
    for _ in range(7):
        before = env.sim.qpos.copy()
        env._contexts.go_on(env.episode_ids, env.elapsed)
        np.testing.assert_array_equal(env.sim.qpos, before)
        env.step(np.zeros(env.action_space.shape, np.float32))
        column = env.context_names.index("body.torso.mass")
        seen.append(env.context_values()[:, [column, -1]].copy())
    steps = np.array(seen)
    changed = (np.diff(steps[:, :, 0], axis=0) != 0).all(axis=1)
    expected = [(step % every) == 0 for step in range(1, 7)]
    assert changed.tolist() == expected
    assert (np.diff(steps[:, :, 1], axis=0) == 0).all(), "what is drawn per episode stays"
    env.close()


@pytest.mark.parametrize("task", ["Hopper-v5", "Humanoid-v5"])
def test_a_change_within_an_episode_that_changes_nothing_changes_no_bit(task):
    same = [read_term("torso.mass", {"range": "x1:x1", "when": "every 2 steps"})]
    path = lambda source: _path(task, source, 12)  # noqa: E731
    np.testing.assert_array_equal(path(Randomization(same, 0)), path(None))


def _path(task, source, steps=60):
    env = make_vec(task, 3, seed=0, context_source=source, n_threads=1)
    env.reset(seed=0)
    action = np.full(env.action_space.shape, 0.3, np.float32)
    observations = [env.step(action)[0] for _ in range(steps)]
    env.close()
    return np.array(observations)


def test_an_environment_lives_in_what_was_drawn_and_nothing_compounds():
    source = Randomization([MASS, read_term("gravity", "-=1:+=1")], seed=1)
    env = make_vec("Hopper-v5", 4, seed=0, context_source=source, n_threads=1)
    env.reset(seed=0)
    nominal = env.sim.model.body("torso").mass[0]
    column = env.context_names.index("body.torso.mass")
    for _ in range(1000):
        env.reset()
    drawn = source.draw(np.arange(4), np.full(4, 1000))
    np.testing.assert_array_equal(env.context_values()[:, column], nominal * drawn[:, 0])
    inertia = env.sim.model_field("body_inertia")[:, 1] / env.sim.model.body_inertia[1]
    np.testing.assert_allclose(inertia, drawn[:, :1] * np.ones((1, 3)), rtol=1e-12)
    env.close()


def test_what_is_drawn_is_told_in_the_infos_of_episodes_that_begin():
    source = Randomization([MASS, FRICTION], 0)
    env = make_vec("Hopper-v5", 3, seed=0, context_source=source, n_threads=1)
    _, infos = env.reset(seed=0)
    assert env.drawn_names == ("torso.mass", "friction")
    np.testing.assert_array_equal(infos["drawn"], source.draw(np.arange(3), np.zeros(3, int)))
    for _ in range(200):
        *_, terminations, truncations, infos = env.step(np.ones((3, 3), np.float32))
        ended = np.flatnonzero(terminations | truncations)
        assert ("drawn" in infos) == bool(ended.size)
        if ended.size:
            np.testing.assert_array_equal(infos["_drawn"], np.isin(np.arange(3), ended))
            np.testing.assert_array_equal(infos["drawn"][ended], source.draw(ended, env.episode_ids[ended]))
    assert env.episode_ids.min() > 1
    env.close()


def test_the_same_terms_give_the_same_episodes_and_none_changes_nothing():
    path = lambda source: _path("Hopper-v5", source)  # noqa: E731
    np.testing.assert_array_equal(path(Randomization([MASS], 7)), path(Randomization([MASS], 7)))
    assert (path(Randomization([MASS], 7)) != path(Randomization([MASS], 8))).any()
    np.testing.assert_array_equal(path(Randomization([], 7)), path(None))
    identity = read_term("torso.mass", "x1:x1")
    np.testing.assert_array_equal(path(Randomization([identity], 7)), path(None))


def test_a_saved_environment_goes_on_in_what_was_drawn():
    source = [MASS, read_term("friction", {"range": "x0.3:x1", "when": "every 4 steps"})]
    envs = [
        make_vec("Hopper-v5", 2, seed=0, context_source=Randomization(source, 5), n_threads=1)
        for _ in range(2)
    ]
    envs[0].reset(seed=0)
    for _ in range(6):
        envs[0].step(np.ones((2, 3), np.float32))
    envs[1].load_state_dict(envs[0].state_dict())
    for _ in range(60):
        first, second = (env.step(np.ones((2, 3), np.float32)) for env in envs)
        np.testing.assert_array_equal(first[0], second[0])
    for env in envs:
        env.close()


def test_every_parameter_of_a_pattern_may_get_a_draw_of_its_own():
    model = robots()["Hopper-v5"]().model()
    source = Randomization([read_term("body.*.mass", {"range": "x0.5:x2", "each": True})], 0)
    expanded = source.expanded(Parameters(model))
    assert expanded.names == tuple(f"body.{name}.mass" for name in ("torso", "thigh", "leg", "foot"))
    values = expanded.draw(np.arange(3), np.zeros(3, int))
    assert len(np.unique(values)) == 12


EVERY_MASS = read_term("body.*.mass", {"range": "x0.8:x1.2", "each": True})


def acting(*randomized, correlations=(), task="Hopper-v5"):
    source = Randomization(randomized, 0, correlations)
    return source.expanded(Parameters(robots()[task]().model()))


def test_only_what_is_in_force_is_drawn_and_no_draw_changes_by_that():
    alone = acting(EVERY_MASS)
    both = acting(EVERY_MASS, MASS)
    assert both.names == ("body.thigh.mass", "body.leg.mass", "body.foot.mass", "torso.mass")
    where = np.arange(5), np.arange(5)
    np.testing.assert_array_equal(both.draw(*where)[:, :3], alone.draw(*where)[:, 1:])
    np.testing.assert_array_equal(both.draw(*where)[:, 3:], Randomization([MASS], 0).draw(*where))
    env = make_vec("Hopper-v5", 3, seed=0, context_source=both, n_threads=1)
    _, infos = env.reset(seed=0)
    columns = [env.context_names.index(f"body.{name}.mass") for name in ("thigh", "leg", "foot", "torso")]
    found = env.context_values()[:, columns] / env.sim.model.body_mass[[2, 3, 4, 1]]
    np.testing.assert_allclose(found, infos["drawn"], rtol=1e-12)
    env.close()


@pytest.mark.parametrize(
    ("randomized", "left"),
    [
        ((MASS, EVERY_MASS), ("torso.mass", "body.thigh.mass", "body.leg.mass", "body.foot.mass")),
        ((EVERY_MASS, read_term("mass", "x1:x2")), ("mass",)),
        ((read_term("mass", "x1:x2"), MASS), ("mass", "torso.mass")),
        ((MASS, read_term("body.torso.mass", "+=1:+=2")), ("body.torso.mass",)),
        (
            (read_term("all", {"parameters": ["torso.mass", "leg.mass"], "range": "x1:x2"}), MASS),
            ("leg.mass", "torso.mass"),
        ),
        (
            (EVERY_MASS, read_term("body.t*.mass", "x1:x2")),
            ("body.leg.mass", "body.foot.mass", "body.t*.mass"),
        ),
    ],
)
def test_the_more_specific_term_decides_then_the_later(randomized, left):
    found = acting(*randomized)
    assert found.names == left
    env = make_vec("Hopper-v5", 4, seed=0, context_source=found, n_threads=1)
    env.reset(seed=0)
    assert (env.context_values().std(axis=0) > 0).all()
    env.close()


def test_terms_are_drawn_by_the_name_they_were_written_with():
    where = np.arange(4), np.arange(4)
    shared = read_term("legs", {"parameters": ["torso.mass", "leg.mass"], "range": "x1:x2"})
    found = acting(shared, MASS)
    before = Randomization([shared, MASS], 0).draw(*where)
    np.testing.assert_array_equal(found.draw(*where), before[:, 1:])
    assert found.randomized[0].name == shared.name, "a curriculum looks its draws up by it"
    explicit = read_term("body.torso.mass", "x0.5:x2")
    found = acting(EVERY_MASS, explicit)
    assert [term.name for term in found.randomized].count("body.torso.mass") == 1
    written = [read_term(f"body.{name}.mass", "x0.8:x1.2") for name in ("torso", "thigh", "leg", "foot")]
    before = Randomization([*written, explicit], 0).draw(*where)
    np.testing.assert_array_equal(found.draw(*where), before[:, 1:])
    again = found.expanded(Parameters(robots()["Hopper-v5"]().model()))
    np.testing.assert_array_equal(again.draw(*where), before[:, 1:])


def test_a_correlation_with_each_is_one_with_each_of_its_parameters():
    together = Correlation(("friction", "body.*.mass"), 0.45)
    found = acting(FRICTION, EVERY_MASS, correlations=[together])
    values = found.draw(np.arange(20_000), np.zeros(20_000, int))
    ranks = np.corrcoef(np.argsort(np.argsort(values, axis=0), axis=0).T)
    np.testing.assert_allclose(ranks[0, 1:], 6 / np.pi * np.arcsin(0.45 / 2), atol=0.02)
    others = ranks[1:, 1:][~np.eye(4, dtype=bool)]
    np.testing.assert_allclose(others, 0, atol=0.02)
    np.testing.assert_allclose(values[:, 1:].mean(axis=0), 1, atol=0.01)
    with pytest.raises(
        WarmstartError, match=r"contradict one another.* With each: true a term is drawn for every"
    ):
        acting(FRICTION, EVERY_MASS, correlations=[Correlation(("friction", "body.*.mass"), 0.6)])


def test_correlations_that_can_not_be():
    written = {"body.*.mass": {"range": "x0.8:x1.2", "each": True}}
    two = {**written, "joint.*.damping": {"range": "x0.8:x1.2", "each": True}}
    with pytest.raises(WarmstartError, match="Expected each: true in one of two correlated terms at most"):
        read_terms({**two, "correlations": [{"between": list(two), "r": 0.1}]})
    overridden = read_term("mass", "x0.5:x2")
    names = ("mass", "friction")
    with pytest.raises(WarmstartError, match="found mass, about whose parameters other terms decide"):
        acting(overridden, FRICTION, EVERY_MASS, correlations=[Correlation(names, 0.1)])
    twice = [MASS, read_term("torso.mass", "+=1:+=2"), FRICTION]
    with pytest.raises(WarmstartError, match=r"Expected one term called torso\.mass to correlate, found 2"):
        Randomization(twice, 0, [Correlation(("torso.mass", "friction"), 0.1)])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (3, "Expected terms by name, .* found 3"),
        ({"correlations": 3}, "correlations: expected a list, found 3"),
        ({"correlations": [3]}, r"correlations\[0\]: expected a mapping with between, r, found 3"),
        (
            {"correlations": [{"between": ["friction", "torso.mass"], "r": "high"}]},
            "number, found 'high'",
        ),
        ({"correlations": [{"between": 3, "r": 0.5}]}, "between: expected a list, found 3"),
        ({"correlations": [{"between": "friction", "r": 0.5}]}, "between: expected a list, found 'friction'"),
        (
            {"correlations": [{"between": ["friction", ["a"]], "r": 0.5}]},
            "expected text, found",
        ),
        ({"correlations": [{"between": ["friction", "torso.mass"], "r": 2}]}, "from -1 to 1, found 2"),
    ],
)
def test_mistakes_in_what_is_written_are_named(written, said):
    if isinstance(written, dict):
        written |= {"friction": "x1:x2", "torso.mass": "x1:x2"}
    with pytest.raises(WarmstartError, match=said):
        read_terms(written)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"torso.mas": "x1:x2"}, r"Did you mean 'torso\.mass'"),
        ({"torso.mass": "x0:x2"}, r"torso\.mass \(scale 0 to 2\) reaches values that can't be: body.torso"),
        ({"torso.mass": {"mean": "x1", "std": 0.4}}, r"torso\.mass \(scale -1\.399.* reaches values"),
        ({"friction": {"range": "x1:x100"}}, "friction .* reaches values that can't be"),
        ({"timestep": "x0.5:x1"}, "can't vary between episodes"),
    ],
)
def test_unsound_terms_are_refused_before_anything_runs(written, said):
    source = Randomization(read_terms(written)[0], 0)
    with pytest.raises(WarmstartError, match=said):
        make_vec("Hopper-v5", 2, context_source=source, n_threads=1)


def test_the_friction_of_a_live_contact_changes():
    env = make_vec(
        "Hopper-v5", 2, seed=0, context_source=Randomization(terms(friction="x0.3:x0.4"), 0), n_threads=1
    )
    env.reset(seed=0)
    for _ in range(40):
        env.step(np.zeros((2, 3), np.float32))
    _, data = env.simulations.materialize(0)
    assert data.ncon > 0
    drawn = Randomization(terms(friction="x0.3:x0.4"), 0).draw(np.arange(1), env.episode_ids[:1])[0, 0]
    nominal = gymnasium.make("Hopper-v5").unwrapped.model.geom_friction[:, 0].max()
    np.testing.assert_allclose(data.contact.friction[0][0], nominal * drawn)
    env.close()
