"""What users of SB3's and Gymnasium's vector environments expect; found by those projects' own tests."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecFrameStack

from warmstart.agents.evaluation import evaluate
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.vector import make_vec


class Counting(gymnasium.Env):
    """Counts what it is asked, keeps what it gives, and has attributes of the names that ours have."""

    observation_space = spaces.Dict({"x": spaces.Box(-1, 9, (2,), np.float32)})
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self):
        self.calls, self.options, self.task, self.goal = 0, None, "mine", None
        self.kept, self.log = {"x": np.zeros(2, np.float32)}, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.options = 0, options
        return self.kept, {}

    def step(self, action):
        self.steps += 1
        self.log.append(self.steps)
        return self.kept, 1.0, False, False, {"log": self.log}

    def touch(self, by=1):
        self.calls += by
        return self.calls


class Tenfold(gymnasium.RewardWrapper):
    def reward(self, reward):
        return 10 * reward


def monitored(**kwargs):
    return Tenfold(Monitor(Counting(**kwargs)))


@pytest.fixture(autouse=True)
def _registered():
    gymnasium.register("Counting-v0", Counting, max_episode_steps=3, disable_env_checker=True)
    gymnasium.register("Long-v0", Counting, max_episode_steps=12_000, disable_env_checker=True)
    gymnasium.register("Monitored-v0", monitored, max_episode_steps=3, disable_env_checker=True)
    yield
    for name in ("Counting-v0", "Long-v0", "Monitored-v0"):
        del gymnasium.registry[name]


@pytest.fixture(params=[None, 30.0], ids=["one process", "processes"])
def three(request):
    env = as_sb3(make_vec("Counting-v0", 3, seed=0, step_timeout=request.param))
    env.reset()
    yield env
    env.close()


def test_methods_act_on_the_environments_that_are_asked(three):
    assert three.env_method("touch", indices=[1]) == [1]
    assert three.env_method("touch", by=5, indices=[1, 2]) == [6, 5]
    assert three.get_attr("calls") == [0, 6, 5]
    three.step(np.zeros((3, 1), np.float32))
    if isinstance(three.vector_env.members, gymnasium.vector.AsyncVectorEnv):
        with pytest.raises(WarmstartError, match="Gymnasium's processes only reset all together"):
            three.env_method("reset", indices=[0])
        return
    three.env_method("reset", indices=[0])
    assert three.get_attr("steps") == [0, 1, 1]


def test_attributes_are_the_environments_own(three):
    assert three.get_attr("task") == ["mine"] * 3
    assert three.get_attr("action_space") == [Counting.action_space] * 3
    assert three.get_attr("spec", 2)[0].max_episode_steps == 3
    three.set_attr("goal", [1, 2, 3])
    assert three.get_attr("goal") == [[1, 2, 3]] * 3
    three.set_attr("goal", "there", indices=1)
    assert three.get_attr("goal") == [[1, 2, 3], "there", [1, 2, 3]]
    three.set_attr("task", "place")
    assert three.get_attr("task") == ["place"] * 3
    assert str(three.vector_env.task) == "Counting-v0"


def test_unknown_attributes_end_no_process(three):
    with pytest.raises(AttributeError):
        three.get_attr("no_such_thing")
    with pytest.raises(AttributeError):
        three.env_method("no_such_method")
    assert not three.has_attr("action_masks")
    three.step(np.zeros((3, 1), np.float32))


def test_each_environment_gets_its_own_options(three):
    three.set_options([{"a": 1}, {}, {"a": 3}])
    three.reset()
    assert three.get_attr("options") == [{"a": 1}, None, {"a": 3}]
    three.set_options({"a": 7})
    three.reset()
    assert three.get_attr("options") == [{"a": 7}] * 3


def test_batched_environments_share_options_and_attributes():
    env = as_sb3(make_vec("InvertedPendulum-v5", 2))
    env.set_options([{"reset_mask": np.array([True, False])}, {}])
    with pytest.raises(WarmstartError, match="the same options for all environments"):
        env.reset()
    with pytest.raises(WarmstartError, match="found '_forward_reward_weight': they are simulated together"):
        env.set_attr("_forward_reward_weight", 5.0)
    assert [space.shape for space in env.get_attr("action_space")] == [(1,), (1,)]
    assert [space.shape for space in env.get_attr("observation_space")] == [(4,), (4,)]


def test_what_an_environment_keeps_stays_its_own():
    env = VecFrameStack(as_sb3(make_vec("Counting-v0", 1)), 2, channels_order="last")
    env.reset()
    for _ in range(3):
        *_, infos = env.step(np.zeros((1, 1), np.float32))
    assert infos[0]["terminal_observation"]["x"].shape == (4,)
    assert env.get_attr("kept")[0]["x"].shape == (2,)
    log = infos[0]["log"]
    env.step(np.zeros((1, 1), np.float32))
    assert log == [1, 2, 3]


def test_a_monitor_of_the_users_is_not_overruled():
    env = as_sb3(make_vec("Monitored-v0", 1))
    env.reset()
    for _ in range(3):
        _, rewards, _, infos = env.step(np.zeros((1, 1), np.float32))
    assert rewards.tolist() == [10.0]
    assert "terminal_observation" in infos[0]
    assert env.env_is_wrapped(Tenfold) == [True]
    assert env.env_is_wrapped(gymnasium.wrappers.ClipAction) == [False]


def test_time_limits_of_plain_tasks_are_known():
    assert make_vec("Long-v0", 1).time_limit == 12_000
    assert make_vec("Long-v0:time_limit=11000", 1).time_limit == 11_000
    assert "Long-v0" in repr(make_vec("Long-v0", 1))
    env = make_vec("Long-v0:time_limit=11000", 1)
    zeros = np.zeros((1, *env.single_action_space.shape), np.float32)
    assert evaluate(lambda _: zeros, "Long-v0:time_limit=11000", 1).lengths.tolist() == [11_000]


@pytest.mark.parametrize("task", ["Ant-v5", "Humanoid-v5", "HumanoidStandup-v5"])
def test_a_stepper_without_contact_forces_is_refused(task):
    with pytest.raises(WarmstartError, match="found 'batch': the task reads contact forces"):
        make_vec(task, 1, stepper="batch")


def test_seeds_specs_and_steps_before_a_reset():
    batched, plain = make_vec("HalfCheetah-v5:time_limit=7", 2), make_vec("Pendulum-v1", 2)
    with pytest.raises(gymnasium.error.ResetNeeded):
        batched.step(np.zeros((2, 6)))
    for env, seed in ((batched, 42), (plain, (42, 43))):
        env.reset(seed=42)
        assert env.np_random_seed == seed
    assert batched.spec.max_episode_steps == 7
    assert batched.spec.kwargs == gymnasium.spec("HalfCheetah-v5").kwargs
    assert make_vec("HalfCheetah-v5:forward_reward_weight=2", 1).spec.kwargs["forward_reward_weight"] == 2
    assert plain.get_attr("max_speed") == (8, 8)
