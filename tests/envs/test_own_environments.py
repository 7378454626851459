"""Environments of users: models made anew or under other names, whole numbers, bad steps."""

import logging
from types import SimpleNamespace
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.simulation.models import held_model
from warmstart.envs.single_env import SingleEnv
from warmstart.envs.tasks.contexts import parse_context
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization.wrapper import RandomizedEnv

BALL = """<mujoco><option timestep="0.01"/><worldbody><body name="ball" pos="0 0 {height}">
<joint name="x" type="slide" axis="1 0 0"/>
<geom type="sphere" size=".1" mass="1" contype="0" conaffinity="0"/>
</body></worldbody><actuator><motor joint="x" ctrlrange="-1 1"/></actuator></mujoco>"""


class Ball(gymnasium.Env[Any, Any]):
    """Pushes a ball; its velocity after a push tells the mass that is in force."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, *, anew: str = "", render_mode: str | None = None) -> None:
        self.anew, self.render_mode, self.steps, self.bad_step = anew, render_mode, 0, -1
        self.make(1.0)

    def make(self, height: float) -> None:
        """Make model and data."""
        self.model = mujoco.MjModel.from_xml_string(BALL.format(height=height))
        self.data = mujoco.MjData(self.model)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin an episode, with ``mj_resetData`` left out as some do."""
        super().reset(seed=seed)
        self.steps = 0
        if self.anew == "reset":
            self.make(float(self.np_random.uniform(0.5, 1.5)))
        self.data.qpos[:], self.data.qvel[:] = 0, 0
        return np.zeros(2), {}

    def step(self, action: Any) -> Any:
        """Push."""
        self.steps += 1
        if self.anew == "step" and self.steps == 1:
            self.make(0.7)
        if self.steps == self.bad_step:
            self.data.qpos[0] = np.nan
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, 10)
        return np.concatenate((self.data.qpos, self.data.qvel)), 1.0, False, False, {}


def velocity(env: Any) -> float:
    env.reset(seed=0)
    env.step(np.ones(1))
    return float(env.step(np.ones(1))[0][1])


@pytest.mark.parametrize("anew", ["", "reset", "step"])
def test_physics_takes_in_models_that_are_made_anew(anew: str, caplog: pytest.LogCaptureFixture) -> None:
    plain = velocity(SingleEnv(Ball(anew=anew)))
    assert not caplog.records
    heavy = SingleEnv(Ball(anew=anew))
    heavy.next_context = parse_context("ball.mass=x4")
    with caplog.at_level(logging.WARNING):
        first = 0.05 if anew == "step" else 0.0  # the step in which it is made has the nominal mass
        assert velocity(heavy) == pytest.approx(
            (plain - 2 * first) / 4 + 2 * first, rel=0.6 if first else 1e-6
        )
        assert velocity(heavy) < plain / 1.5
    assert len(caplog.records) == (1 if anew else 0)


def test_draws_are_in_force_in_models_that_are_made_anew() -> None:
    env = RandomizedEnv(Ball(anew="reset"), {"ball.mass": "x0.2:x5"}, seed=0)
    for _ in range(3):
        drawn = env.reset()[1]["drawn"][0]
        assert env.unwrapped.model.body_mass[1] == pytest.approx(drawn)  # type: ignore[attr-defined]


def test_tasks_of_such_environments() -> None:
    gymnasium.register("Own/Ball-v0", entry_point=lambda **k: Ball(anew="reset", **k), max_episode_steps=5)
    found = {}
    for task in ("Own/Ball-v0", "Own/Ball-v0@ball.mass=x4"):
        env = make_vec(task, n_envs=2, seed=0)
        env.reset()
        found[task] = float(env.step(np.ones((2, 1)))[0][0, 1])
    del gymnasium.registry["Own/Ball-v0"]
    slow, plain = found.pop("Own/Ball-v0@ball.mass=x4"), found.popitem()[1]
    assert slow == pytest.approx(plain / 4)


def test_a_bad_step_ends_one_episode_only() -> None:
    env = SingleEnv(TimeLimit(Ball(), 10))
    lengths = []
    for episode in range(4):
        env.reset()
        env.unwrapped.bad_step = 3 if episode == 1 else -1  # type: ignore[attr-defined]
        length, over = 0, False
        while not over:
            *_, terminated, truncated, _ = env.step(np.ones(1))
            length, over = length + 1, terminated or truncated
        lengths.append(length)
    assert lengths == [10, 3, 10, 10]


def test_models_under_other_names() -> None:
    model = mujoco.MjModel.from_xml_string(BALL.format(height=1))
    data, other = mujoco.MjData(model), mujoco.MjModel.from_xml_string(BALL.format(height=2))
    cases = {
        ("mj_model",): SimpleNamespace(mj_model=model, mj_data=data),
        ("sim", "model"): SimpleNamespace(sim=SimpleNamespace(model=model, data=data)),
        ("model",): SimpleNamespace(model=model, data=data, spare_model=other),
    }
    for path, env in cases.items():
        held = held_model(env)
        assert held is not None
        assert held.path == path
        assert held.model is model
        assert held.data is data
    assert held_model(SimpleNamespace(length=1.0)) is None
    with pytest.raises(
        WarmstartError, match=r"several MuJoCo models \(a, b\): call the one that is simulated"
    ):
        held_model(SimpleNamespace(a=model, b=other))


class Grid(gymnasium.Env[Any, Any]):
    """Uses a whole number as one."""

    observation_space, action_space = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)

    def __init__(self) -> None:
        self.n_obstacles, self.wind = 5, 0.5

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin an episode."""
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {"placed": list(range(self.n_obstacles))}


def test_whole_numbers_stay_whole() -> None:
    env = RandomizedEnv(Grid(), {"n_obstacles": {"values": [3, 8]}, "wind": "x0.5:x2"}, seed=0)
    assert {len(env.reset()[1]["placed"]) for _ in range(20)} == {3, 8}
    for terms in ({"n_obstacles": "3:8"}, {"n_obstacles": "x0.5:x2"}):
        with pytest.raises(
            WarmstartError, match=r"n_obstacles of Grid is a whole number \(5\), found [\d.]+: draw"
        ):
            RandomizedEnv(Grid(), terms, seed=0)
    single = SingleEnv(Grid())
    single.next_context = parse_context("n_obstacles=7")
    assert len(single.reset()[1]["placed"]) == 7
    with pytest.raises(WarmstartError, match=r"Expected a whole number for n_obstacles=7\.5, found 7\.5"):
        single.physics.check(parse_context("n_obstacles=7.5"))


QUADROTOR = """<mujoco><worldbody><body name="hull" pos="0 0 1"><freejoint/>
<geom type="box" size=".1 .1 .03"/>
<site name="rotor" pos=".1 .1 0"/></body><body name="hand" mocap="true"><geom size=".1"/></body></worldbody>
<actuator><motor name="thrust" site="rotor" gear="0 0 1 0 0 -.02"/></actuator></mujoco>"""


@pytest.mark.parametrize("text", ["gear=1.2", "gear+=0.2", "thrust.gear=1.2", "thrust*.gear=0.9"])
def test_one_number_is_no_gear_of_six(text: str) -> None:
    parameters = Parameters(mujoco.MjModel.from_xml_string(QUADROTOR))
    with pytest.raises(
        WarmstartError, match=r"takes a vector \[force x,y,z, torque x,y,z\], found one number"
    ):
        parameters.check(parse_context(text))


def test_a_factor_keeps_the_direction_of_a_gear() -> None:
    model = mujoco.MjModel.from_xml_string(QUADROTOR)
    Parameters(model).apply(model, parse_context("gear=x1.5"))
    np.testing.assert_allclose(model.actuator_gear[0], [0, 0, 1.5, 0, 0, -0.03])


def test_the_mass_of_motion_capture_does_nothing() -> None:
    parameters = Parameters(mujoco.MjModel.from_xml_string(QUADROTOR))
    with pytest.raises(WarmstartError, match="moved as motion capture, whatever its mass"):
        parameters.check(parse_context("hand.mass=x2"))
