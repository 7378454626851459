"""The adapter to stable-baselines3, against its own DummyVecEnv with VecMonitor."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import SB3VecEnv, as_sb3
from warmstart.envs.vector import make_vec


def dummy(task: str, n: int, limit: int) -> VecMonitor:
    return VecMonitor(DummyVecEnv([lambda: gymnasium.make(task, max_episode_steps=limit)] * n))


@pytest.mark.parametrize(("task", "limit"), [("Hopper-v5", 15), ("CartPole-v1", 12), ("Ant-v5", 10)])
def test_equals_dummy_vec_env_with_vec_monitor(task: str, limit: int) -> None:
    n = 3
    ours, theirs = as_sb3(make_vec(f"{task}:time_limit={limit}", n)), dummy(task, n, limit)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    ours.seed(7)
    theirs.seed(7)
    mine, other = ours.reset(), theirs.reset()
    np.testing.assert_array_equal(mine, other)
    assert mine.dtype == other.dtype
    ours.action_space.seed(0)
    ended = 0
    for _ in range(60):
        actions = np.array([ours.action_space.sample() for _ in range(n)])
        mine, other = ours.step(actions), theirs.step(actions)
        for a, b in zip(mine[:3], other[:3], strict=True):
            assert a.dtype == b.dtype  # type: ignore[union-attr]
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)  # type: ignore[arg-type]
        for a, b in zip(mine[3], other[3], strict=True):
            assert a.keys() == b.keys()
            assert a["TimeLimit.truncated"] == b["TimeLimit.truncated"]
            for name in a.keys() - {"episode"}:
                np.testing.assert_allclose(a[name], b[name], rtol=1e-6, atol=1e-9)
            if "episode" in a:
                ended += 1
                assert a["episode"]["l"] == b["episode"]["l"]
                assert a["episode"]["r"] == pytest.approx(b["episode"]["r"], rel=1e-5)
        for a, b in zip(ours.reset_infos, theirs.venv.reset_infos, strict=True):
            assert a == pytest.approx(b)
    assert ended > 3
    ours.close()
    theirs.close()


def test_ppo_makes_the_same_rollouts_and_updates_as_on_dummy_vec_env() -> None:
    torch.set_num_threads(1)
    parameters = []
    for env in (as_sb3(make_vec("Hopper-v5", 2)), DummyVecEnv([lambda: gymnasium.make("Hopper-v5")] * 2)):
        model = PPO(
            "MlpPolicy", VecNormalize(env), n_steps=64, batch_size=32, n_epochs=2, seed=3, device="cpu"
        )
        model.learn(256)
        parameters.append(torch.cat([p.flatten() for p in model.policy.parameters()]))
    assert torch.equal(*parameters)


class Nested(gymnasium.Env[Any, Any]):
    """Has infos of many kinds; the third step ends its episode."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)
    steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return np.zeros(1, dtype=np.float32), {"start": "here", "inner": {"a": 0}}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        info = {"inner": {"a": self.steps, "b": np.full(2, action)}, "word": f"{action}"}
        if action:
            info["sometimes"] = 1.5
        return np.zeros(1, dtype=np.float32), 1.0, self.steps == 3 + int(action), False, info


def test_infos_of_any_kind_are_those_of_dummy_vec_env() -> None:
    name = "warmstart-tests/Nested-v0"
    gymnasium.register(name, entry_point=Nested)
    ours, theirs = as_sb3(make_vec(name, 3, 0)), VecMonitor(DummyVecEnv([lambda: gymnasium.make(name)] * 3))
    del gymnasium.registry[name]
    ours.reset()
    theirs.reset()

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k != "t"}
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

    for _ in range(9):
        actions = np.array([0, 1, 0])
        assert [plain(i) for i in ours.step(actions)[3]] == [plain(i) for i in theirs.step(actions)[3]]
        assert [plain(i) for i in ours.reset_infos] == [plain(i) for i in theirs.venv.reset_infos]


@pytest.mark.slow
def test_ppo_learns_to_balance() -> None:
    torch.set_num_threads(1)
    env = as_sb3(make_vec("InvertedPendulum-v5", 16, 0))
    model = PPO(
        "MlpPolicy", env, n_steps=64, batch_size=256, n_epochs=10, learning_rate=1e-3, seed=0, device="cpu"
    )
    before = evaluate_policy(model, as_sb3(make_vec("InvertedPendulum-v5", 8, 1)), 8)[0]
    model.learn(20_000)
    after = evaluate_policy(model, as_sb3(make_vec("InvertedPendulum-v5", 8, 1)), 8)[0]
    assert after > 3 * before  # type: ignore[operator]


def test_evaluate_policy_takes_the_episode_statistics_without_a_warning() -> None:
    env = as_sb3(make_vec("Hopper-v5", 2, 0))
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=16, device="cpu")
    returns, lengths = evaluate_policy(model, env, 4, return_episode_rewards=True)
    assert len(returns) == len(lengths) == 4  # type: ignore[arg-type]


def test_discrete_actions_work_with_ppo() -> None:
    model = PPO(
        "MlpPolicy", as_sb3(make_vec("CartPole-v1@length=x2", 2, 0)), n_steps=16, batch_size=16, device="cpu"
    )
    model.learn(64)


def test_attributes_and_methods() -> None:
    env = as_sb3(make_vec("HalfCheetah-v5", 3, 0))
    assert env.get_attr("render_mode") == [None] * 3
    assert env.get_attr("n_diverged", 1) == [0]
    assert not env.has_attr("colour")
    env.env_method("set_context", "gravity=x0.5", indices=[2])
    env.reset()
    assert [len(context) for context in env.get_attr("contexts")] == [0, 0, 1]
    assert [len(context) for context in env.get_attr("contexts", [2])] == [1]
    assert env.env_method("context_values", indices=0)[0].shape == (3,)
    env.set_attr("n_diverged", 5)
    assert env.get_attr("n_diverged") == [5] * 3
    with pytest.raises(WarmstartError, match="share their attributes"):
        env.set_attr("n_diverged", 5, [0])
    assert env.env_is_wrapped(Monitor) == [True] * 3
    assert env.env_is_wrapped(gymnasium.wrappers.TimeLimit) == [False] * 3
    plain = as_sb3(make_vec("CartPole-v1", 2, 0))
    assert plain.get_attr("length") == [0.5, 0.5]
    plain.set_attr("length", 0.7)
    assert plain.get_attr("length", [1]) == [0.7]


def test_seed_is_used_once() -> None:
    env = as_sb3(make_vec("Hopper-v5", 2, 0))
    env.seed(5)
    first, second = env.reset(), env.reset()
    env.seed(5)
    np.testing.assert_array_equal(env.reset(), first)
    assert (first != second).any()


def test_saved_state_includes_the_episode_statistics() -> None:
    def step(env: SB3VecEnv, k: int) -> Any:
        return env.step(np.full((2, 3), np.sin(k), dtype=np.float32))

    env = as_sb3(make_vec("Hopper-v5", 2, 0))
    env.reset()
    for k in range(10):
        step(env, k)
    other = as_sb3(make_vec("Hopper-v5", 2, 1))
    other.load_state_dict(env.state_dict())
    episodes = []
    for k in range(10, 60):
        (a, ra, da, ia), (b, rb, db, ib) = step(env, k), step(other, k)
        for x, y in ((a, b), (ra, rb), (da, db)):
            np.testing.assert_array_equal(x, y)
        for x, y in zip(ia, ib, strict=True):
            if "episode" in x:
                episodes.append(x)
                assert (x["episode"]["r"], x["episode"]["l"]) == (y["episode"]["r"], y["episode"]["l"])
    assert episodes


def test_frames_are_tiled() -> None:
    env = as_sb3(make_vec("Hopper-v5:width=64,height=48", 4, 0, render_mode="rgb_array"))
    env.reset()
    try:
        frame = env.render()
    except WarmstartError as error:
        if "OpenGL" not in str(error):
            raise
        pytest.skip(f"no rendering here: {error}")
    assert frame is not None
    assert frame.shape == (96, 128, 3)
    env.close()


def test_another_autoreset_is_refused() -> None:
    env = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")], autoreset_mode=AutoresetMode.NEXT_STEP)
    with pytest.raises(WarmstartError, match="same step"):
        as_sb3(env)
