"""Zips and normalisers that old releases of stable-baselines3 wrote, with gym or Gymnasium.

Those in ``tests/data/old_sb3`` were written by the releases in their names; what those releases answered
stands in ``expected.json``.
"""

import base64
import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3 as sb3
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor

from warmstart.agents.checkpoints.architecture import EXTRACTORS, POLICIES
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.sb3_files.classes import named_class
from warmstart.agents.sb3_files.normalizer import read_trusted_normalizer
from warmstart.agents.sb3_files.policy import _without_shared_layers
from warmstart.agents.sb3_files.written import write_sb3_zip
from warmstart.agents.untrusted.pickles import Called, read_pickle
from warmstart.core.errors import WarmstartError

FOLDER = Path(__file__).parents[2] / "data" / "old_sb3"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text())


@pytest.mark.parametrize("name", [name for name in EXPECTED if not name.startswith("vecnormalize")])
def test_acts_as_the_release_that_wrote_it(name: str) -> None:
    checkpoint = load_checkpoint(FOLDER / f"{name}.zip")
    assert checkpoint.versions == {"stable_baselines3": EXPECTED[name]["versions"]["stable_baselines3"]}
    space, held = checkpoint.observation_space, EXPECTED[name]["observation"]
    observation: Any = (
        {key: np.asarray(value, space[key].dtype) for key, value in held.items()}
        if isinstance(space, spaces.Dict)
        else np.asarray(held, space.dtype)
    )
    acted = checkpoint.policy().predict(observation)  # the last bits are the machine's
    np.testing.assert_allclose(acted, EXPECTED[name]["action"], rtol=1e-5, atol=1e-7)
    shared = name.startswith("ppo_1")
    assert [note.partition(",")[0] for note in checkpoint.notes] == (
        ["Its actor and critic share 1 layers"] if shared else []
    )


def test_bounds_that_differ_per_row_and_keys_with_quotes() -> None:
    space = load_checkpoint(FOLDER / "dict_1.2.0.zip").observation_space
    low, high = np.array([-1, -2.5, -30, -0.1], np.float32), np.array([1, 2, 3, 0.1], np.float32)
    assert space == spaces.Dict(
        {"it's": spaces.Box(low, high), "flags": spaces.MultiBinary(2), "mode": spaces.Discrete(3)}
    )


def test_shared_layers_keep_their_values() -> None:
    checkpoint = load_checkpoint(FOLDER / "ppo_1.7.0.zip")
    assert checkpoint.policy_kwargs["net_arch"] == {"pi": [8, 4], "vf": [8, 6]}
    with zipfile.ZipFile(FOLDER / "ppo_1.7.0.zip") as archive:
        old = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
    observation = torch.tensor([[0.5, -1.0, 2.0, 0.05]])
    latent = torch.tanh(
        observation @ old["mlp_extractor.shared_net.0.weight"].T + old["mlp_extractor.shared_net.0.bias"]
    )
    latent = torch.tanh(
        latent @ old["mlp_extractor.value_net.0.weight"].T + old["mlp_extractor.value_net.0.bias"]
    )
    value = latent @ old["value_net.weight"].T + old["value_net.bias"]
    module: Any = checkpoint.policy().module
    torch.testing.assert_close(module.predict_values(observation), value)


@pytest.mark.parametrize("release", ["1.0", "1.2.0", "1.7.0"])
def test_normalisers_that_name_gym(release: str) -> None:
    expected = EXPECTED[f"vecnormalize_{release}"]
    state = read_trusted_normalizer(FOLDER / f"vecnormalize_{release}.pkl")
    assert (np.asarray(state.mean).tolist(), np.asarray(state.var).tolist()) == (
        expected["mean"],
        expected["var"],
    )
    assert state.count == expected["count"]


class BoundedMean(ActorCriticPolicy):
    """Computes something else from the same tensors."""

    def _get_action_dist_from_latent(self, latent_pi: torch.Tensor) -> Any:
        return self.action_dist.proba_distribution(torch.tanh(self.action_net(latent_pi)), self.log_std)


def test_own_policy_classes_are_refused_by_name(tmp_path: Path) -> None:
    model = sb3.PPO(BoundedMean, "InvertedPendulum-v5", n_steps=8, batch_size=8, device="cpu")
    model.save(tmp_path / "own.zip")
    with pytest.raises(
        WarmstartError, match=r"of the class \S*BoundedMean, which may compute something else"
    ):
        load_checkpoint(tmp_path / "own.zip")
    with pytest.MonkeyPatch.context() as patch:  # what the message advises
        patch.setitem(POLICIES["ppo"], "BoundedMean", BoundedMean)
        policy = load_checkpoint(tmp_path / "own.zip").policy()
    observation = np.array([0.1, 0.2, 0.3, 0.1])
    expected = model.predict(observation, deterministic=True)[0]
    np.testing.assert_array_equal(policy.predict(observation), expected)


@pytest.mark.parametrize(
    ("algorithm", "policy", "fields"),
    [
        ("MaskablePPO", "sb3_contrib.common.maskable.policies MaskableActorCriticPolicy", {}),
        ("TRPO", "", {"line_search_max_iter": 10}),
    ],
)
def test_algorithms_of_others_are_refused_by_name(
    algorithm: str, policy: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    model = sb3.PPO("MlpPolicy", "InvertedPendulum-v5", n_steps=8, batch_size=8, device="cpu")
    model.save(tmp_path / "plain.zip")

    def edit(data: dict[str, Any]) -> None:
        data.update(fields)
        if policy:
            pickled = f"c{policy.replace(' ', chr(10))}\n.".encode()
            data["policy_class"][":serialized:"] = base64.b64encode(pickled).decode()

    _edited(tmp_path / "plain.zip", tmp_path / "foreign.zip", edit)
    with pytest.raises(
        WarmstartError,
        match=f"a model of {algorithm}; expected PPO, SAC, TD3, DDPG, TQC, CrossQ or RecurrentPPO",
    ):
        load_checkpoint(tmp_path / "foreign.zip")


@pytest.mark.parametrize(
    ("cls", "kwargs"),
    [
        (sb3_contrib.TQC, {"n_quantiles": 11, "n_critics": 3}),
        (sb3_contrib.CrossQ, {"batch_norm_momentum": 0.05, "renorm_warmup_steps": 10}),
    ],
)
def test_zips_of_tqc_and_crossq_act_as_they_did(cls: Any, kwargs: dict[str, Any], tmp_path: Path) -> None:
    settings = {"learning_starts": 10, "buffer_size": 100, "batch_size": 8, "device": "cpu"}
    model = cls("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [16, 16], **kwargs}, **settings)
    model.learn(40)
    model.save(tmp_path / "model.zip")
    found = load_checkpoint(tmp_path / "model.zip")
    assert found.algorithm == cls.__name__.lower()
    for name, value in kwargs.items():
        assert found.policy_kwargs[name] == value
    observations = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    expected = model.predict(observations, deterministic=True)[0]
    np.testing.assert_array_equal(found.policy().predict(observations), expected)
    save_checkpoint(found, tmp_path / "ours")
    again = load_checkpoint(tmp_path / "ours")
    np.testing.assert_array_equal(again.policy().predict(observations), expected)
    assert again.fingerprint() == found.fingerprint()
    zipped = write_sb3_zip(again, tmp_path / "written.zip")
    np.testing.assert_array_equal(
        cls.load(zipped, device="cpu").predict(observations, deterministic=True)[0], expected
    )


def test_a2c_and_saved_policies_are_refused_by_name(tmp_path: Path) -> None:
    model = sb3.A2C("MlpPolicy", "InvertedPendulum-v5", device="cpu")
    model.save(tmp_path / "a2c.zip")
    with pytest.raises(WarmstartError, match="a model of A2C; expected"):
        load_checkpoint(tmp_path / "a2c.zip")
    model.policy.save(str(tmp_path / "bc.zip"))
    with pytest.raises(WarmstartError, match=r"a file of torch\.save, such as policy\.save"):
        load_checkpoint(tmp_path / "bc.zip")


def test_another_optimizer_is_told(tmp_path: Path) -> None:
    kwargs = {"optimizer_class": torch.optim.RMSprop, "net_arch": [4]}
    model = sb3.PPO("MlpPolicy", gym.make("InvertedPendulum-v5"), policy_kwargs=kwargs, device="cpu")
    model.save(tmp_path / "rms.zip")
    assert load_checkpoint(tmp_path / "rms.zip").notes == (
        "Its optimizer torch.optim.rmsprop.RMSprop isn't carried over; the target trains with Adam.",
    )


def _edited(source: Path, target: Path, edit: Any) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "data":
                data = json.loads(content)
                edit(data)
                content = json.dumps(data).encode()
            new.writestr(name, content)


def test_pickles_are_data(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "exploded",))

    found = read_pickle(pickle.dumps([Bomb(), np.arange(3.0), {"a": np.float32(0.5)}]))
    assert isinstance(found[0], Called)
    assert found[0].name == "pathlib.Path.touch"
    np.testing.assert_array_equal(found[1], [0.0, 1.0, 2.0])
    assert found[2] == {"a": np.float32(0.5)}
    assert (
        named_class(pickle.dumps(ActorCriticPolicy)) == "stable_baselines3.common.policies.ActorCriticPolicy"
    )
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80", b"\x80\x04K", b"(lp0\n", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.", b"N" * 9],
)
def test_damaged_pickles(content: bytes) -> None:
    with pytest.raises(WarmstartError, match="not a whole pickle"):
        read_pickle(content)


def test_references_in_pickles_stay_references() -> None:
    nested: list[Any] = []
    for _ in range(15):
        nested = [nested, nested]
    found = read_pickle(pickle.dumps(nested))
    assert found[0] is found[1]


@pytest.mark.parametrize("kind", [list, tuple])
def test_pickles_that_grow_without_bound_are_refused(kind: type) -> None:
    nested: Any = kind()
    for _ in range(60):  # 2**60 values if each were read anew
        nested = kind((nested, nested))
    with pytest.raises(WarmstartError, match="it builds more than 5,000,000 values"):
        read_pickle(pickle.dumps({"a": nested}))
    key = b"\x80\x04}(K\x01" + b"2\x86" * 60 + b"K\x01u."  # as the key of a mapping, which is hashed
    with pytest.raises(WarmstartError, match="it builds more than 5,000,000 values"):
        read_pickle(key)


def test_a_pickle_can_not_ask_for_memory_by_a_number() -> None:
    with pytest.raises(WarmstartError, match="it names its part 268,435,456, of which it can't have so many"):
        read_pickle(b"\x80\x04}r\x00\x00\x00\x10.")


@pytest.mark.parametrize("content", [b"(0.", b"((a.", b"(d}(s.", b"\x80\x04(2.", b"\x80\x04h\x07."])
def test_pickles_whose_stack_is_wrong_are_refused(content: bytes) -> None:
    with pytest.raises(WarmstartError, match="not a whole pickle"):
        read_pickle(content)


def test_own_classes_of_scripts_are_called_by_their_names(tmp_path: Path) -> None:
    """Cloudpickle writes what a script or notebook defines by value, behind names of its own."""
    script = """
import torch, stable_baselines3 as sb3
from stable_baselines3.common.torch_layers import FlattenExtractor
class Mine(FlattenExtractor): pass
class Bent(torch.nn.Tanh): pass
for name, kwargs in (("extractor", {"features_extractor_class": Mine}), ("bent", {"activation_fn": Bent}),
                     ("function", {"activation_fn": lambda: torch.nn.Tanh()})):
    model = sb3.PPO("MlpPolicy", "InvertedPendulum-v5", n_steps=8, batch_size=8, policy_kwargs=kwargs)
    model.save(name)
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=120)
    for name, said in (
        (
            "extractor",
            r"the features extractor __main__\.Mine can't be built again; .*EXTRACTORS, in a plugin",
        ),
        ("bent", r"the activation function __main__\.Bent can't .*ACTIVATIONS, in a plugin"),
        ("function", "the activation function a function of its own can't be built again"),
    ):
        with pytest.raises(WarmstartError, match=said):
            load_checkpoint(tmp_path / f"{name}.zip")
    with pytest.MonkeyPatch.context() as patch:  # what the message advises: the class of its name, elsewhere
        patch.setitem(
            EXTRACTORS, "Mine", type("Mine", (FlattenExtractor,), {"__module__": "warmstart_plugin_1"})
        )
        load_checkpoint(tmp_path / "extractor.zip").policy()


@pytest.mark.parametrize("widths", [None, 8, True, float("inf")])
def test_widths_that_are_no_list_are_refused(widths: Any) -> None:
    with pytest.raises(WarmstartError, match=r"net_arch \[4, \{'pi': .*\}\] is none that SB3 builds"):
        _without_shared_layers({"net_arch": [4, {"pi": widths, "vf": [4]}]}, {})


def test_a_deviation_of_nothing_is_refused(tmp_path: Path) -> None:
    model = sb3.PPO("MlpPolicy", "Pendulum-v1", device="cpu", policy_kwargs={"net_arch": [4]})
    with torch.no_grad():
        model.policy.log_std.fill_(-1e38)
    model.save(tmp_path / "ppo.zip")
    with pytest.raises(WarmstartError, match=r"ppo\.zip: .*log_std is from -1e\+38 to -1e\+38"):
        load_checkpoint(tmp_path / "ppo.zip").policy()


def test_numbers_that_overflow_are_told_where_the_policy_acts(tmp_path: Path) -> None:
    model = sb3.PPO("MlpPolicy", "Pendulum-v1", device="cpu", policy_kwargs={"net_arch": []})
    with torch.no_grad():
        model.policy.action_net.weight.fill_(3e38)
    model.save(tmp_path / "ppo.zip")
    policy = load_checkpoint(tmp_path / "ppo.zip").policy()
    with pytest.raises(WarmstartError, match="The policy gives no action, its numbers aren't sound"):
        policy.predict(np.array([3e38, -3e38, 1.0], np.float32))
