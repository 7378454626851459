"""Environments of users: models made anew or under other names, whole numbers, bad steps."""

import copy
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
from warmstart.envs.single.env import SingleEnv
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
        if self.anew == "each step" or (self.anew == "step" and self.steps == 1):
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


class Writer(Ball):
    """Writes its ball's mass itself, and a fan's speed."""

    def __init__(self, writes: str) -> None:
        self.writes, self.fan = writes, 1.0
        super().__init__()

    def reset(self, **options: Any) -> Any:
        """Begin an episode."""
        if self.writes == "reset":
            self.model.body_mass[1], self.fan = 2.0, 1.0
        return super().reset(**options)

    def step(self, action: Any) -> Any:
        """Push."""
        if self.writes == "step":
            self.model.body_mass[1] = 2.0
        return super().step(action)


def test_an_environment_that_writes_values_itself(caplog: pytest.LogCaptureFixture) -> None:
    plain = velocity(SingleEnv(Writer("")))
    env = SingleEnv(Writer("reset"))
    env.next_context = parse_context("ball.mass=4")
    with caplog.at_level(logging.WARNING):
        assert velocity(env) == velocity(env) == pytest.approx(plain / 4)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "Writer writes body_mass itself in reset"
    ]
    drawn = RandomizedEnv(Writer("reset"), {"ball.mass": "3:5"}, seed=0)
    for _ in range(3):
        mass = drawn.reset()[1]["drawn"][0]
        assert drawn.unwrapped.model.body_mass[1] == mass  # type: ignore[attr-defined]
    env = SingleEnv(Writer("step"))
    env.next_context = parse_context("ball.mass=4")
    with pytest.raises(
        WarmstartError, match=r"Writer writes body_mass itself in step, so that ball\.mass=4 has"
    ):
        velocity(env)
    velocity(SingleEnv(Writer("step")))


class Grid(gymnasium.Env[Any, Any]):
    """Uses a whole number as one."""

    observation_space, action_space = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)

    def __init__(self) -> None:
        self.n_obstacles, self.wind = 5, 0.5

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin an episode."""
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {"placed": list(range(self.n_obstacles))}


class Fan(Grid):
    """Writes its wind anew in each reset, or in each step."""

    def reset(self, **options: Any) -> Any:
        """Begin an episode."""
        self.wind, self.n_obstacles = 0.5, 5
        return super().reset(**options)

    def step(self, action: Any) -> Any:
        """Blow."""
        if self.n_obstacles == 6:
            self.wind = 0.5
        return np.full(2, self.wind, np.float32), 0.0, False, False, {}


def test_an_environment_that_writes_attributes_itself(caplog: pytest.LogCaptureFixture) -> None:
    env = SingleEnv(Fan())
    env.next_context = parse_context("wind=0.25,n_obstacles=7")
    assert env.reset(seed=0)[1]["placed"] == [0, 1, 2, 3, 4]
    assert env.step(0)[0].tolist() == [0.25, 0.25]
    assert "Fan writes n_obstacles, wind itself in reset" in caplog.text
    env.next_context = parse_context("wind=0.25,n_obstacles=6")
    env.reset()
    with pytest.raises(WarmstartError, match=r"Fan writes wind itself in step"):
        env.step(0)


def test_a_model_made_in_each_step_is_refused() -> None:
    env = SingleEnv(Ball(anew="each step"))
    velocity(env)
    env.next_context = parse_context("ball.mass=4")
    with pytest.raises(
        WarmstartError, match=r"Ball makes its model anew in each step, so that ball.mass=4 has"
    ):
        velocity(env)


@pytest.mark.parametrize("stepped", [True, False])
def test_another_model_that_is_simulated_is_refused(stepped: bool, caplog: pytest.LogCaptureFixture) -> None:
    class Hidden(Ball):
        def step(self, action: Any) -> Any:
            if stepped:
                mujoco.mj_step(self._sim_model, self._sim_data)
            return np.zeros(2), 0.0, False, False, {}

        def make(self, height: float) -> None:
            super().make(height)
            self._sim_model = mujoco.MjModel.from_xml_string(BALL.format(height=height))
            self._sim_data = mujoco.MjData(self._sim_model)

    env = SingleEnv(Hidden())
    env.next_context = parse_context("ball.mass=4")
    if stepped:
        with pytest.raises(
            WarmstartError, match="Hidden simulates another model than its `model`, so that ball"
        ):
            velocity(env)
    else:
        velocity(env)
        assert "a step didn't advance the time of any MjData" in caplog.text


class Late(Ball):
    """Has its model where attributes don't show it, from its first reset on."""

    __slots__ = ("held",)

    def __init__(self, where: str) -> None:
        self.where, self.late = where, False
        super().__init__()
        self.late = True

    def make(self, height: float) -> None:
        """Make nothing yet."""

    def reset(self, **options: Any) -> Any:
        """Make the model at the first reset."""
        if self.late:
            Ball.make(self, 1.0)
            model, data = self.model, self.data
            del self.model, self.data
            kinds = {"dict": {"model": model, "data": data}, "list": [model, data]}
            kinds["slots"] = SimpleNamespace(m=model, d=data)
            self.held = kinds[self.where]
            self.late = False
        gymnasium.Env.reset(self, **options)
        return np.zeros(2), {}

    def step(self, action: Any) -> Any:
        """Push."""
        found = held_model(self)
        assert found is not None
        self.data = found.data
        self.data.ctrl[:] = action
        mujoco.mj_step(found.model, self.data, 10)
        speed = self.data.qvel.copy()
        del self.data
        return np.concatenate((speed, speed)), 1.0, False, False, {}


@pytest.mark.parametrize("where", ["dict", "list", "slots"])
def test_models_in_containers_that_the_first_reset_makes(where: str) -> None:
    plain, heavy = SingleEnv(Late(where)), SingleEnv(Late(where))
    heavy.next_context = parse_context("ball.mass=x4")
    assert velocity(heavy) == pytest.approx(velocity(plain) / 4)


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


class Copier(Ball):
    """Makes each episode's model of another: of the last one, or of what it kept at its first reset."""

    def __init__(self, how: str) -> None:
        self.how = how
        super().__init__()

    def reset(self, **options: Any) -> Any:
        """Begin an episode."""
        if self.how == "copy":
            self.model = copy.deepcopy(self.model)
        elif self.how == "first copy":
            self.kept = getattr(self, "kept", None) or copy.deepcopy(self.model)
            self.model = copy.deepcopy(self.kept)
        else:
            mass = self.__dict__.setdefault("mass", float(self.model.body_mass[1]))
            self.make(1.0)
            self.model.body_mass[1] = mass
        self.data = mujoco.MjData(self.model)
        return super().reset(**options)


@pytest.mark.parametrize("how", ["copy", "first copy", "first value"])
def test_changes_do_not_pile_up_in_models_made_of_changed_ones(how: str) -> None:
    env = SingleEnv(Copier(how))
    env.next_context = parse_context("ball.mass=x4")
    for _ in range(3):
        assert velocity(env) == pytest.approx(0.05)
        assert env.unwrapped.model.body_mass[1] == 4  # type: ignore[attr-defined]
    env.next_context = ()
    for _ in range(2):
        assert velocity(env) == pytest.approx(0.2)
    drawn = RandomizedEnv(Copier(how), {"ball.mass": "x0.2:x5"}, seed=0)
    for _ in range(4):
        mass = drawn.reset()[1]["drawn"][0]
        assert drawn.unwrapped.model.body_mass[1] == pytest.approx(mass)  # type: ignore[attr-defined]
