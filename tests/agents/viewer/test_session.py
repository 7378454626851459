"""Policies acting live, without a browser: the clock, physics and pushes meanwhile."""

import numpy as np
import pytest

from warmstart.agents.viewer.player import Player, Push
from warmstart.agents.viewer.session import Session
from warmstart.agents.viewer.sliders import make_sliders
from warmstart.core.errors import WarmstartError
from warmstart.envs.describe import describe
from warmstart.envs.tasks.contexts import parse_context
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec

CHEETAH = Task.parse("HalfCheetah-v5")


class Waves:
    """A policy that moves all joints by what it observes of them."""

    def __init__(self, strength=1.0):
        self.strength = strength

    def wrap(self, env):
        self.n = env.single_action_space.shape[0]
        return env

    def predict(self, observations, deterministic=True):
        return (self.strength * np.sin(7.0 * observations[:, : self.n])).astype(np.float32)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def session():
    made = Session({"a": Waves(), "b": Waves(-0.5)}, CHEETAH, seed=3, clock=Clock())
    yield made
    made.close()


def qpos(player):
    return player.inside.sim.qpos[0].copy()


def test_a_player_is_the_task_step_for_step():
    player, env, policy = Player("a", Waves(), CHEETAH, seed=3), make_vec(CHEETAH, 1, 3), Waves()
    observations, _ = policy.wrap(env).reset(seed=3)
    total = 0.0
    for _ in range(20):
        observations, rewards, *_ = env.step(policy.predict(observations))
        total += float(rewards[0])
        assert not player.step()
    assert np.array_equal(qpos(player), env.sim.qpos[0])
    assert player.total == total
    assert (player.steps, len(player.actions), player.actions[0].shape) == (20, 20, (6,))
    player.close()
    env.close()


def test_an_episode_that_ends_is_followed_by_the_next():
    player = Player("a", Waves(), Task.parse("HalfCheetah-v5:time_limit=3"))
    assert [player.step() for _ in range(4)] == [False, False, True, False]
    assert (player.steps, len(player.returns)) == (1, 1)
    player.close()


def test_poses_within_a_step_are_those_of_its_substeps():
    player = Player("a", Waves(), CHEETAH)
    start = player.pose()[0]
    player.step()
    heights = [player.pose(share)[0][1, 2] for share in (0.0, 0.21, 0.41, 0.61, 0.81, 1.0)]
    assert len(set(heights)) == 6, "five substeps of 0.01 s, and where they led"
    assert np.array_equal(player.pose(0.0)[0], start)
    assert player.pose()[0].shape == (8, 3)
    assert player.pose()[1].shape == (8, 4)
    player.close()


def test_the_clock_decides_when_a_step_is_due(session):
    clock = session._clock
    assert session.proceed()
    assert not session.proceed()
    assert session.wait == pytest.approx(0.05)
    clock.now = 0.02
    assert session.share == pytest.approx(0.4)
    session.set_speed(0.5)
    assert session.proceed()
    assert session.wait == pytest.approx(0.1)
    session.play(False)
    clock.now = 5.0
    assert (session.proceed(), session.wait, session.share) == (False, float("inf"), 1.0)
    before = session.player.steps
    session.step()
    assert session.player.steps == before + 1
    session.play()
    taken = 0
    while taken < 10:
        taken += session.proceed()
        clock.now += 0.05
    assert session.real_time_factor == pytest.approx(0.5, rel=0.3)
    session.reset()
    assert session.player.steps == 0


def test_who_falls_behind_gives_up_the_time(session):
    assert session.proceed()
    session._clock.now = 100.0
    assert session.proceed()
    assert session.wait == 0.0
    assert session.proceed()
    assert session.wait == pytest.approx(0.05)


@pytest.mark.parametrize("change", ["gravity=x0.5", "torso.mass=20", "friction=x0.3", "joint.*.damping=x3"])
def test_a_change_holds_from_the_next_step_on_and_the_episode_goes_on(session, change):
    same = Session({"a": Waves()}, CHEETAH, seed=3)
    for each in (session, same):
        for _ in range(30):
            each.step()
    assert np.array_equal(qpos(session.player), qpos(same.player))
    session.change("text", change)
    assert np.array_equal(qpos(session.player), qpos(same.player)), "the state stays as it is"
    assert session.player.inside.contexts == (parse_context(change),)
    for _ in range(10):
        session.step()
        same.step()
    assert not np.array_equal(qpos(session.player), qpos(same.player))
    assert session.player.steps == 40
    session.forget_changes()
    assert session.context == ()
    assert np.array_equal(session.player.model.body_mass, same.player.model.body_mass)
    assert np.array_equal(session.player.model.geom_friction, same.player.model.geom_friction)
    same.close()


def test_changes_go_with_the_task_and_to_everyone():
    session = Session({"a": Waves(), "b": Waves()}, Task.parse("HalfCheetah-v5@torso.mass=x2"))
    nominal = describe("HalfCheetah-v5").parameters
    torso = nominal.select("torso.mass")[0].nominal[0]
    session.change("gravity", "gravity=x0.5")
    session.choose("b", together=True)
    for player in session.visible:
        assert player.model.body_mass[1] == pytest.approx(2 * torso)
        assert player.model.opt.gravity[2] == pytest.approx(-9.81 / 2)
    session.change("gravity", "")
    assert session.player.model.opt.gravity[2] == pytest.approx(-9.81)
    session.close()


def test_a_push_moves_the_robot_and_ends(session):
    same = Session({"a": Waves()}, CHEETAH, seed=3)
    session.push(Push(1, None, np.array([300.0, 0.0, 0.0])), seconds=0.2)
    for _ in range(4):
        session.step()
        same.step()
    assert session.player.hand.push is None, "0.2 s are four control steps"
    assert qpos(session.player)[0] > qpos(same.player)[0] + 0.05
    session.step()
    assert not session.player.inside.sim.read("xfrc_applied").any()
    same.close()


def test_a_pull_at_a_point_turns_the_body_and_lasts_until_it_is_released(session):
    """A force of 50 N upwards, 0.3 m from the centre of mass: 15 N m about it."""
    push = Push(1, np.array([0.0, 0.0, 0.0]), np.array([0.0, 0.0, 50.0]))
    session.push(push, "a", None)
    for _ in range(30):
        session.step()
    sim = session.player.inside.sim
    lever = sim.read("xpos")[0, 1] - sim.read("xipos")[0, 1]
    wrench = sim.read("xfrc_applied")[0, 1]
    assert wrench[:3].tolist() == [0.0, 0.0, 50.0]
    assert wrench[4] == pytest.approx(-lever[0] * 50.0, rel=0.2), "as of the last substep"
    session.release()
    session.step()
    assert not sim.read("xfrc_applied").any()


def test_every_slider_changes_what_it_names():
    task = Task.parse("Hopper-v5@gravity=x0.5")
    parameters = describe(task).parameters
    sliders = make_sliders(parameters, task.context)
    kinds = {slider.name: slider for slider in sliders.all_of_a_kind}
    assert {"gravity", "mass", "friction", "damping", "gear"} <= set(kinds)
    assert (kinds["gravity"].value, kinds["mass"].value) == (0.5, 1.0)
    assert kinds["mass"].change(1.0, np.zeros(0)) == ()
    nominal = parameters.resolve(task.context)
    for slider in sliders.single:
        part = parameters.columns[slider.name]
        assert slider.low <= slider.value <= slider.high
        assert parameters.low[part][slider.component] <= slider.low
        assert slider.high <= parameters.high[part][slider.component]
        assert slider.value == nominal[part][slider.component]
    named = {slider.name for slider in sliders.single}
    assert named | {name.partition("[")[0] for name in sliders.left_out} == set(parameters.names)
    assert "option.timestep" in sliders.left_out
    assert "infinite" in sliders.left_out["actuator.foot_joint.forcerange"]
    com = [slider for slider in sliders.single if slider.name == "body.torso.com"]
    assert [slider.label for slider in com] == ["torso.com[0] (m)", "torso.com[1] (m)", "torso.com[2] (m)"]
    values = parameters.resolve(com[2].change(0.25, np.array([0.1, 0.2, 0.3])))
    assert values[parameters.columns["body.torso.com"]].tolist() == [0.1, 0.2, 0.25]


def test_bad_requests(session):
    for change, message in (
        ("torso.mas=2", "Did you mean"),
        ("torso.mass=1e9", "torso.mass"),
        ("gravity=", "gravity="),
        ("wind=[1,0,0]", "no medium"),
    ):
        with pytest.raises(WarmstartError, match=message):
            session.change("text", change)
        assert session.context == ()
    with pytest.raises(WarmstartError, match=r"from 0.1 to 4, found 9"):
        session.set_speed(9)
    with pytest.raises(WarmstartError, match="Unknown checkpoint 'c'"):
        session.choose("c")
    with pytest.raises(WarmstartError, match="at least one policy"):
        Session({}, CHEETAH)
    with pytest.raises(WarmstartError, match="`warmstart video` films any task"):
        Session({"a": Waves()}, Task.parse("CartPole-v1"))
