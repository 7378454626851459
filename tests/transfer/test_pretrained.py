"""Pretrained weights: every wrapper and prefix, nothing run, and the wrong network noticed."""

import argparse
import logging
import os
import pickle
import sys
import types
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import safetensors.torch
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from torch import nn

from warmstart.agents.adapters import AdaptedConv2d
from warmstart.agents.backbones import BACKBONES, BackboneKind, build_backbone, build_network
from warmstart.agents.checkpoints import save_checkpoint
from warmstart.agents.encoder_config import EncoderConfig
from warmstart.agents.encoders import load_encoder
from warmstart.agents.files import file_hash
from warmstart.agents.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from warmstart.envs.errors import WarmstartError
from warmstart.transfer import weight_sources
from warmstart.transfer.pretrained import (
    NAMED,
    MissingWeightsError,
    find_weights,
    load_weights,
    match_keys,
    module_encoder,
    pretrained_encoder,
    still,
    without_adapters,
)
from warmstart.transfer.weights import WRAPPERS

SIZE = (40, 40)
FRAMES = torch.randint(0, 255, (12, *SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
DRQ = build_network(BACKBONES["drq"], 5).state_dict()


@pytest.fixture(autouse=True)
def no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WARMSTART_WEIGHTS", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def assert_drq(found: dict[str, torch.Tensor]) -> None:
    expected = {name.removeprefix("convnet."): value for name, value in DRQ.items()}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th", ".bin"])
def test_files_of_torch_are_read(tmp_path: Path, suffix: str) -> None:
    assert_drq(load_weights(save(tmp_path / f"w{suffix}", DRQ)))


def test_safetensors_are_read(tmp_path: Path) -> None:
    safetensors.torch.save_file(DRQ, tmp_path / "w.safetensors")
    assert_drq(load_weights(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_wrapper_is_taken_off(tmp_path: Path, wrapper: str) -> None:
    args = argparse.Namespace(lr=0.1)
    content = {"epoch": 3, "optimizer": {"state": {}}, "args": args, wrapper: DRQ}
    assert_drq(load_weights(save(tmp_path / "w.pth", content)))


def test_wrappers_inside_wrappers_and_averages_first(tmp_path: Path) -> None:
    other = {name: value + 1 for name, value in DRQ.items()}
    content = {"model": {"state_dict": other, "state_dict_ema": DRQ}}
    assert_drq(load_weights(save(tmp_path / "w.pth", content)))


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "backbone.",
        "visual.",
        "encoder.",
        "module.convnet.",
        "_orig_mod.module.encoder.",
    ],
)
def test_every_prefix_is_taken_off(tmp_path: Path, prefix: str) -> None:
    assert_drq(load_weights(save(tmp_path / "w.pth", {prefix + name: value for name, value in DRQ.items()})))


def test_r3m_s_language_model_stays_apart(tmp_path: Path) -> None:
    content = {f"module.{name}": value for name, value in DRQ.items()}
    content |= {f"module.lang_enc.layer.{i}.weight": torch.zeros(1) for i in range(10)}
    found = load_weights(save(tmp_path / "r3m.pt", {"r3m": content, "global_step": 7}))
    assert {"0.weight", "6.bias", "lang_enc.layer.9.weight"} < found.keys()
    table = match_keys(found, build_backbone("drq"))
    assert len(table.matched) == 8
    assert len(table.unexpected) == 10
    assert table.take(found).keys() == DRQ.keys()


def test_a_prefix_of_few_names_stays(tmp_path: Path) -> None:
    content = {
        "encoder.weight": torch.zeros(1),
        "a": torch.zeros(1),
        "b": torch.zeros(1),
        "c": torch.zeros(1),
    }
    assert load_weights(save(tmp_path / "w.pth", content)).keys() == content.keys()


def test_a_masked_autoencoder_s_decoder_is_dropped(tmp_path: Path) -> None:
    content = {"patch_embed.proj.weight": torch.zeros(1), "mask_token": torch.zeros(1)}
    content |= {"decoder_embed.weight": torch.zeros(1), "decoder_blocks.0.bias": torch.zeros(1)}
    found = load_weights(save(tmp_path / "mae.pth", {"model": content}))
    assert found.keys() == {"patch_embed.proj.weight"}


class Bomb:
    """Would make a file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_a_pickle_bomb_is_not_run(tmp_path: Path, protocol: str) -> None:
    marker, path = tmp_path / "exploded", tmp_path / "w.pth"
    content = {"state_dict": DRQ, "bomb": Bomb(marker)}
    if protocol == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(WarmstartError, match=r"Python objects besides tensors.*nothing of it was run"):
        load_weights(path)
    assert not marker.exists()


def test_a_pickled_module_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(
        WarmstartError, match=r"nothing of it was run.*torch\.save\(model\.state_dict\(\), path\)"
    ):
        load_weights(save(tmp_path / "w.pth", nn.Linear(2, 2)))


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    with pytest.raises(WarmstartError, match="There is no file of weights"):
        load_weights(tmp_path / "none.pth")
    with pytest.raises(WarmstartError, match=r"under one of .*state_dict.*; found epoch, loss\."):
        load_weights(save(tmp_path / "a.pth", {"epoch": 1, "loss": 0.5}))
    with pytest.raises(WarmstartError, match=r"found a list\."):
        load_weights(save(tmp_path / "b.pth", [torch.zeros(1)]))
    whole = save(tmp_path / "c.pth", DRQ).read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        (tmp_path / "c.pth").write_bytes(content)
        with pytest.raises(
            WarmstartError, match=r"c\.pth (is truncated|holds Python objects .* or is damaged)"
        ):
            load_weights(tmp_path / "c.pth")
    (tmp_path / "d.safetensors").write_bytes(b"text")
    with pytest.raises(WarmstartError, match="truncated or not a safetensors file"):
        load_weights(tmp_path / "d.safetensors")


def test_a_table_prints_what_fits() -> None:
    tensors = {**DRQ, "convnet.2.weight": torch.zeros(2, 2), "extra": torch.zeros(1)}
    del tensors["convnet.4.bias"]
    table = match_keys(tensors, build_backbone("drq", "convnet.5"))
    assert table.summary == (
        "4 of 6 tensors of drq up to convnet.5 are in the file, 1 missing, 1 of another shape, "
        "2 after the tap, 1 not the network's."
    )
    lines = str(table).splitlines()
    assert "matched      convnet.0.weight" in lines
    assert "missing      convnet.4.bias" in lines
    assert "wrong shape  convnet.2.weight  expected 32x32x3x3, found 2x2" in lines
    assert "unexpected   extra" in lines
    assert lines[-1] == table.summary


def test_names_with_a_known_prefix_of_the_network_s_own() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
            self.head = nn.Conv2d(4, 4, 1)

    kind = BackboneKind("own", Own, ("encoder.1", "head"), "head", ordered=True)
    BACKBONES["own"] = kind
    try:
        backbone = build_backbone("own")
        own = build_network(kind, 1).state_dict()
        for prefix in ("", "module."):
            table = match_keys({prefix + name: value for name, value in own.items()}, backbone)
            assert len(table.matched) == 4
    finally:
        del BACKBONES["own"]


def test_weights_of_a_file(tmp_path: Path) -> None:
    path = save(tmp_path / "w.pth", {"model": {f"module.{name}": value for name, value in DRQ.items()}})
    encoder, table = pretrained_encoder(f"drq:weights={path},features=4", SIZE)
    assert table is not None
    assert table.summary == "8 of 8 tensors of drq up to convnet.7 are in the file."
    assert all(torch.equal(value, DRQ[name]) for name, value in encoder.backbone.network.state_dict().items())
    assert encoder.provenance == {
        "source": "w.pth",
        "file": "w.pth",
        "sha256": file_hash(path),
        "licence": "not known",
    }
    encoder.fit(FRAMES)
    again = load_encoder(encoder.save(tmp_path / "e.safetensors"))
    assert again.provenance == encoder.provenance
    path.unlink()  # a saved encoder needs nothing else
    made, none = pretrained_encoder(str(tmp_path / "e.safetensors"), SIZE)
    assert none is None
    assert made.hash == encoder.hash


def test_random_weights_need_no_file() -> None:
    encoder, table = pretrained_encoder(EncoderConfig("drq", seed=5), SIZE)
    assert table is None
    assert torch.equal(encoder.backbone.network.state_dict()["convnet.0.weight"], DRQ["convnet.0.weight"])
    assert find_weights(EncoderConfig("drq")) is None


def test_a_file_in_the_folder_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "mine.pth", DRQ)
    with pytest.raises(MissingWeightsError, match=r"no weights at mine\.pth.*WARMSTART_WEIGHTS names"):
        pretrained_encoder("drq:weights=mine.pth", SIZE)
    monkeypatch.setenv("WARMSTART_WEIGHTS", str(tmp_path))
    assert find_weights(EncoderConfig("drq", weights="mine.pth")) == path
    assert find_weights(EncoderConfig("drq", weights="mine")) == path
    with pytest.raises(WarmstartError, match=r"Unknown weights 'imagnet'.*Did you mean 'imagenet'"):
        find_weights(EncoderConfig("drq", weights="imagnet"))
    with pytest.raises(MissingWeightsError, match=r"no weights at other\.pth and in"):
        find_weights(EncoderConfig("drq", weights="other.pth"))
    with pytest.raises(MissingWeightsError, match="no encoder at"):
        find_weights(EncoderConfig(file=str(tmp_path / "none.safetensors")))


def test_the_wrong_architecture_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "drq.pth", DRQ)
    with pytest.raises(
        WarmstartError,
        match=r"drq\.pth holds weights of another architecture than resnet18: expected conv1\.weight.*"
        r"found 0\.weight.* 0 of ",
    ):
        pretrained_encoder(f"resnet18:weights={path}", SIZE)
    wider = {name: value.repeat_interleave(2, 0) for name, value in DRQ.items()}
    save(path, wider)
    with pytest.raises(
        WarmstartError, match=r"expected convnet\.0\.weight of shape 32x3x3x3, found 64x3x3x3"
    ):
        pretrained_encoder(f"drq:weights={path}", SIZE)


def test_a_deeper_network_of_the_same_family_is_noticed(tmp_path: Path) -> None:
    resnet18 = build_network(BACKBONES["resnet18"], 0).state_dict()
    resnet34 = {**resnet18, "layer1.2.conv1.weight": torch.zeros(64, 64, 3, 3)}
    path = save(tmp_path / "resnet34.pth", resnet34)
    with pytest.raises(WarmstartError, match=r"another architecture than resnet18: it has layer1\.2\.conv1"):
        pretrained_encoder(f"resnet18:weights={path}", (64, 64))
    save(path, {name: value for name, value in resnet18.items() if "num_batches" not in name})
    pretrained_encoder(f"resnet18:weights={path},readout=average", (64, 64))


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "w.pth", {n: v for n, v in DRQ.items() if n != "convnet.4.bias"})
    with pytest.raises(WarmstartError, match=r"w\.pth lacks convnet\.4\.bias\. 7 of 8 tensors"):
        pretrained_encoder(f"drq:weights={path}", SIZE)


class Seen(gymnasium.Env[Any, Any]):
    """A task of images that asks for nothing."""

    observation_space = spaces.Box(0, 255, (3, 40, 40), np.uint8)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return np.zeros((3, 40, 40), np.uint8), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros((3, 40, 40), np.uint8), 0.0, False, True, {}


@pytest.mark.parametrize("algorithm", [PPO, SAC])
@pytest.mark.parametrize("form", ["zip", "checkpoint"])
def test_the_source_agent_s_extractor(tmp_path: Path, algorithm: Any, form: str) -> None:
    small = {"n_steps": 8, "batch_size": 8} if algorithm is PPO else {"buffer_size": 8}
    model = algorithm("CnnPolicy", Seen(), policy_kwargs={"net_arch": [8]}, device="cpu", seed=1, **small)
    path = tmp_path / "agent"
    if form == "zip":
        model.save(path)
    else:
        save_checkpoint(model, path)
    encoder, table = pretrained_encoder(f"nature_cnn:weights={path},features=4", SIZE)
    policy = model.policy
    extractor = policy.critic.features_extractor if algorithm is SAC else policy.features_extractor
    own = encoder.backbone.network.state_dict()
    assert all(torch.equal(own[f"cnn.{i}.weight"], extractor.cnn[i].weight) for i in (0, 2, 4))
    assert table is not None
    assert len(table.matched) == 6
    assert set(table.unexpected) == {"linear.0.weight", "linear.0.bias"}
    assert len(encoder.provenance["sha256"]) == 64
    encoder.fit(FRAMES)
    pixels = FRAMES.permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(encoder.maps(FRAMES).flatten(1), extractor.cnn(pixels).detach())


def test_an_agent_that_does_not_see(tmp_path: Path) -> None:
    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=8, batch_size=8, device="cpu")
    model.save(tmp_path / "blind.zip")
    with pytest.raises(WarmstartError, match=r"without an image encoder: expected .*features_extractor\.cnn"):
        pretrained_encoder(f"nature_cnn:weights={tmp_path / 'blind.zip'}", SIZE)


def test_a_network_of_stacks_becomes_one_of_single_frames() -> None:
    backbone = build_backbone("drq", seed=3)
    stacked = dict(backbone.network.state_dict())
    weight = torch.rand(32, 9, 3, 3)
    stacked["convnet.0.weight"] = weight
    frame = torch.rand(1, 3, 12, 12)
    with torch.no_grad():
        expected = nn.functional.conv2d(frame.repeat(1, 3, 1, 1), weight, stride=2)
        found = nn.functional.conv2d(frame, still(stacked, backbone)["convnet.0.weight"], stride=2)
    torch.testing.assert_close(found, expected)
    assert torch.equal(still(DRQ, backbone)["convnet.0.weight"], DRQ["convnet.0.weight"])


class Small(nn.Module):
    """A user's own encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 5, 4), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))  # type: ignore[no-any-return]


def test_a_module_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = dict(BACKBONES)
    for place in ("warmstart.agents.backbones.BACKBONES", "warmstart.transfer.pretrained.BACKBONES"):
        monkeypatch.setattr(place, registry)
    torch.manual_seed(0)
    module = Small()
    preprocessing = Preprocessing(mean=IMAGENET_MEAN, std=IMAGENET_STD)
    encoder = module_encoder(module, preprocessing, SIZE, name="small", readout="flatten", frames=3)
    assert encoder.config == EncoderConfig("small", readout="flatten", frames=3)
    expected = module.eval()(preprocessing(FRAMES))
    torch.testing.assert_close(encoder(FRAMES), expected.detach())
    assert all(p.requires_grad for p in module.parameters())
    body = module_encoder(module, preprocessing, SIZE, name="small", tap="body", readout="average")
    assert body.n_features == 6
    again = load_encoder(encoder.save(tmp_path / "e.safetensors"))
    assert torch.equal(again(FRAMES), encoder(FRAMES))
    with pytest.raises(WarmstartError, match="another architecture 'small' already"):
        module_encoder(nn.Conv2d(3, 4, 3), preprocessing, SIZE, name="small")


def fake(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


class Weights(Enum):
    """Stands in for torchvision's ``ResNet18_Weights``."""

    IMAGENET1K_V1 = "https://example.org/models/resnet18-f37072fd.pth"
    DEFAULT = IMAGENET1K_V1

    @property
    def url(self) -> str:
        return self.value

    def transforms(self) -> Any:
        return SimpleNamespace(resize_size=[64], crop_size=[56], mean=IMAGENET_MEAN, std=IMAGENET_STD)


def fake_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_model_weights(name: str) -> Any:
        if name != "resnet18":
            raise ValueError(f"Unknown model {name}")
        return Weights

    def get_model(name: str, weights: Any) -> nn.Module:
        get_model_weights(name)
        return build_network(BACKBONES["resnet18"], 3)

    fake(monkeypatch, "torchvision")
    fake(monkeypatch, "torchvision.models", get_model_weights=get_model_weights, get_model=get_model)


def test_weights_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torchvision(monkeypatch)
    text = "resnet18:readout=average,weights=torchvision:resnet18/IMAGENET1K_V1"
    with pytest.raises(MissingWeightsError, match=r"resnet18-f37072fd\.pth is neither .* add download=true"):
        pretrained_encoder(text, SIZE)
    fetched = []

    def fetch(url: str, path: str, **_: Any) -> None:
        fetched.append(url)
        save(Path(path), build_network(BACKBONES["resnet18"], 9).state_dict())

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    encoder, table = pretrained_encoder(text + ",download=true", SIZE)
    assert fetched == [Weights.DEFAULT.url]
    assert table is not None
    assert not table.missing
    assert encoder.preprocessing == Preprocessing(64, 56, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    assert encoder.provenance["source"] == "torchvision:resnet18/IMAGENET1K_V1"
    assert pretrained_encoder(text, SIZE)[0].hash == encoder.hash  # it is in the cache now
    with pytest.raises(WarmstartError, match="version of torchvision's resnet18 'V7'"):
        pretrained_encoder("resnet18:weights=torchvision:resnet18/V7", SIZE)
    with pytest.raises(WarmstartError, match="torchvision has no model 'resnet17'"):
        pretrained_encoder("resnet18:weights=torchvision:resnet17", SIZE)


def test_architectures_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torchvision(monkeypatch)
    backbone = build_backbone("torchvision/resnet18").eval()
    assert (backbone.tap, backbone.ordered) == ("layer2", True)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(backbone(x), build_backbone("resnet18", seed=3).eval()(x))
    with pytest.raises(WarmstartError, match="torchvision has no model 'other'"):
        build_backbone("torchvision/other")


def test_an_unreachable_address_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(WarmstartError, match=r"r3m_18\.pt could not be fetched: Name or service not known"):
        pretrained_encoder("resnet18:weights=r3m,download=true", SIZE)


class Hub:
    """Stands in for huggingface_hub: a folder, and a remote that may be out of reach."""

    def __init__(self, cached: dict[str, Path], remote: dict[str, Path] | None = None) -> None:
        self.cached, self.remote, self.calls = cached, remote, []  # type: ignore[var-annotated]

    def hf_hub_download(self, repository: str, file: str, local_files_only: bool) -> str:
        self.calls.append((f"{repository}/{file}", local_files_only))
        places = self.cached if local_files_only else {**self.cached, **(self.remote or {})}
        if f"{repository}/{file}" not in places:
            raise FileNotFoundError("the hub can't be reached" if self.remote is None else "404")
        return str(places[f"{repository}/{file}"])


def test_what_is_fetched_has_to_be_what_its_name_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    path = save(tmp_path / "served.pth", DRQ)
    sha256 = file_hash(path)
    url = path.as_uri()
    with pytest.raises(MissingWeightsError, match="add download=true"):
        weight_sources._from_url(url, "drq-0.pth", False)
    right = f"drq-{sha256[:8]}.pth"
    assert weight_sources._from_url(url, right, True, weight_sources._hash_in(right)).is_file()
    wrong = "drq-01234567.pth"
    with pytest.raises(WarmstartError, match="could not be fetched: invalid hash value"):
        weight_sources._from_url(url, wrong, True, weight_sources._hash_in(wrong))
    assert [each.name for each in (tmp_path / "home/hub/checkpoints").iterdir()] == [right]


def test_weights_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "pytorch_model.bin", DRQ)
    hub = Hub({}, {"someone/drq/pytorch_model.bin": path})
    fake(monkeypatch, "huggingface_hub", hf_hub_download=hub.hf_hub_download)
    text = "drq:weights=hf:someone/drq"
    with pytest.raises(MissingWeightsError, match="not in the local cache of the hub: add download=true"):
        pretrained_encoder(text, SIZE)
    assert all(local for _, local in hub.calls)
    encoder, _ = pretrained_encoder(f"{text},download=true", SIZE)
    assert encoder.provenance["source"] == "hf:someone/drq"
    assert hub.calls[-1] == ("someone/drq/pytorch_model.bin", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingWeightsError, match="HF_HUB_OFFLINE is set"):
        pretrained_encoder(f"{text},download=true", SIZE)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub.remote = None
    with pytest.raises(WarmstartError, match="could not be fetched: the hub can't be reached Check the"):
        pretrained_encoder(f"{text},download=true", SIZE)
    hub.cached = {"someone/drq/pytorch_model.bin": path}
    assert pretrained_encoder(f"{text}/pytorch_model.bin", SIZE)[1] is not None
    with pytest.raises(WarmstartError, match="Expected hf:OWNER/REPOSITORY"):
        pretrained_encoder("drq:weights=hf:drq", SIZE)


class Vit(nn.Module):
    """Stands in for a vision transformer of timm."""

    def __init__(self, width: int = 12, num_heads: int = 6) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_embed = nn.Sequential(nn.Conv2d(3, width, 56, 56))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2)
        return self.norm(torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], 1))  # type: ignore[no-any-return]


def fake_timm(monkeypatch: pytest.MonkeyPatch, calls: list[dict[str, Any]]) -> None:
    def create_model(name: str, **options: Any) -> nn.Module:
        calls.append({"name": name, **options})
        if name == "nothing":
            raise RuntimeError("Unknown model (nothing)")
        if name.startswith("vit"):
            return Vit(num_heads=options.get("num_heads", 6))
        if "dynamic_img_size" in options:
            raise TypeError("got an unexpected keyword argument 'dynamic_img_size'")
        return nn.Conv2d(3, 4, 3)

    def get_pretrained_cfg(name: str, allow_unregistered: bool = True) -> Any:
        if name == "nothing":
            raise RuntimeError("no pretrained cfg registered")
        return SimpleNamespace(
            hf_hub_id="timm/",
            input_size=(3, 112, 112),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            license="mit",
        )

    fake(monkeypatch, "timm", create_model=create_model, get_pretrained_cfg=get_pretrained_cfg)


def test_weights_of_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    fake_timm(monkeypatch, calls)
    path = tmp_path / "model.safetensors"
    torch.manual_seed(1)
    safetensors.torch.save_file(Vit().state_dict(), path)
    hub = Hub({"timm/vit_tiny.tag/model.safetensors": path})
    fake(monkeypatch, "huggingface_hub", hf_hub_download=hub.hf_hub_download)
    encoder, table = pretrained_encoder("timm/vit_tiny:weights=timm:vit_tiny.tag,features=8", SIZE)
    assert table is not None
    assert len(table.matched) == 5
    assert encoder.preprocessing == Preprocessing(112, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert encoder.readout.shape == (12, 2, 2)
    assert encoder.provenance["licence"] == "mit"
    assert calls[0] == {
        "name": "vit_tiny",
        "dynamic_img_size": True,
        "pretrained": False,
        "num_classes": 0,
        "global_pool": "",
    }
    assert build_backbone("timm/convolutional")(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 6, 6)
    with pytest.raises(WarmstartError, match="timm has no model 'nothing'"):
        build_backbone("timm/nothing")
    with pytest.raises(WarmstartError, match="timm has no model 'nothing'"):
        pretrained_encoder("timm/vit_tiny:weights=timm:nothing", SIZE)


def test_mvp_s_heads_are_narrower(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_timm(monkeypatch, [])
    assert build_backbone("mvp_vits16").network.num_heads == 12


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("resnet18:weights=torchvision:resnet18", "torchvision"),
        ("timm/resnet50:weights=timm:resnet50", "timm"),
        ("drq:weights=hf:someone/drq", "huggingface_hub"),
        ("timm/vit_small_patch14_dinov2:weights=dinov2", "huggingface_hub"),
        ("timm/resnet50", "timm"),
    ],
)
def test_a_missing_extra_is_named(text: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchvision", "torchvision.models", "timm", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(WarmstartError, match=rf"needs {package}.*pip install 'warmstart\[vision\]'"):
        pretrained_encoder(text, SIZE)


def test_the_table_of_named_weights() -> None:
    assert set(NAMED) == {"imagenet", "dinov2", "clip", "r3m", "vip", "vc1", "mvp"}
    for name, weights in NAMED.items():
        assert weights.name == name
        EncoderConfig.parse(f"{weights.architecture}:weights={name}")
        assert weights.outputs > 0
    assert {name for name, weights in NAMED.items() if not weights.commercial} == {"vip", "vc1", "mvp"}


@pytest.mark.parametrize("name", [name for name in NAMED if name not in ("dinov2", "clip", "vc1")])
def test_named_weights_that_are_not_here(name: str) -> None:
    text = f"{NAMED[name].architecture}:weights={name}"
    with pytest.raises(MissingWeightsError, match=NAMED[name].file.replace(".", r"\.")):
        find_weights(EncoderConfig.parse(text))


def test_named_weights_for_another_network() -> None:
    with pytest.raises(WarmstartError, match="are for resnet18, not for drq: write resnet18:weights=r3m"):
        find_weights(EncoderConfig.parse("drq:weights=r3m"))


def test_a_licence_against_commercial_use_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WARMSTART_WEIGHTS", str(tmp_path))
    fake_timm(monkeypatch, [])
    content = {**Vit().state_dict(), "mask_token": torch.zeros(1), "decoder_pred.bias": torch.zeros(1)}
    save(tmp_path / "vc1_vitb.pth", {"model": content})
    with caplog.at_level(logging.WARNING):
        encoder, table = pretrained_encoder("timm/vit_base_patch16_224:weights=vc1,features=8", SIZE)
    assert "may not be used commercially (licence: CC BY-NC 4.0)" in caplog.text
    assert table is not None
    assert table.unexpected == ()
    assert encoder.preprocessing == NAMED["vc1"].preprocessing


def test_r3m_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WARMSTART_WEIGHTS", str(tmp_path))
    resnet = build_network(BACKBONES["resnet18"], 2).state_dict()
    content = {f"module.convnet.{n}": v for n, v in resnet.items() if not n.startswith("fc.")}
    content |= {f"module.lang_enc.{i}.weight": torch.zeros(1) for i in range(100)}
    save(tmp_path / "r3m_18.pt", {"r3m": content})
    with caplog.at_level(logging.WARNING):
        encoder, table = pretrained_encoder("resnet18:weights=r3m,readout=average", SIZE)
    assert caplog.text == ""
    assert table is not None
    assert (len(table.missing), len(table.unexpected)) == (0, 100)
    assert encoder.provenance["licence"] == "MIT"
    assert torch.equal(
        encoder.backbone.network.state_dict()["layer2.1.bn2.weight"], resnet["layer2.1.bn2.weight"]
    )


REAL = os.environ.get("WARMSTART_WEIGHTS", "")


def test_real_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not (Path(REAL) / "squeezenet1_1.safetensors").is_file() or not REAL:
        pytest.skip("WARMSTART_WEIGHTS names no folder with squeezenet1_1.safetensors")
    monkeypatch.setenv("WARMSTART_WEIGHTS", REAL)
    encoder, table = pretrained_encoder("squeezenet1_1:weights=imagenet,readout=average", (64, 64))
    assert table is not None
    assert len(table.matched) == 14
    assert len(table.beyond) == 38
    assert encoder.preprocessing == Preprocessing(order="bgr", scale=1, mean=(104, 117, 123))
    assert encoder.provenance["sha256"] == NAMED["imagenet"].sha256
    copied = tmp_path / "weights.safetensors"
    copied.write_bytes((Path(REAL) / "squeezenet1_1.safetensors").read_bytes())
    by_content, _ = pretrained_encoder(f"squeezenet1_1:weights={copied},readout=average", (64, 64))
    assert by_content.hash == encoder.hash
    elsewhere, _ = pretrained_encoder("squeezenet1_1:weights=imagenet,readout=average", (64, 64), path=copied)
    assert elsewhere.hash == encoder.hash


def test_adapters_are_added_to_the_convolutions_that_they_stand_beside() -> None:
    torch.manual_seed(0)
    adapted = AdaptedConv2d(nn.Conv2d(3, 4, 3, stride=2, bias=False), 2)
    nn.init.normal_(adapted.up)
    tensors = {f"network.0.{name}": value.detach() for name, value in adapted.state_dict().items()}
    plain = without_adapters(tensors)
    assert set(plain) == {"network.0.weight"}
    images = torch.rand(2, 3, 9, 9)
    own = nn.functional.conv2d(images, plain["network.0.weight"], stride=2)
    torch.testing.assert_close(own, adapted(images), rtol=1e-4, atol=1e-5)
