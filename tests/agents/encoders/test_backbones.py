"""Networks up to a tap, and how frames are prepared for them."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from warmstart.agents.encoders.backbones import (
    BACKBONES,
    Backbone,
    BackboneKind,
    Preprocessing,
    as_map,
    backbone_kind,
    build_backbone,
    build_network,
    register_backbone,
)
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read, to_plain

TAPS = [(name, tap) for name, kind in BACKBONES.items() for tap in kind.taps]


def plain(red: int, green: int, blue: int, height: int = 4, width: int = 6) -> torch.Tensor:
    return torch.tensor([red, green, blue], dtype=torch.uint8).expand(2, height, width, 3).clone()


def test_imagenet_preprocessing_is_worked_out_by_hand() -> None:
    x = BACKBONES["resnet18"].preprocessing(plain(255, 0, 51))
    assert x.shape == (2, 3, 4, 6)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(x[0, :, 1, 2], torch.tensor(expected))


def test_caffe_preprocessing_is_worked_out_by_hand() -> None:
    x = Preprocessing(order="bgr", scale=1, mean=(104, 117, 123))(plain(10, 20, 30))
    assert x[1, :, 3, 5].tolist() == [30 - 104, 20 - 117, 10 - 123]


def test_every_pixel_keeps_its_place() -> None:
    frames = torch.arange(2 * 4 * 6 * 3, dtype=torch.uint8).view(2, 4, 6, 3)
    x = Preprocessing(scale=1, mean=(1, 2, 3), std=(2, 4, 8))(frames)
    for n, i, j, c in [(0, 0, 0, 0), (1, 3, 5, 2), (0, 2, 1, 1)]:
        assert x[n, c, i, j] == (frames[n, i, j, c].item() - (1 + c)) / 2 ** (1 + c)


def test_the_centre_is_cropped() -> None:
    frames = torch.arange(36, dtype=torch.uint8).view(1, 6, 6, 1).repeat(1, 1, 1, 3)
    x = Preprocessing(scale=1, crop=2)(frames)
    assert x[0, 0].tolist() == [[14, 15], [20, 21]]


def test_resizing_averages_by_hand() -> None:
    frames = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    frames[:, :, 2:] = 80
    x = Preprocessing(size=2, scale=1)(frames)
    # Antialiased by two: a triangle over the distances 0.5, 0.5, 1.5 of three columns, cut off at the edge.
    weights = np.array([0.75, 0.75, 0.25]) / 1.75
    torch.testing.assert_close(x[0, 0, 0], torch.tensor([80 * weights[2], 80 * (1 - weights[2])]).float())


def test_frames_of_the_right_size_are_not_resized() -> None:
    frames = plain(1, 2, 3, 6, 6)
    assert torch.equal(Preprocessing(size=6)(frames), Preprocessing()(frames))


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (torch.zeros(2, 8, 8, 1, dtype=torch.uint8), "grey frames must be repeated three times"),
        (torch.zeros(2, 8, 8, 4, dtype=torch.uint8), "alpha"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "the three colour channels come last"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"frames\[None\]"),
        (torch.zeros(2, 8, 8, 3), "type uint8, found float32: .* scales them itself, once"),
    ],
)
def test_other_frames_are_refused(frames: torch.Tensor, words: str) -> None:
    with pytest.raises(WarmstartError, match=words):
        Preprocessing()(frames)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"std": (1, 0, 1)}, r"std\[1\]: expected a number from 1e-06"),
        ({"mean": (1, 2)}, "mean: expected a list of 3 values"),
        ({"size": 0}, "size: expected a number from 1 to 4096, found 0"),
        ({"order": "rbg"}, "'rgb'"),
    ],
)
def test_a_preprocessing_is_checked(values: dict[str, Any], words: str) -> None:
    with pytest.raises(WarmstartError, match=words):
        Preprocessing(**values)


def test_a_crop_larger_than_the_frames_is_refused() -> None:
    with pytest.raises(WarmstartError, match=r"centre of 8 x 8 .* have 4 x 6: .*input_size=8"):
        Preprocessing(crop=8)(plain(0, 0, 0))


def test_a_preprocessing_survives_json() -> None:
    one = Preprocessing(8, 4, "bgr", 1, (1, 2, 3), (4, 5, 6))
    assert read(Preprocessing, to_plain(one)) == one


@pytest.mark.parametrize(("name", "tap"), TAPS)
def test_every_network_gives_a_map_at_every_tap(name: str, tap: str) -> None:
    backbone = build_backbone(name, tap, seed=1).eval()
    with torch.no_grad():
        map_ = backbone(backbone_kind(name).preprocessing(plain(9, 99, 200, 64, 64)))
    assert map_.ndim == 4
    assert map_.shape[0] == 2
    assert torch.isfinite(map_).all()
    assert map_.std() > 0


@pytest.mark.parametrize(("name", "tap"), TAPS)
def test_a_tap_s_output_is_that_of_the_full_network(name: str, tap: str) -> None:
    kind = BACKBONES[name]
    full, backbone = build_network(kind, 3).eval(), build_backbone(name, tap, 3).eval()
    x = torch.rand(1, 3, 64, 64)
    found: list[torch.Tensor] = []
    full.get_submodule(tap).register_forward_hook(lambda _, __, out: found.append(out.clone()))
    with torch.no_grad():
        full(x)
        assert torch.equal(backbone(x), found[0])
    assert set(backbone.network.state_dict()) | backbone.beyond == set(full.state_dict())


@pytest.mark.parametrize("name", BACKBONES)
def test_weights_come_from_the_seed_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (build_backbone(name, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_published_names_and_sizes() -> None:
    squeezenet = build_network(BACKBONES["squeezenet1_1"], 0)
    assert sum(p.numel() for p in squeezenet.parameters()) == 1_235_496
    assert {"features.0.weight", "features.12.expand3x3.bias", "classifier.1.weight"} < set(
        squeezenet.state_dict()
    )
    resnet = build_network(BACKBONES["resnet18"], 0)
    assert sum(p.numel() for p in resnet.parameters()) == 11_689_512
    assert len(resnet.state_dict()) == 122
    assert {"bn1.running_var", "layer2.0.downsample.1.weight", "layer4.1.conv2.weight", "fc.bias"} < set(
        resnet.state_dict()
    )
    assert squeezenet(torch.zeros(1, 3, 64, 64)).shape == resnet(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_usual_maps_at_84_pixels() -> None:
    x = torch.zeros(1, 3, 84, 84)
    shapes = {name: tuple(build_backbone(name).eval()(x).shape[1:]) for name in BACKBONES}
    assert shapes["squeezenet1_1"] == (128, 20, 20)
    assert shapes["resnet18"] == (128, 11, 11)
    assert shapes["nature_cnn"] == (64, 7, 7)
    assert shapes["drq"] == (32, 35, 35)


def test_nature_cnn_is_that_of_stable_baselines3() -> None:
    theirs = NatureCNN(spaces.Box(0, 255, (3, 84, 84), np.uint8))
    ours = build_backbone("nature_cnn")
    ours.network.load_state_dict({k: v for k, v in theirs.state_dict().items() if k.startswith("cnn.")})
    x = torch.rand(2, 3, 84, 84)
    assert torch.equal(ours(x).flatten(1), theirs.cnn(x))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(WarmstartError, match=r"Unknown architecture 'squeezenet1_0'.*'squeezenet1_1'"):
        build_backbone("squeezenet1_0")
    with pytest.raises(WarmstartError, match=r"Unknown tap of resnet18 'layer5'.*'layer4'"):
        build_backbone("resnet18", "layer5")


class Tokens(nn.Module):
    """A small network that isn't a chain of its children."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 2)
        self.patches = nn.Conv2d(3, 5, 4, 4)
        self.unused = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)


def test_tokens_become_a_map_without_the_class_token() -> None:
    network = Tokens()
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(Backbone("mine", "", network)(x), network.patches(x))


def test_a_network_runs_as_it_is_up_to_a_tap() -> None:
    network = Tokens()
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(Backbone("mine", "patches", network)(x), network.patches(x))
    assert not network.patches._forward_hooks
    with pytest.raises(WarmstartError, match=r"'unused' isn't used by the network"):
        Backbone("mine", "unused", network)(x)
    with pytest.raises(WarmstartError, match=r"Unknown tap of mine 'patch'.*'patches'"):
        Backbone("mine", "patch", network)


def test_vectors_become_a_map_of_one_place() -> None:
    assert as_map(torch.rand(2, 7), "x").shape == (2, 7, 1, 1)
    with pytest.raises(WarmstartError, match="found tuple"):
        as_map((torch.rand(2, 7),), "x")


def test_an_architecture_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmstart.agents.encoders.backbones.BACKBONES", dict(BACKBONES))
    register_backbone(BackboneKind("tokens", Tokens))
    assert build_backbone("tokens")(torch.rand(1, 3, 8, 8)).shape == (1, 5, 2, 2)
    with pytest.raises(WarmstartError, match="'drq' already"):
        register_backbone(BackboneKind("drq", Tokens))
