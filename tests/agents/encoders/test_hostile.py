"""Encoders and files of weights that are damaged, or made to do harm, end in a message."""

import json

import pytest
import safetensors.torch
import torch

from tests.hostile import FILES, ends_in_a_message, json_variants
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import METADATA, load_encoder, make_encoder
from warmstart.core.errors import WarmstartError
from warmstart.transfer.encoders.weights import load_weights


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    encoder = make_encoder(EncoderConfig.parse("drq:features=4,readout=pca"), (24, 24))
    encoder.fit(torch.randint(0, 255, (8, 24, 24, 3), dtype=torch.uint8, generator=torch.manual_seed(0)))
    return encoder.save(tmp_path_factory.mktemp("sound") / "e.safetensors")


@pytest.fixture
def file(sound, tmp_path):
    (tmp_path / "e.safetensors").write_bytes(sound.read_bytes())
    return tmp_path / "e.safetensors"


def encode(path):
    features = load_encoder(path)(torch.zeros(1, 24, 24, 3, dtype=torch.uint8))
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("read", [encode, load_weights])
@pytest.mark.parametrize("kind", FILES)
def test_damaged_files(kind, read, file):
    FILES[kind](file)
    assert ends_in_a_message(lambda: read(file), "e.safetensors", kind)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize("kind", FILES)
def test_damaged_files_of_torch(kind, suffix, tmp_path):
    path = tmp_path / f"w{suffix}"
    torch.save({"a.weight": torch.zeros(3)}, path)
    assert load_weights(path)["a.weight"].tolist() == [0, 0, 0]
    FILES[kind](path)
    assert ends_in_a_message(lambda: load_weights(path), f"w{suffix}", kind)


def test_odd_descriptions(file):
    encode(file)
    tensors = safetensors.torch.load_file(file)
    with safetensors.safe_open(file, "pt") as opened:
        values = json.loads(opened.metadata()[METADATA])
    tried = refused = 0
    for what, changed in json_variants(values):
        safetensors.torch.save_file(tensors, file, {METADATA: json.dumps(changed)})
        tried += 1
        refused += ends_in_a_message(lambda: encode(file), "e.safetensors", what)
    assert tried > 200
    assert refused > 0.5 * tried  # provenance is anything, most settings may be left out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: torch.full_like(t, torch.nan), "holds NaN or infinities: these weights are of no use"),
        (lambda t: t.to(torch.int32), "holds int32; expected real floating-point numbers"),
        (lambda t: t.to(torch.complex64), "holds complex64; expected real floating-point numbers"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_no_use(change, message, suffix, tmp_path):
    path, tensors = tmp_path / f"w{suffix}", {"a.weight": change(torch.ones(3))}
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        safetensors.torch.save_file(tensors, path)
    with pytest.raises(WarmstartError, match=f"w{suffix}: a.weight {message}"):
        load_weights(path)
