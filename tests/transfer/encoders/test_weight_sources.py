"""Weights by name: of torchvision, a hub, timm and a folder, and what is said where they are missing."""

import logging
import os
import sys
import types
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from tests.transfer.weights import DRQ, SIZE, save
from warmstart.agents.encoders.backbones import BACKBONES, build_backbone, build_network
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from warmstart.agents.extractors.adapters import AdaptedConv2d
from warmstart.core.errors import WarmstartError
from warmstart.core.files import file_hash
from warmstart.transfer.encoders import sources as weight_sources
from warmstart.transfer.encoders.pretrained import pretrained_encoder, without_adapters
from warmstart.transfer.encoders.sources import NAMED, MissingWeightsError, find_weights

pytestmark = pytest.mark.usefixtures("no_folder")


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
    assert weight_sources._from_url(url, right, True).is_file()
    wrong = "drq-01234567.pth"
    with pytest.raises(WarmstartError, match="could not be fetched: invalid hash value"):
        weight_sources._from_url(url, wrong, True)
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
