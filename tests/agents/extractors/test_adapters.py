"""Low-rank adapters: exact at the start, and nothing else of the backbone ever moves."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from tests.agents.pixel_task import OURS, agent, backbone_of, moved, pixel_env, tensors, tiny_backbone
from warmstart.agents.algorithms.trainability import Rule, Trainability
from warmstart.agents.encoders.backbones import build_backbone
from warmstart.agents.extractors.adapters import AdaptedConv2d, adapt
from warmstart.core.errors import WarmstartError


@pytest.fixture(autouse=True)
def tiny() -> Iterator[None]:
    with tiny_backbone():
        yield


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "bias": False}])
def test_it_is_exact_at_the_start_and_then_the_sum(options: Any) -> None:
    convolution = nn.Conv2d(4, 6, (3, 2), **options)
    adapted, x = AdaptedConv2d(convolution, 2), torch.rand(3, 4, 9, 8)
    assert torch.equal(adapted(x), convolution(x))
    with torch.no_grad():
        adapted.up.normal_()
    geometry = {name: value for name, value in options.items() if name != "bias"}
    low = nn.functional.conv2d(nn.functional.conv2d(x, adapted.down, **geometry), adapted.up)
    assert torch.allclose(adapted(x), convolution(x) + low, atol=1e-5)
    adapted.reset()
    assert torch.equal(adapted(x), convolution(x))


def test_only_the_adapter_has_parameters_and_the_old_names_stay() -> None:
    network = build_backbone("tiny").network
    before = network.state_dict()
    adapt(network, 2)
    assert {name for name, _ in network.named_parameters()} == {
        f"features.{index}.{part}" for index in (0, 4) for part in ("down", "up")
    }
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    network.requires_grad_(True)
    assert not network.features[0].weight.requires_grad  # type: ignore[index, union-attr]


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_only_adapters_move_also_after_saving(algorithm: str, plain: bool, tmp_path: Any) -> None:
    """`requires_grad=False` would not survive SB3's save and load (trap 7), nor a rule by which all train."""
    model = agent(algorithm, plain=plain, extractor={"adapter_rank": 2})
    model.learn(24)
    before = tensors(model)
    model.save(tmp_path / "model.zip")
    again = type(model).load(tmp_path / "model.zip", env=pixel_env(), device="cpu")
    if type(model) in OURS.values():
        again.set_trainability(Trainability((Rule("*", 1.0),)))
        again.set_trainability(None)
    again.learn(24)
    changed = {name for name in moved(again, before) if ".backbone." in name}
    assert changed
    assert all(name.endswith((".up", ".down")) for name in changed)
    assert any(name.endswith(".down") for name in changed)
    assert all(parameter.requires_grad for parameter in backbone_of(again).parameters())


def test_warming_loads_under_the_adapters_and_starts_them_anew() -> None:
    model = agent("ppo", extractor={"adapter_rank": 2})
    model.learn(16)
    weights = {name: value + 1 for name, value in build_backbone("tiny").network.state_dict().items()}
    extractor = model.policy.features_extractor
    extractor.warm(weights)
    assert torch.equal(extractor.backbone.network.features[4].weight, weights["features.4.weight"])
    assert not extractor.backbone.network.features[4].up.any()


def test_what_cannot_be_adapted_is_said() -> None:
    with pytest.raises(WarmstartError, match="at least 1, found 0"):
        AdaptedConv2d(nn.Conv2d(3, 4, 3), 0)
    with pytest.raises(WarmstartError, match="padded with zeros"):
        AdaptedConv2d(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), 1)
    with pytest.raises(WarmstartError, match="no plain convolution"):
        adapt(nn.Sequential(nn.Linear(3, 4)), 1)
