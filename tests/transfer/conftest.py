"""Small models in real environments, and the comparison of two policies in physical units."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.policy import Policy
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.vector import make_vec
from warmstart.transfer.carry.source import environment_layouts

ALGORITHMS = {"ppo": PPO, "sac": SAC, "td3": TD3, "tqc": TQC, "crossq": CrossQ}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def envs():
    """Make environments and close them afterwards."""
    made = []

    def make(task, n_envs=1, normalize=True, plain=False, **settings):
        if plain:
            env = DummyVecEnv([lambda: gymnasium.make(task) for _ in range(n_envs)])
        else:
            env = as_sb3(make_vec(task, n_envs, seed=0, n_threads=1))
        env = VecNormalize(env, **settings) if normalize else env
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()


def build(algorithm, env, seed=0, classes=ALGORITHMS, widths=(16, 16), **settings):
    """Build a small model."""
    if algorithm == "ppo":
        settings = {"n_steps": 32, "batch_size": 16, "n_epochs": 2, **settings}
    else:
        settings = {"learning_starts": 100, "buffer_size": 2_000, "batch_size": 32, **settings}
    kwargs = {"net_arch": list(widths), **settings.pop("policy_kwargs", {})}
    policy = settings.pop("policy", "MlpPolicy")
    return classes[algorithm](policy, env, seed=seed, policy_kwargs=kwargs, device="cpu", **settings)


def disturb(model, seed=0, size=0.3):
    """Give a model weights and statistics that a trained one might have: nothing zero, nothing standard."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.policy.named_parameters():
            scale = 0.02 if name.startswith(("action_net", "actor.mu")) else size
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
        if not hasattr(model.policy, "mlp_extractor"):
            last = model.actor.mu[-2] if algorithm_name(model) == "td3" else model.actor.mu
            last.weight.mul_(0.05)  # gentle actions: tanh is nearly straight there
            last.bias.mul_(0.05)
    for target in ("critic", "actor"):
        if hasattr(model.policy, f"{target}_target"):
            getattr(model.policy, f"{target}_target").load_state_dict(
                getattr(model.policy, target).state_dict()
            )
    draws = np.random.default_rng(seed)
    wrapper = model.get_vec_normalize_env()
    if wrapper is not None and wrapper.norm_obs:
        moments = wrapper.obs_rms.values() if isinstance(wrapper.obs_rms, dict) else [wrapper.obs_rms]
        for rms in moments:
            rms.mean, rms.var = draws.normal(size=rms.mean.shape), draws.uniform(0.5, 2.0, rms.var.shape)
            rms.count = 250_000.0
        wrapper.ret_rms.mean, wrapper.ret_rms.var = np.asarray(3.0), np.asarray(40.0)
        wrapper.ret_rms.count = 250_000.0
    return model


def tensors(model):
    """Copy a policy's tensors."""
    return {name: value.detach().clone() for name, value in model.policy.state_dict().items()}


def assert_tensors(found, expected, equal=True):
    """Assert that two policies' tensors are the same, bit for bit (or that each differs)."""
    assert found.keys() == expected.keys()
    for name in found:
        assert torch.equal(found[name], expected[name]) == equal, name


def torques(model, observations):
    """Return the deterministic physical actions on unstandardised observations, by actuator name."""
    layout = environment_layouts(model.env)[1]
    actions = Policy.from_model(model).predict(observations)
    return {d.name: actions[:, i] * d.scale for i, d in enumerate(layout.dimensions)}


def corresponding(source, target, observations, mapping=None):
    """Return the source's observations for the target's: matched values, the mean where it has no
    counterpart.

    Also returns how many dimensions correspond.
    """
    theirs, ours = environment_layouts(source.env)[0], environment_layouts(target.env)[0]
    wrapper = source.get_vec_normalize_env()
    mean = np.zeros(len(theirs)) if wrapper is None or not wrapper.norm_obs else wrapper.obs_rms.mean
    found, count = np.tile(mean, (len(observations), 1)), 0
    for t, name in enumerate(ours.names):
        name = (mapping or {}).get(name, name)
        if name in theirs.names:
            found[:, theirs.index(name)] = observations[:, t]
            count += 1
    return found, count


@pytest.fixture
def no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without weights of its own."""
    monkeypatch.delenv("WARMSTART_WEIGHTS", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
