"""With empty seams, results equal stable-baselines3's bit for bit."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

from tests.agents.conftest import DictTask, assert_same, gym_env, vectorise
from warmstart.agents.algorithms import ppo
from warmstart.agents.algorithms.crossq import CrossQ
from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.algorithms.sac import SAC
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.td3 import TD3
from warmstart.agents.algorithms.tqc import TQC
from warmstart.agents.algorithms.trainability import Rule, Trainability
from warmstart.agents.checkpoints.normalization import vec_normalize
from warmstart.agents.settings.config import SACConfig
from warmstart.core.errors import WarmstartError

RELU = {"activation_fn": torch.nn.ReLU, "net_arch": {"pi": [37], "vf": [50, 20]}, "log_std_init": -1.0}
PPO_CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "normalised": ("HalfCheetah-v5", {"n_steps": 64, "batch_size": 64}, 1500),
    "uneven batches": ("HalfCheetah-v5", {"n_steps": 60, "batch_size": 70, "policy_kwargs": RELU}, 960),
    "entropy, linear": (
        "Hopper-v5",
        {
            "n_steps": 64,
            "batch_size": 128,
            "ent_coef": 0.01,
            "learning_rate": LinearSchedule(1e-3, 0, 1),
            "clip_range": LinearSchedule(0.3, 0, 1),
            "normalize_advantage": False,
        },
        1280,
    ),
    "target_kl": (
        "Hopper-v5",
        {"n_steps": 64, "batch_size": 64, "target_kl": 0.003, "learning_rate": 2e-3},
        1000,
    ),
    "clip_range_vf": ("Hopper-v5", {"n_steps": 32, "batch_size": 64, "clip_range_vf": 0.2}, 512),
    "gSDE": ("Hopper-v5", {"n_steps": 32, "batch_size": 64, "use_sde": True, "sde_sample_freq": 4}, 512),
    "one action": ("InvertedPendulum-v5", {"n_steps": 32, "batch_size": 64}, 512),
    "discrete": ("CartPole-v1", {"n_steps": 32, "batch_size": 64}, 1024),
}


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
@pytest.mark.parametrize("case", PPO_CASES)
def test_ppo(case: str) -> None:
    task, settings, steps = PPO_CASES[case]
    ours = PPO("MlpPolicy", vec_normalize(gym_env(task)), seed=0, device="cpu", **settings)
    ours.learn(steps)
    theirs = sb3.PPO("MlpPolicy", VecNormalize(gym_env(task)), seed=0, device="cpu", **settings)
    theirs.learn(steps)
    assert_same(ours, theirs)
    for name in ("mean", "var", "count"):
        a, b = (getattr(m.get_vec_normalize_env().obs_rms, name) for m in (ours, theirs))  # type: ignore[union-attr]
        assert np.array_equal(a, b)
    logged, expected = ours.logger.name_to_value, theirs.logger.name_to_value
    assert set(logged) == set(expected)
    for name in logged:
        if name.startswith("train/"):
            assert logged[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name
    moments = [m.policy.optimizer.state_dict()["state"] for m in (ours, theirs)]
    for key, state in moments[1].items():
        assert all(torch.equal(torch.as_tensor(v), moments[0][key][n]) for n, v in state.items())


def test_ppo_without_its_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder `agents/fast` could be deleted: autograd gives the same bits."""
    settings = {"n_steps": 32, "batch_size": 64, "seed": 0, "device": "cpu"}
    sooner = PPO("MlpPolicy", vec_normalize(gym_env("Hopper-v5")), **settings).learn(512)
    assert sooner._update is not None
    monkeypatch.setattr(ppo, "fast_actor", lambda policy, rows: None)
    monkeypatch.setattr(ppo, "fast_update", lambda *_: None)
    later = PPO("MlpPolicy", vec_normalize(gym_env("Hopper-v5")), **settings).learn(512)
    assert later._update is None
    assert_same(later, sooner)


def test_recomputed_advantages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each pass values and advantages are those that the critic of the moment gives."""
    settings = {"n_steps": 32, "batch_size": 32, "n_epochs": 3, "seed": 0, "device": "cpu", "gamma": 0.9}
    model = PPO("MlpPolicy", gym_env("Hopper-v5"), recompute_advantages=True, **settings)
    seen: list[tuple[Any, Any]] = []
    original = PPO._recompute

    def recompute(self: PPO) -> None:
        original(self)
        buffer = self.rollout_buffer
        n, steps = buffer.n_envs, buffer.buffer_size
        with torch.no_grad():
            values = self.policy.predict_values(torch.as_tensor(buffer.observations))
            last = self.policy.predict_values(torch.as_tensor(self._last_obs)).numpy()
        values = values.numpy().reshape(n, steps)
        expected = np.zeros((n, steps))
        for env in range(n):
            after, alive, advantage = last[env, 0], not self._last_episode_starts[env], 0.0
            for step in range(steps - 1, -1, -1):
                target = buffer.rewards[step, env] + 0.9 * after * alive
                advantage = target - values[env, step] + 0.9 * 0.95 * alive * advantage
                expected[env, step] = advantage
                after, alive = values[env, step], not buffer.episode_starts[step, env]
        seen.append((buffer.advantages.reshape(n, steps), expected))
        np.testing.assert_allclose(buffer.returns, buffer.advantages + buffer.values, rtol=1e-6)

    monkeypatch.setattr(PPO, "_recompute", recompute)
    model.learn(128)
    assert len(seen) == 2 * 128 // (32 * model.n_envs)
    for found, expected in seen:
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)
    monkeypatch.setattr(ppo, "fast_update", lambda *_: None)
    later = PPO("MlpPolicy", gym_env("Hopper-v5"), recompute_advantages=True, **settings).learn(128)
    assert_same(later, model)


def test_ppo_with_timeouts_and_raw_observations() -> None:
    models = [
        cls("MlpPolicy", gym_env("Hopper-v5", max_episode_steps=7), n_steps=32, seed=1, device="cpu").learn(
            512
        )
        for cls in (PPO, sb3.PPO)
    ]
    assert_same(*models)


@pytest.mark.parametrize("discrete", [False, True])
def test_ppo_with_dict_observations(discrete: bool) -> None:
    models = [
        cls(
            "MultiInputPolicy",
            VecNormalize(vectorise(lambda: DictTask(discrete), 3)),
            n_steps=32,
            batch_size=32,
            seed=1,
            device="cpu",
        ).learn(300)
        for cls in (PPO, sb3.PPO)
    ]
    assert_same(*models)


def test_ppo_continued() -> None:
    models = []
    for cls in (PPO, sb3.PPO):
        model = cls("MlpPolicy", gym_env("Hopper-v5"), n_steps=32, seed=1, device="cpu")
        models.append(model.learn(256))
        for parameter in model.policy.parameters():
            parameter.data = parameter.data.clone() * 1.01
        model.learn(256, reset_num_timesteps=False)
    assert_same(*models)


@pytest.mark.parametrize("normalised", [False, True])
def test_sac(normalised: bool) -> None:
    models = []
    for cls in (SAC, sb3.SAC):
        env = gym_env("Hopper-v5", 2)
        model = cls(
            "MlpPolicy",
            VecNormalize(env) if normalised else env,
            learning_starts=40,
            buffer_size=1000,
            batch_size=32,
            seed=0,
            device="cpu",
        )
        models.append(model.learn(160))
    assert_same(*models)
    assert torch.equal(models[0].log_ent_coef, models[1].log_ent_coef)


def test_td3() -> None:
    models = []
    for cls in (TD3, sb3.TD3):
        noise = NormalActionNoise(np.zeros(3), np.full(3, 0.1))
        model = cls(
            "MlpPolicy",
            gym_env("Hopper-v5", 2),
            action_noise=noise,
            learning_starts=40,
            buffer_size=1000,
            batch_size=32,
            policy_kwargs={"net_arch": [40, 30]},
            seed=0,
            device="cpu",
        )
        models.append(model.learn(200))
    assert_same(*models)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("settings", [{}, {"ent_coef": 0.1, "use_sde": True}])
@pytest.mark.parametrize("pair", [(TQC, sb3_contrib.TQC), (CrossQ, sb3_contrib.CrossQ)])
def test_contrib(pair: tuple[Any, Any], normalised: bool, settings: dict[str, Any]) -> None:
    models = []
    for cls in pair:
        env: Any = gym_env("Hopper-v5", 2)
        env = VecNormalize(env) if normalised else env
        common = {"learning_starts": 40, "buffer_size": 1000, "batch_size": 32, "seed": 0, "device": "cpu"}
        kwargs = {"net_arch": [32, 32]}
        model = cls("MlpPolicy", env, policy_kwargs=kwargs, gradient_steps=2, **common, **settings)
        models.append(model.learn(120))
    assert_same(*models)


@pytest.mark.parametrize("part", ["actor", "critic"])
def test_a_frozen_network_of_crossq_keeps_its_statistics(part: str) -> None:
    seams = Seams(trainability=Trainability((Rule(f"{part}.*", 0.0),)))
    model = CrossQ(
        "MlpPolicy", gym_env("Hopper-v5", 1), seams=seams, learning_starts=20, batch_size=16, device="cpu"
    )
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(60)
    for name, value in model.policy.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith(part) or "num_batches" in name, name


def test_seams_that_do_nothing_leave_sac_as_it_is() -> None:
    """The update with seams does SB3's arithmetic: an empty set of rules changes no bit."""
    pairs = ((SAC, sb3.SAC), (TD3, sb3.TD3), (TQC, sb3_contrib.TQC), (CrossQ, sb3_contrib.CrossQ))
    for cls, theirs in pairs:
        common: dict[str, Any] = {"learning_starts": 20, "buffer_size": 500, "batch_size": 16, "seed": 0}
        seams = Seams(trainability=Trainability(()))
        a = cls("MlpPolicy", gym_env("Hopper-v5", 1), seams=seams, **common).learn(60)
        b = theirs("MlpPolicy", gym_env("Hopper-v5", 1), **common).learn(60)
        assert_same(a, b)


@pytest.mark.slow
def test_ppo_for_20k_steps() -> None:
    models = []
    for cls, norm in ((PPO, vec_normalize), (sb3.PPO, VecNormalize)):
        env = norm(gym_env("HalfCheetah-v5", 8))
        models.append(cls("MlpPolicy", env, n_steps=128, batch_size=256, seed=0, device="cpu").learn(20_480))
    assert_same(*models)


class Matrix(gymnasium.Env[Any, Any]):
    """Takes actions of more than one axis."""

    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2, 2), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Begin an episode."""
        super().reset(seed=seed)
        self.steps = 0
        return np.full(3, 0.1, np.float32), {}

    def step(self, action: Any) -> Any:
        """Take a step."""
        assert action.shape == (2, 2)
        self.steps += 1
        observation = np.full(3, 0.1 * self.steps % 1, np.float32)
        return observation, float(action.sum()), False, self.steps == 10, {}


@pytest.mark.parametrize("name", ["PPO", "SAC", "TD3"])
def test_actions_of_more_than_one_axis(name: str) -> None:
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 16} if name == "PPO" else {"learning_starts": 16}
    parameters = []
    for algorithm in {"PPO": (sb3.PPO, PPO), "SAC": (sb3.SAC, SAC), "TD3": (sb3.TD3, TD3)}[name]:
        model: Any = algorithm("MlpPolicy", Matrix(), seed=0, device="cpu", **settings)
        model.learn(64)
        parameters.append(model.policy.state_dict())
    for key, value in parameters[0].items():
        torch.testing.assert_close(value, parameters[1][key], rtol=0, atol=0)


@pytest.mark.parametrize("own_update", [False, True])
def test_matrix_products_have_the_precision_that_was_given_in_updates_alone(own_update: bool) -> None:
    found: dict[str | None, dict[str, torch.Tensor]] = {}
    for precision in (None, "highest", "medium"):
        env = gym_env("Pendulum-v1", 1)
        settings: Any = {"learning_starts": 20, "buffer_size": 200, "batch_size": 64, "seed": 0}
        model = SAC("MlpPolicy", env, matmul_precision=precision, device="cpu", **settings)
        if own_update:
            model.set_trainability(Trainability((Rule("@actor", 1.0),)))
        seen = set()
        critic = model.critic.forward

        def forward(*inputs: Any, critic: Any = critic, seen: set[str] = seen) -> Any:
            seen.add(torch.get_float32_matmul_precision())
            return critic(*inputs)

        model.critic.forward = forward  # type: ignore[method-assign]
        model.learn(60)
        assert seen == {precision or "highest"}
        assert torch.get_float32_matmul_precision() == "highest"
        found[precision] = model.policy.state_dict()
        env.close()
    for name, value in found["highest"].items():
        assert torch.equal(found[None][name], value)
        torch.testing.assert_close(found["medium"][name], value, rtol=0.1, atol=0.05)


def test_a_precision_of_the_users_own_stays() -> None:
    env = gym_env("Pendulum-v1", 1)
    model = SAC("MlpPolicy", env, learning_starts=20, buffer_size=200, batch_size=64, device="cpu")
    seen = set()
    critic = model.critic.forward

    def forward(*inputs: Any) -> Any:
        seen.add(torch.get_float32_matmul_precision())
        return critic(*inputs)

    model.critic.forward = forward  # type: ignore[method-assign]
    torch.set_float32_matmul_precision("high")
    try:
        model.learn(30)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == {"high"}
    env.close()


def test_an_unknown_precision_is_an_error() -> None:
    with pytest.raises(WarmstartError, match=r"matmul_precision: .*'low'"):
        SACConfig(matmul_precision="low")  # type: ignore[arg-type]
