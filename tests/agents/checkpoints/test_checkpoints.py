"""Checkpoints hold what they say, in either format, and refuse what they can't trust."""

import base64
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize

from tests.agents.conftest import DictTask, gym_env, vectorise
from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.algorithms.sac import SAC
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.td3 import TD3
from warmstart.agents.algorithms.trainability import Trainability
from warmstart.agents.checkpoints.checkpoint import (
    METADATA,
    TENSORS,
    Checkpoint,
    checkpoint_of,
    save_checkpoint,
)
from warmstart.agents.checkpoints.facts import checkpoint_facts
from warmstart.agents.checkpoints.normalization import read_normalizer
from warmstart.agents.checkpoints.spaces import space_from_json, space_to_json
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.sb3_files.spaces import space_of
from warmstart.agents.sb3_files.written import write_sb3_zip
from warmstart.agents.untrusted.pickles import read_pickle
from warmstart.core import files
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import to_plain
from warmstart.envs.simulation.layouts import Dimension, Layout

SMALL: dict[str, Any] = {"net_arch": [16, 8], "activation_fn": torch.nn.ELU}


ON: dict[str, Any] = {"n_steps": 32, "batch_size": 64, "seed": 0}
OFF: dict[str, Any] = {"buffer_size": 50, "learning_starts": 10, "seed": 0}
MODELS: dict[str, Callable[[], Any]] = {
    "ppo": lambda: PPO("MlpPolicy", VecNormalize(gym_env("Hopper-v5", 2)), policy_kwargs=SMALL, **ON),
    "ppo, gSDE": lambda: PPO("MlpPolicy", gym_env("Hopper-v5", 2), use_sde=True, **ON),
    "ppo, discrete": lambda: PPO("MlpPolicy", gym_env("CartPole-v1", 2), **ON),
    "ppo, Dict": lambda: PPO("MultiInputPolicy", VecNormalize(vectorise(lambda: DictTask(True), 2)), **ON),
    "sac": lambda: SAC("MlpPolicy", VecNormalize(gym_env("Hopper-v5", 2)), policy_kwargs=SMALL, **OFF),
    "sac, Dict": lambda: SAC("MultiInputPolicy", vectorise(DictTask, 2), ent_coef=0.2, **OFF),
    "td3": lambda: TD3(
        "MlpPolicy", gym_env("Hopper-v5", 2), policy_kwargs={"net_arch": [9], "n_critics": 1}, **OFF
    ),
    "plain sb3": lambda: sb3.PPO("MlpPolicy", gym_env("Hopper-v5", 2), **ON),
}


def observe(space: spaces.Space[Any], n: int) -> Any:
    rng = np.random.default_rng(1)
    if isinstance(space, spaces.Dict):
        return {k: rng.normal(size=(n, *s.shape)).astype(np.float32) for k, s in space.spaces.items()}
    return rng.normal(size=(n, *space.shape))  # type: ignore[misc]


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_and_prediction(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    model.learn(128)
    path = save_checkpoint(model, tmp_path / "deep" / "ck", task="Hopper-v5@gravity=x0.5")
    checkpoint = load_checkpoint(path)
    assert checkpoint.algorithm == name.replace("plain sb3", "ppo").split(",")[0]
    assert checkpoint.task == "Hopper-v5@gravity=x0.5"
    assert checkpoint.steps == 128
    assert checkpoint.observation_space == model.observation_space
    assert checkpoint.action_space == model.action_space
    assert checkpoint.versions["torch"] == torch.__version__
    observations = observe(model.observation_space, 6)
    env = model.get_vec_normalize_env()
    normalised = observations if env is None else env.normalize_obs(observations)
    expected = model.predict(normalised, deterministic=True)[0]
    policy = checkpoint.policy()
    assert np.array_equal(policy.predict(observations), expected)
    single = {k: v[0] for k, v in observations.items()} if isinstance(observations, dict) else observations[0]
    assert np.allclose(policy.predict(single), expected[0], atol=1e-6)
    assert checkpoint.fingerprint() == checkpoint_of(model).fingerprint()

    zipped = write_sb3_zip(checkpoint, tmp_path / "out")
    opened = getattr(sb3, checkpoint.algorithm.upper()).load(zipped, device="cpu")
    assert np.array_equal(opened.predict(normalised, deterministic=True)[0], expected)
    again = load_checkpoint(zipped)
    assert again.format == "sb3"
    assert again.algorithm == checkpoint.algorithm
    assert again.observation_space == model.observation_space
    assert again.action_space == model.action_space
    assert np.array_equal(again.policy().predict(normalised), expected)
    for key, value in checkpoint.tensors.items():
        assert torch.equal(again.tensors[key], value)
    if env is not None:
        trusted = load_checkpoint(zipped, trust_normalizer=tmp_path / "out.vecnormalize.pkl")
        assert np.array_equal(trusted.policy().predict(observations), expected)
        restored = VecNormalize.load(str(tmp_path / "out.vecnormalize.pkl"), env.venv)
        assert np.array_equal(_flat(restored.normalize_obs(observations)), _flat(normalised))


def _flat(value: Any) -> Any:
    return np.concatenate(list(value.values()), -1) if isinstance(value, dict) else value


@pytest.fixture
def model() -> Any:
    return PPO("MlpPolicy", VecNormalize(gym_env("Hopper-v5", 2)), n_steps=32, batch_size=64, seed=0).learn(
        64
    )


def test_zip_of_plain_sb3_is_read_without_unpickling(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = sb3.SAC("MlpPolicy", gym_env("Pendulum-v1", 1), buffer_size=10, policy_kwargs=SMALL)
    plain.save(tmp_path / "plain.zip")

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr("cloudpickle.loads", refuse)
    checkpoint = load_checkpoint(tmp_path / "plain")
    assert checkpoint.policy_kwargs["net_arch"] == [16, 8]
    assert checkpoint.policy_kwargs["activation"] == "elu"
    assert checkpoint.action_space == plain.action_space
    assert checkpoint.tensors["extra.log_ent_coef"].shape == (1,)
    observations = np.random.default_rng(0).uniform(-1, 1, (4, 3)).astype(np.float32)
    assert np.array_equal(
        checkpoint.policy().predict(observations), plain.predict(observations, deterministic=True)[0]
    )


def test_a_zip_with_code_in_it_runs_none(model: Any, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "exploded"),))

    torch.save({"x": Bomb()}, tmp_path / "policy.pth")
    model.save(tmp_path / "model.zip")
    with (
        zipfile.ZipFile(tmp_path / "model.zip") as source,
        zipfile.ZipFile(tmp_path / "bad.zip", "w") as target,
    ):
        for name in source.namelist():
            content = (tmp_path / "policy.pth").read_bytes() if name == "policy.pth" else source.read(name)
            target.writestr(name, content)
    with pytest.raises(WarmstartError, match="nothing of it was run"):
        load_checkpoint(tmp_path / "bad.zip")
    (tmp_path / "norm.pkl").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WarmstartError, match=r"refers to posix\.mkdir"):
        load_checkpoint(tmp_path / "model.zip", trust_normalizer=tmp_path / "norm.pkl")
    assert not (tmp_path / "exploded").exists()


def test_the_normaliser_travels_and_its_pickle_only_with_trust(model: Any, tmp_path: Path) -> None:
    model.save(tmp_path / "model.zip")
    model.get_vec_normalize_env().save(str(tmp_path / "norm.pkl"))
    assert load_checkpoint(tmp_path / "model.zip").normalizer is None
    trusted = load_checkpoint(tmp_path / "model.zip", trust_normalizer=tmp_path / "norm.pkl").normalizer
    own = read_normalizer(model.env)
    assert trusted is not None
    assert own is not None
    assert trusted.to_json() == own.to_json()
    loaded = load_checkpoint(save_checkpoint(model, tmp_path / "ck")).normalizer
    assert loaded is not None
    assert loaded.to_json() == own.to_json()
    with pytest.raises(WarmstartError, match="no VecNormalize file"):
        load_checkpoint(tmp_path / "ck", trust_normalizer=tmp_path / "nothing.pkl")


def test_layouts_rules_and_description(tmp_path: Path) -> None:
    seams = Seams(trainability=Trainability.frozen("mlp_extractor.policy_net.*"))
    model = PPO("MlpPolicy", gym_env("CartPole-v1", 2), n_steps=32, batch_size=64, seams=seams)
    layout = Layout((Dimension("a", "m"), Dimension("b"), Dimension("c", low=-1, high=1), Dimension("d")))
    checkpoint = load_checkpoint(save_checkpoint(model, tmp_path / "ck", observation_layout=layout))
    assert checkpoint.observation_layout == layout
    assert checkpoint.trainability == to_plain(seams.trainability.rules)  # type: ignore[union-attr]
    shown = json.loads(json.dumps(checkpoint_facts(checkpoint)))
    assert shown["algorithm"] == "ppo"
    assert shown["tensors"]["action_net.weight"] == {"shape": [2, 64], "dtype": "float32"}
    assert shown["parameters"] == sum(p.numel() for p in model.policy.parameters())
    assert shown["normalizer"] is None


def test_damage_is_noticed(model: Any, tmp_path: Path) -> None:
    good = save_checkpoint(model, tmp_path / "good")

    def damaged(name: str, change: Any) -> Path:
        copy = tmp_path / "bad"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(good, copy)
        change(copy / name)
        return copy

    def truncate(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def edit(path: Path) -> None:
        path.write_text(path.read_text().replace('"steps": 64', '"steps": 65'))

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content)

    for name, change, message in (
        (TENSORS, truncate, "truncated or was changed"),
        (TENSORS, flip, "sha256 differs"),
        (TENSORS, Path.unlink, "is missing"),
        (METADATA, truncate, "isn't JSON"),
        (METADATA, edit, "changed after it was written"),
        (METADATA, lambda p: p.write_text("[]"), "not a checkpoint"),
    ):
        with pytest.raises(WarmstartError, match=message):
            load_checkpoint(damaged(name, change))
    with pytest.raises(WarmstartError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "nowhere")
    (tmp_path / "half.zip").write_bytes(b"PK\x03\x04 half a zip")
    with pytest.raises(WarmstartError, match="truncated or not a zip"):
        load_checkpoint(tmp_path / "half.zip")
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WarmstartError, match=r"truncated or not an SB3 model.*found readme\.txt\.$"):
        load_checkpoint(tmp_path / "foreign.zip")
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for i in range(19):
            archive.writestr(f"archive/{i}", "hello")
    with pytest.raises(WarmstartError, match=r"found archive/0, .*archive/4, … \(19 in all\)\.$"):
        load_checkpoint(tmp_path / "many.zip")
    sb3.DQN("MlpPolicy", gym_env("CartPole-v1", 1), buffer_size=10).save(tmp_path / "dqn.zip")
    with pytest.raises(WarmstartError, match=r"a model of DQN; expected PPO, .* CrossQ or RecurrentPPO"):
        load_checkpoint(tmp_path / "dqn.zip")


def test_a_save_is_whole_or_not_at_all(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_checkpoint(model, tmp_path / "ck")
    before = load_checkpoint(path).fingerprint()
    model.learn(64)

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("warmstart.agents.checkpoints.checkpoint.write_synced", full)
    with pytest.raises(WarmstartError, match="No space left on device"):
        save_checkpoint(model, path)
    monkeypatch.setattr("warmstart.agents.checkpoints.checkpoint.write_synced", files.write_synced)
    assert load_checkpoint(path).fingerprint() == before
    save_checkpoint(model, path)
    assert load_checkpoint(path).fingerprint() != before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ck"]
    path.rename(tmp_path / ".ck.previous")
    assert load_checkpoint(path).algorithm == "ppo"
    (tmp_path / "mine").mkdir()
    with pytest.raises(WarmstartError, match="is not a checkpoint"):
        save_checkpoint(model, tmp_path / "mine")


def test_a_checkpoint_can_be_saved_again(model: Any, tmp_path: Path) -> None:
    first = load_checkpoint(save_checkpoint(model, tmp_path / "a"))
    second = load_checkpoint(save_checkpoint(first, tmp_path / "b"))
    assert first.fingerprint() == second.fingerprint()
    assert (tmp_path / "a" / METADATA).read_bytes() == (tmp_path / "b" / METADATA).read_bytes()


def test_what_does_not_fit_is_refused(model: Any) -> None:
    checkpoint = checkpoint_of(model)
    tensors = {n: v for n, v in checkpoint.tensors.items() if n != "log_std"} | {"other": torch.zeros(1)}
    with pytest.raises(WarmstartError, match="log_std is missing; other is not expected"):
        Checkpoint(
            "ppo", tensors, checkpoint.observation_space, checkpoint.action_space, checkpoint.policy_kwargs
        ).policy()
    with pytest.raises(WarmstartError, match=r"shape \(n, 11\) or \(11,\), found \(3, 4\)"):
        checkpoint.policy().predict(np.zeros((3, 4)))
    with pytest.raises(WarmstartError, match="found A2C"):
        checkpoint_of(sb3.A2C("MlpPolicy", "CartPole-v1"))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (3,), np.float32),
        spaces.Box(np.array([-1.5, -np.inf]), np.array([np.inf, 0.1]), (2,), np.float64),
        spaces.Box(-np.inf, np.inf, (2000,), np.float64),
        spaces.Box(0, 255, (3, 8, 8), np.uint8),
        spaces.Discrete(5, start=2),
        spaces.MultiDiscrete([3, 4]),
        spaces.MultiBinary(4),
        spaces.Dict({"a": spaces.Box(-1, 1, (3,), np.float32), "b": spaces.Discrete(3)}),
    ],
)
def test_spaces(space: spaces.Space[Any]) -> None:
    assert space_from_json(json.loads(json.dumps(space_to_json(space), allow_nan=False))) == space
    described = json.loads(sb3.common.save_util.data_to_json({"space": space}))["space"]
    assert space_of(read_pickle(base64.b64decode(described[":serialized:"]))) == space
