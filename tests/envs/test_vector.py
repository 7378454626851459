"""make_vec for everything that Gymnasium can make, and our ids in Gymnasium's registry."""

import subprocess
import sys
import time
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from warmstart.agents.resuming.packing import pack, unpack
from warmstart.core.errors import WarmstartError
from warmstart.envs import registration
from warmstart.envs.batched import BatchedEnv
from warmstart.envs.gymnasium_vector import GymnasiumVectorEnv
from warmstart.envs.robots.table import GYMNASIUM_TASKS
from warmstart.envs.vector import make_vec


class Hanging(gymnasium.Env[Any, Any]):
    """Hangs in its third step."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)

    def __init__(self, hang: bool = True) -> None:
        self.hang = hang
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, dtype=np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.hang and self.steps == 3:
            time.sleep(3600)
        return np.full(2, self.steps / 10, dtype=np.float32), 1.0, False, False, {}


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Any:
    registration.register()
    gymnasium.register("warmstart-tests/Hanging-v0", entry_point=Hanging, max_episode_steps=100)
    yield
    del gymnasium.registry["warmstart-tests/Hanging-v0"]


def make(task: str, n: int, seed: int | None = 0, **arguments: Any) -> GymnasiumVectorEnv:
    env = make_vec(task, n, seed, **arguments)
    assert isinstance(env, GymnasiumVectorEnv)
    return env


def test_registration_is_light_and_complete() -> None:
    assert set(registration.TASK_IDS) == set(GYMNASIUM_TASKS)
    code = (
        "import sys, warmstart.envs.registration as r\nr.register()\n"
        "assert not {'torch', 'mujoco', 'stable_baselines3'} & set(sys.modules), 'heavy'\n"
        "import gymnasium\n"
        "env = gymnasium.make_vec('warmstart/HalfCheetah-v5', num_envs=64)\n"
        "print(type(env).__name__, env.num_envs, env.reset(seed=0)[0].shape, env.spec.id)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "BatchedEnv 64 (64, 17) warmstart/HalfCheetah-v5"


@pytest.mark.parametrize("task_id", registration.TASK_IDS)
def test_gymnasium_make_vec_makes_ours(task_id: str) -> None:
    env = gymnasium.make_vec(f"warmstart/{task_id}", num_envs=2, seed=3, n_threads=1)
    assert isinstance(env, BatchedEnv)
    np.testing.assert_array_equal(env.reset()[0], make_vec(task_id, 2, 3).reset()[0])
    assert env.robot.time_limit == gymnasium.spec(task_id).max_episode_steps
    assert type(gymnasium.make(f"warmstart/{task_id}").unwrapped) is type(gymnasium.make(task_id).unwrapped)


def test_gymnasium_make_vec_passes_options_and_physics() -> None:
    env: Any = gymnasium.make_vec(
        "warmstart/Hopper-v5", num_envs=2, max_episode_steps=7, healthy_reward=3, context="gravity=x0.5"
    )
    assert str(env.task) == "Hopper-v5:healthy_reward=3,time_limit=7@gravity=x0.5"


def test_our_ids_work_in_make_vec_too() -> None:
    assert isinstance(make_vec("warmstart/Hopper-v5", 1, 0), BatchedEnv)


@pytest.mark.parametrize("timeout", [None, 30.0], ids=["sync", "async"])
def test_a_plain_environment_equals_gymnasiums_vector_env(timeout: float | None) -> None:
    ours = make("CartPole-v1", 3, seed=4, step_timeout=timeout)
    theirs = SyncVectorEnv(
        [lambda: gymnasium.make("CartPole-v1")] * 3, autoreset_mode=AutoresetMode.SAME_STEP
    )
    np.testing.assert_array_equal(ours.reset()[0], theirs.reset(seed=4)[0])
    ours.action_space.seed(0)
    for _ in range(60):
        actions = ours.action_space.sample()
        mine, other = ours.step(actions), theirs.step(actions)
        for a, b in zip(mine[:4], other[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        assert mine[4].keys() == other[4].keys()
    assert ours.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert ours.observation_layout.names == ("obs[0]", "obs[1]", "obs[2]", "obs[3]")
    assert len(ours.action_layout) == 2
    ours.close()


def test_attributes_are_the_parameters_of_a_plain_environment() -> None:
    env = make("CartPole-v1@length=x2,gravity=5", 2)
    assert env.call("length") == (0.5, 0.5), "in force from the first reset on"
    env.reset()
    assert env.call("length") == (1.0, 1.0)
    assert env.call("polemass_length") == (0.1, 0.1)
    assert env.context_names == ("length", "gravity")
    np.testing.assert_allclose(env.context_values(), [[1.0, 5.0]] * 2)
    env.set_context("masspole+=0.1", [1])
    env.reset()
    assert env.call("length") == (1.0, 0.5)
    np.testing.assert_allclose(env.call("total_mass"), (1.1, 1.2))
    np.testing.assert_allclose(env.call("polemass_length"), (0.1, 0.1))
    with pytest.raises(WarmstartError, match=r"attribute of CartPoleEnv 'lenght'.*'length'"):
        make("CartPole-v1@lenght=x2", 1)
    longer = make("CartPole-v1@length=x2", 1, seed=0)
    normal = make("CartPole-v1", 1, seed=0)
    for each in (longer, normal):
        each.reset()
    actions = np.ones(1, dtype=np.int64)
    paths = [[each.step(actions)[0] for _ in range(5)] for each in (longer, normal)]
    assert (np.array(paths[0]) != np.array(paths[1])).any(), "a longer pole falls otherwise"


def test_a_mujoco_environment_of_gymnasium_has_physical_parameters() -> None:
    env = make("Hopper-v5@mass=x2,timestep=0.001", 2, stepper="gymnasium")
    env.reset()
    batched = make_vec("Hopper-v5@mass=x2,timestep=0.001", 2, 0)
    np.testing.assert_array_equal(env.reset(seed=5)[0], batched.reset(seed=5)[0])
    actions = np.ones((2, 3), dtype=np.float32)
    for _ in range(30):
        np.testing.assert_array_equal(env.step(actions)[0], batched.step(actions)[0])
    assert env.observation_layout == batched.observation_layout
    assert env.action_layout == batched.action_layout
    with pytest.raises(WarmstartError, match=r"torso\.mass"):
        env.set_context("torso.mess=2")


def test_a_diverged_gymnasium_simulation_is_noticed() -> None:
    env = make("HalfCheetah-v5", 2, stepper="gymnasium")
    env.reset()
    env._env.envs[1].unwrapped.data.qvel[:] = 1e12  # type: ignore[union-attr]
    with pytest.warns(UserWarning, match="environment 1 diverged"):
        _, _, terminations, _, infos = env.step(np.zeros((2, 6), dtype=np.float32))
    assert terminations.tolist() == [False, True]
    assert infos["final_info"]["_diverged"].tolist() == [False, True]
    assert env.n_diverged == 1


@pytest.mark.parametrize(
    ("task", "timeout"),
    [
        ("CartPole-v1@length=x2", None),
        ("CartPole-v1", 30.0),
        ("Ant-v5:time_limit=20@mass=x1.2", None),
        ("Ant-v4", 30.0),
        ("HumanoidStandup-v5", None),
        ("Pusher-v5", None),
    ],
)
@pytest.mark.filterwarnings("ignore:.*out of date")
def test_a_saved_state_goes_on_the_same_way(task: str, timeout: float | None) -> None:
    env = make(task, 2, stepper="gymnasium", step_timeout=timeout)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(60)]
    env.reset()
    for action in actions[:25]:
        env.step(action)
    state = unpack(pack(env.state_dict()))
    other = make(task, 2, seed=99, stepper="gymnasium", step_timeout=timeout)
    other.load_state_dict(state)
    assert other.contexts == env.contexts
    for action in actions[25:]:
        for a, b in zip(env.step(action)[:4], other.step(action)[:4], strict=True):
            np.testing.assert_array_equal(a, b)
    for each in (env, other):
        each.close()
    with pytest.raises(WarmstartError, match="Expected the state of"):
        make("CartPole-v1", 1).load_state_dict(state)


def test_a_state_that_cant_be_kept_is_named(box2d: None) -> None:
    env = make("LunarLander-v3", 2)
    env.reset()
    with pytest.raises(WarmstartError, match=r"LunarLander-v3 has a state that can't be kept: .*LunarLander"):
        env.state_dict()


def test_a_hanging_environment_is_named() -> None:
    env = make("warmstart-tests/Hanging-v0", 2, step_timeout=1.0)
    env.reset()
    env.step(np.zeros(2, dtype=np.int64))
    env.set_attr("hang", [False, True])
    env.step(np.zeros(2, dtype=np.int64))
    begin = time.monotonic()
    with pytest.raises(
        WarmstartError, match=r"warmstart-tests/Hanging-v0: expected a step within 1 s.*environment 1 "
    ):
        env.step(np.zeros(2, dtype=np.int64))
    assert time.monotonic() - begin < 30
    env.close()


def test_time_limit_and_constructor_arguments_of_a_plain_environment() -> None:
    env = make("MountainCarContinuous-v0:goal_velocity=0.1,time_limit=5", 2)
    assert env.call("goal_velocity") == (0.1, 0.1)
    env.reset()
    for _ in range(5):
        *_, truncations, infos = env.step(np.zeros((2, 1), dtype=np.float32))
    assert truncations.all()
    assert "final_obs" in infos
    with pytest.raises(WarmstartError, match=r"Gymnasium couldn't make CartPole-v1:colour=red.*colour"):
        make("CartPole-v1:colour=red", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "HalfChetah-v5"}, r"environment 'HalfChetah-v5'.*'HalfCheetah-v5'"),
        ({"task": "CartPole-v1", "stepper": "bath"}, r"stepper 'bath'.*'batch'"),
        ({"task": "CartPole-v1", "step_timeout": 0.0}, "positive step_timeout"),
        ({"task": "Hopper-v5", "n_threads": 0}, "at least one thread"),
        ({"task": "Hopper-v5", "render_mode": "human"}, "rgb_array"),
        ({"task": "CartPole-v1", "perturbations": [object()]}, "batched MuJoCo tasks only"),
    ],
)
def test_bad_requests_are_explained(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(WarmstartError, match=message):
        make_vec(**arguments)
