"""Checkpoints that are damaged, or made to do harm, end in a message."""

import json
import shutil
import struct

import numpy as np
import pytest
import safetensors.torch
import torch

from tests.hostile import FILES, ends_in_a_message, json_variants, write_json
from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.checkpoint import METADATA, TENSORS, save_checkpoint
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.settings.config import PPOConfig, SACConfig
from warmstart.core.errors import WarmstartError
from warmstart.core.files import file_hash

TASK = "InvertedPendulum-v5"


@pytest.fixture(scope="module", params=["ppo", "sac"])
def sound(request, tmp_path_factory):
    """A sound checkpoint; its tensors are small."""
    kind, size = (PPOConfig, 32) if request.param == "ppo" else (SACConfig, 256)
    config = kind(n_envs=1, net_arch=(4, 4), batch_size=size)
    env = make_training_env(config, TASK, 0)
    path = save_checkpoint(build_agent(config, env, 0), tmp_path_factory.mktemp("sound") / "checkpoint")
    env.close()
    return path


@pytest.fixture
def checkpoint(sound, tmp_path):
    shutil.copytree(sound, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def seal(directory):
    """Write the hashes anew, as a stranger would."""
    from warmstart.core.files import json_hash

    values = json.loads((directory / METADATA).read_text())
    values["tensors_sha256"] = file_hash(directory / TENSORS)
    values["sha256"] = json_hash({key: value for key, value in values.items() if key != "sha256"})
    write_json(directory / METADATA, values)


def act(path):
    """Load a policy and act once."""
    checkpoint = load_checkpoint(path)
    actions = checkpoint.policy().predict(np.zeros((1, *checkpoint.observation_space.shape), np.float32))
    assert np.isfinite(actions).all()


def test_the_sound_one_acts(checkpoint):
    seal(checkpoint)
    act(checkpoint)


@pytest.mark.parametrize("name", [METADATA, TENSORS])
@pytest.mark.parametrize("kind", FILES)
def test_damaged_files(kind, name, checkpoint):
    FILES[kind](checkpoint / name)
    assert ends_in_a_message(lambda: act(checkpoint), name, kind)


@pytest.mark.parametrize("name", [METADATA, TENSORS])
def test_links_out_of_the_folder(name, checkpoint, tmp_path):
    (checkpoint / name).rename(tmp_path / name)
    (checkpoint / name).symlink_to(tmp_path / name)
    with pytest.raises(WarmstartError, match=f"{name} is a link out of .*checkpoint: expected a file inside"):
        load_checkpoint(checkpoint)


def test_folder_that_is_a_link_is_read(checkpoint, tmp_path):
    (tmp_path / "link").symlink_to(checkpoint)
    act(tmp_path / "link")


def test_odd_metadata(checkpoint):
    values = json.loads((checkpoint / METADATA).read_text())
    refused = tried = 0
    for what, changed in json_variants(values):
        if what.startswith(("sha256", "tensors_sha256")):
            continue
        text = json.dumps(changed)
        (checkpoint / METADATA).write_text(text)
        if "NaN" not in text:
            seal(checkpoint)
        tried += 1
        refused += ends_in_a_message(lambda: act(checkpoint), str(checkpoint), what)
    assert tried > 300
    assert refused > 0.8 * tried  # most stand for nothing sound; hyperparameters and versions may be odd


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ({"k": 3}, "reward: expected the name of a reward under 'name', found {'k': 3}"),
        (["a"], "reward: expected a mapping"),
    ],
)
def test_a_reward_without_a_name(checkpoint, reward, said):
    values = json.loads((checkpoint / METADATA).read_text())
    write_json(checkpoint / METADATA, {**values, "reward": reward})
    seal(checkpoint)
    with pytest.raises(WarmstartError, match=said):
        load_checkpoint(checkpoint)


def test_one_from_before_rewards_were_recorded(checkpoint):
    values = json.loads((checkpoint / METADATA).read_text())
    assert values.pop("reward") is None
    write_json(checkpoint / METADATA, values)
    seal(checkpoint)
    assert load_checkpoint(checkpoint).reward is None


def header_of(content):
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def with_header(header, body):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def lie(field, value):
    def change(content):
        header, body = header_of(content)
        header[next(key for key in header if key != "__metadata__")][field] = value
        return with_header(header, body)

    return change


TENSOR_FILES = {
    "header cut": lambda content: content[:20],
    "header longer than the file": lambda content: struct.pack("<Q", 1 << 40) + content[8:],
    "no header": lambda content: struct.pack("<Q", 0) + content[8:],
    "header is a list": lambda content: struct.pack("<Q", 2) + b"[]" + content[8:],
    "lies about a shape": lie("shape", [1 << 40, 1 << 40]),
    "negative shape": lie("shape", [-1, 4]),
    "lies about offsets": lie("data_offsets", [0, 1 << 50]),
    "offsets reversed": lie("data_offsets", [8, 0]),
    "unknown type": lie("dtype", "Q128"),
    "text for a shape": lie("shape", "4"),
    "trailing bytes": lambda content: content + b"\0" * 100,
    "body cut": lambda content: content[:-7],
    "no tensors": lambda content: with_header({}, b""),
}


@pytest.mark.parametrize("kind", TENSOR_FILES)
def test_lying_headers(kind, checkpoint):
    (checkpoint / TENSORS).write_bytes(TENSOR_FILES[kind]((checkpoint / TENSORS).read_bytes()))
    seal(checkpoint)
    assert ends_in_a_message(lambda: act(checkpoint), "policy.safetensors|The tensors|policy_kwargs", kind)


CHANGED = {
    "NaN": (lambda t: torch.full_like(t, torch.nan), "holds NaN or infinities"),
    "infinite": (lambda t: torch.full_like(t, torch.inf), "holds NaN or infinities"),
    "whole numbers": (lambda t: t.to(torch.int64), "holds int64; expected real floating-point numbers"),
    "truth values": (lambda t: t.bool(), "holds bool; expected real floating-point numbers"),
    "another shape": (lambda t: t.reshape(-1)[:2].clone(), r"has the shape \(2,\), expected|larger network"),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_tensors_of_no_use(kind, checkpoint):
    change, message = CHANGED[kind]
    tensors = safetensors.torch.load_file(checkpoint / TENSORS)
    name = next(name for name in tensors if name.endswith(".weight"))
    safetensors.torch.save_file(tensors | {name: change(tensors[name])}, checkpoint / TENSORS)
    seal(checkpoint)
    with pytest.raises(WarmstartError, match=message):
        act(checkpoint)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("net_arch", [1 << 20, 1 << 20]),
        ("net_arch", {"pi": [1 << 20] * 2, "vf": [4], "qf": [4]}),
        ("net_arch", [4] * 1_000_000),
        ("n_critics", 1 << 30),
        ("features_extractor_kwargs", {"features_dim": 1 << 40}),
    ],
)
def test_architectures_that_would_fill_the_memory(key, value, checkpoint):
    values = json.loads((checkpoint / METADATA).read_text())
    values["policy_kwargs"][key] = value
    write_json(checkpoint / METADATA, values)
    seal(checkpoint)
    with pytest.raises(WarmstartError, match=r"a larger network than its .* tensors"):
        act(checkpoint)


def test_space_that_would_fill_the_memory(checkpoint):
    values = json.loads((checkpoint / METADATA).read_text())
    values["observation_space"]["shape"] = [1 << 20, 1 << 20]
    write_json(checkpoint / METADATA, values)
    seal(checkpoint)
    with pytest.raises(WarmstartError, match=r"observation_space: its Box space .* \[1048576, 1048576\]"):
        load_checkpoint(checkpoint)
