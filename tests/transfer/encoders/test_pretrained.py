"""Pretrained weights: what of them fits a network is told, and the wrong network noticed."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from torch import nn

from tests.transfer.weights import DRQ, FRAMES, SIZE, save
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.encoders.backbones import BACKBONES, BackboneKind, build_backbone, build_network
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import load_encoder
from warmstart.agents.encoders.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from warmstart.core.errors import WarmstartError
from warmstart.core.files import file_hash
from warmstart.transfer.encoders.pretrained import for_single_frames, module_encoder, pretrained_encoder
from warmstart.transfer.encoders.sources import MissingWeightsError, find_weights
from warmstart.transfer.encoders.weights import match_keys

pytestmark = pytest.mark.usefixtures("no_folder")


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
        found = nn.functional.conv2d(
            frame, for_single_frames(stacked, backbone)["convnet.0.weight"], stride=2
        )
    torch.testing.assert_close(found, expected)
    assert torch.equal(for_single_frames(DRQ, backbone)["convnet.0.weight"], DRQ["convnet.0.weight"])


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
    for place in (
        "warmstart.agents.encoders.backbones.BACKBONES",
        "warmstart.transfer.encoders.pretrained.BACKBONES",
    ):
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
