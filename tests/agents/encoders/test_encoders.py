"""Encoders: their text, their one file, and that nothing but the frame decides its features."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray

from warmstart.agents.encoders.backbones import BACKBONES, Backbone
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import Encoder, assemble, load_encoder, make_encoder
from warmstart.agents.encoders.preprocessing import IMAGENET_MEAN, UNIT, Preprocessing
from warmstart.agents.encoders.readouts import READOUTS
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read, to_plain

SIZE = (36, 40)
TEXTS = [
    "drq",
    "squeezenet1_1:weights=imagenet",
    "squeezenet1_1:weights=torchvision:squeezenet1_1/IMAGENET1K_V1,features=128,download=true",
    'resnet18:weights="/a b/c,d.pth",tap=layer3,readout=average',
    "timm/resnet50:weights=hf:timm/resnet50.a1_in1k,frames=3,difference=2.5,fit_frames=100,seed=7",
    "nature_cnn:precision=float32,order=bgr,scale=255,mean=[104,117,123],std=[1,2,0.5],input_size=64,crop=0",
    "/somewhere/my encoder.safetensors",
    "enc.safetensors:precision=bfloat16",
    '"C:tap=1.safetensors"',
]


def blobs(n: int, seed: int = 0, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Two soft discs that move on a steady background."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    background = rng.integers(0, 60, (*size, 3)) + 40
    out = np.empty((n, *size, 3), dtype=np.uint8)
    for frame in out:
        image = background.astype(np.float32)
        for colour in ((150, 20, 90), (10, 120, 60)):
            row, column = rng.uniform(0, size[0]), rng.uniform(0, size[1])
            image += np.exp(-((y - row) ** 2 + (x - column) ** 2) / 30)[..., None] * np.array(colour)
        frame[...] = np.clip(image, 0, 255)
    return out


FRAMES = torch.from_numpy(blobs(40))


def encoder_of(text: str = "drq:features=8", frames: torch.Tensor = FRAMES) -> Encoder:
    encoder = make_encoder(EncoderConfig.parse(text), tuple(frames.shape[1:]))
    encoder.fit(frames)
    return encoder


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_and_written_unchanged(text: str) -> None:
    config = EncoderConfig.parse(text)
    assert str(config) == text
    assert EncoderConfig.parse(f"  {text} ") == config
    assert read(EncoderConfig, json.loads(json.dumps(to_plain(config)))) == config


def test_one_encoder_has_one_text() -> None:
    config = EncoderConfig.parse(" squeezenet1_1 : difference = 5.0 , tap=features.4, seed=0,readout=pca ")
    assert str(config) == "squeezenet1_1"
    assert config == EncoderConfig("squeezenet1_1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("squeezenet:seed=1", "Unknown architecture 'squeezenet'.*Did you mean 'squeezenet1_1'"),
        ("drq:readot=pca", "Unknown option of an encoder 'readot'.*'readout'"),
        ("drq:readout=pcs", "Unknown readout 'pcs'.*'pca'"),
        ("resnet18:tap=layer9", "Unknown tap of resnet18 'layer9'"),
        (
            "drq:precision=float16",
            "precision: expected one of 'auto', 'float32', 'bfloat16', found 'float16'",
        ),
        ("drq:order=gbr", "order: expected one of '', 'rgb', 'bgr', found 'gbr'"),
        ("drq:features=0", "features: expected a number from 1 to 65536, found 0"),
        ("drq:features=1.5", "features: expected a whole number, found 1.5"),
        ("drq:features", "expected '=' after the option 'features', found the end"),
        ("drq:seed=1,seed=2", "each option once"),
        ("drq:seed=1;frames=2", "expected ',' or the end, found ';frames=2'"),
        ("drq seed=1", "expected ':' or the end"),
        ("drq:", "an option's name"),
        ("", "an architecture such as squeezenet1_1"),
        ("drq:scale=2", "scale=255 or scale=1"),
        ("drq:mean=[1,2]", "mean: expected a list of 3 values"),
        ("drq:download=1", "true or false"),
        ("drq:frames=0", "frames: expected a number at least 1"),
        ("x.safetensors:features=3", "decides its features: leave the option out"),
    ],
)
def test_mistakes_in_a_text_are_explained(text: str, words: str) -> None:
    with pytest.raises(WarmstartError, match=words):
        EncoderConfig.parse(text)


def test_an_architecture_or_a_file() -> None:
    with pytest.raises(WarmstartError, match="found neither"):
        EncoderConfig()
    with pytest.raises(WarmstartError, match="found both"):
        EncoderConfig("drq", file="x.safetensors")


def test_a_path_that_exists_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("encoder").touch()
    Path("drq").touch()
    assert EncoderConfig.parse("encoder").file == "encoder"
    assert EncoderConfig.parse("drq").architecture == "drq"
    assert EncoderConfig.parse(str(EncoderConfig.parse("encoder"))).file == "encoder"


def test_options_go_before_the_usual_preprocessing() -> None:
    frame_shape = (64, 80)
    text = "squeezenet1_1:order=bgr,scale=255,std=2,input_size=48,crop=40"
    encoder = make_encoder(EncoderConfig.parse(text), frame_shape)
    assert encoder.preprocessing == Preprocessing(48, 40, "bgr", 1, IMAGENET_MEAN, (2, 2, 2))
    given = Preprocessing(32, 24)
    kept = make_encoder(EncoderConfig("drq", input_size=0, crop=0), frame_shape, preprocessing=given)
    assert kept.preprocessing == UNIT
    assert make_encoder(EncoderConfig("drq"), frame_shape, preprocessing=given).preprocessing == given


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("architecture", BACKBONES)
def test_every_pair_encodes_and_is_saved(architecture: str, readout: str, tmp_path: Path) -> None:
    encoder = encoder_of(f"{architecture}:readout={readout},features=5")
    out = encoder(FRAMES[:4])
    assert out.shape == (4, encoder.n_features)
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    again = load_encoder(encoder.save(tmp_path / "new" / "encoder.safetensors"))
    assert torch.equal(again(FRAMES[:4]), out)
    assert again.hash == encoder.hash
    assert again.config == encoder.config
    assert again.provenance == encoder.provenance == {"source": "random"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["encoder.safetensors"]


def test_the_hash_is_of_what_decides_the_features() -> None:
    encoder = encoder_of()
    assert len(encoder.hash) == 64
    assert encoder_of().hash == encoder.hash
    assert encoder_of("drq:features=8,precision=float32").hash == encoder.hash
    named = replace(encoder.config, weights="/elsewhere/x.pth", download=True)
    weights = encoder.backbone.network.state_dict()
    same = make_encoder(named, SIZE, weights, provenance={"source": "elsewhere"})
    same.fit(FRAMES)
    assert same.hash == encoder.hash
    others = [
        encoder_of("drq:features=7"),
        encoder_of("drq:features=8,seed=1"),
        encoder_of("drq:features=8,frames=3"),
        encoder_of("drq:features=8,difference=1"),
        encoder_of("drq:features=8,mean=0.25"),
        encoder_of("drq:features=8,tap=convnet.5"),
        encoder_of(frames=FRAMES[1:]),
        make_encoder(encoder.config, SIZE),
    ]
    assert len({encoder.hash, *(other.hash for other in others)}) == len(others) + 1


def test_a_known_hash_stays() -> None:
    """Were it to change, saved policies would no longer recognise their encoders."""
    weights = {
        name: torch.arange(value.numel(), dtype=torch.float32).view(value.shape) / value.numel()
        for name, value in make_encoder(EncoderConfig("drq"), SIZE).backbone.network.state_dict().items()
    }
    encoder = make_encoder(EncoderConfig("drq", weights="x", readout="flatten"), SIZE, weights)
    assert encoder.hash[:16] == "2bff08d7a2b4e531"


def test_an_encoder_never_trains() -> None:
    encoder = encoder_of("resnet18:features=4").train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    out = encoder(FRAMES[:2])
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not out.requires_grad
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_frames_of_another_size_are_refused() -> None:
    with pytest.raises(WarmstartError, match=r"shape \(n, 36, 40, 3\), found \(2, 40, 36, 3\).*input_size"):
        encoder_of()(torch.zeros(2, 40, 36, 3, dtype=torch.uint8))
    resized = encoder_of("drq:features=4,input_size=32")
    assert resized(torch.zeros(2, 50, 60, 3, dtype=torch.uint8)).shape == (2, 4)


def test_frames_too_small_for_the_network_are_refused() -> None:
    with pytest.raises(WarmstartError, match="drq can't take images of 8 x 8 pixels; input_size resizes"):
        make_encoder(EncoderConfig("drq"), (8, 8))


def test_weights_are_given_or_named() -> None:
    config = EncoderConfig("drq", weights="x.pth")
    with pytest.raises(WarmstartError, match=r"drq:weights=x\.pth needs its weights: .*pretrained_encoder"):
        make_encoder(config, SIZE)
    weights = dict(make_encoder(EncoderConfig("drq", seed=5), SIZE).backbone.network.state_dict())
    encoder = make_encoder(config, SIZE, {**weights, "further": torch.zeros(1)})
    assert torch.equal(encoder.backbone.network.state_dict()["convnet.2.bias"], weights["convnet.2.bias"])
    with pytest.raises(
        WarmstartError, match=r"tensor 'convnet.2.bias' of drq with shape \(32,\), found \(3,\)"
    ):
        make_encoder(config, SIZE, {**weights, "convnet.2.bias": torch.zeros(3)})
    del weights["convnet.2.bias"]
    with pytest.raises(WarmstartError, match=r"lack 1 of 8 tensors of drq up to convnet.7.*'convnet.2.bias'"):
        make_encoder(config, SIZE, weights)


def test_fitting_needs_frames() -> None:
    encoder = make_encoder(EncoderConfig("drq"), SIZE)
    with pytest.raises(WarmstartError, match="found none"):
        encoder.fit(FRAMES[:0])
    with pytest.raises(WarmstartError, match="at least 65 frames to fit 64 principal components, found 40"):
        encoder.fit(FRAMES)
    with pytest.raises(WarmstartError, match="was not fitted"):
        encoder(FRAMES[:1])


def test_samples_of_the_fit_are_kept() -> None:
    encoder = encoder_of()
    assert encoder.samples.shape == (32, *SIZE, 3)
    assert torch.equal(encoder.samples[0], FRAMES[0])
    assert torch.equal(encoder.samples[-1], FRAMES[-1])


def test_a_saved_encoder_is_made_from_its_path(tmp_path: Path) -> None:
    encoder = encoder_of()
    path = encoder.save(tmp_path / "e.safetensors")
    again = make_encoder(EncoderConfig.parse(f"{path}:precision=float32"), SIZE)
    assert again.hash == encoder.hash
    assert again.config == replace(encoder.config, precision="float32")
    with pytest.raises(WarmstartError, match=r"shape \(n, 36, 40, 3\), found \(1, 84, 84, 3\)"):
        make_encoder(EncoderConfig.parse(str(path)), (84, 84, 3))


def test_files_that_are_no_encoders(tmp_path: Path) -> None:
    with pytest.raises(WarmstartError, match="There is no encoder at"):
        load_encoder(tmp_path / "none.safetensors")
    weights = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, weights)
    with pytest.raises(WarmstartError, match=r"no encoder that warmstart saved.*ARCHITECTURE:weights="):
        load_encoder(weights)
    path = encoder_of().save(tmp_path / "e.safetensors")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WarmstartError, match="is truncated or not a safetensors file"):
        load_encoder(path)
    path.write_bytes(b"anything")
    with pytest.raises(WarmstartError, match="is truncated or not a safetensors file"):
        load_encoder(path)


def edited(path: Path, **changes: Any) -> Path:
    """Replace parts of an encoder's metadata."""
    with safetensors.safe_open(path, "pt") as file:
        values = json.loads(file.metadata()["warmstart_encoder"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    safetensors.torch.save_file(tensors, path, {"warmstart_encoder": json.dumps({**values, **changes})})
    return path


def test_edited_files_are_refused(tmp_path: Path) -> None:
    path = encoder_of().save(tmp_path / "e.safetensors")
    with pytest.raises(WarmstartError, match="has the format 9, expected 1; update warmstart"):
        load_encoder(edited(path, format=9))
    with pytest.raises(WarmstartError, match="don't fit its encoder"):
        load_encoder(edited(path, format=1, backbone={"name": "drq", "tap": "convnet.5"}))
    with pytest.raises(WarmstartError, match="Unknown architecture 'mine'"):
        load_encoder(edited(path, backbone={"name": "mine", "tap": ""}))


def test_a_file_is_written_entirely_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encoder_of().save(tmp_path / "e.safetensors")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WarmstartError, match="could not be written: disk full"):
        encoder_of("drq:features=3").save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["e.safetensors"]


def test_a_network_of_ones_own_is_assembled() -> None:
    network = torch.nn.Conv2d(3, 4, 3)
    config = EncoderConfig("drq", readout="average")
    encoder = assemble(config, UNIT, Backbone("own", "", network), SIZE, {})
    encoder.fit(FRAMES)
    assert encoder(FRAMES[:2]).shape == (2, 4)
