"""The fast path: equal to the encoder, whatever the batch, the threads and the memory."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from warmstart.agents.encoders import fast_encoding
from warmstart.agents.encoders.backbones import BACKBONES, Backbone
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import Encoder, assemble, load_encoder, make_encoder
from warmstart.agents.encoders.fast_encoding import (
    TOLERANCE,
    FastEncoder,
    feature_error,
    live_positions,
    native_bfloat16,
)
from warmstart.agents.encoders.packed import PositiveMaxPool
from warmstart.agents.encoders.preprocessing import Preprocessing
from warmstart.agents.encoders.readouts import READOUTS, LinearReadout
from warmstart.core.errors import WarmstartError

SIZE = (48, 52)
needs_bfloat16 = pytest.mark.skipif(not native_bfloat16(), reason="the processor has no bfloat16 arithmetic")


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


FRAMES = blobs(80)


def encoder_of(text: str = "drq:features=8", frames: NDArray[np.uint8] = FRAMES) -> Encoder:
    encoder = make_encoder(EncoderConfig.parse(text), frames.shape[1:])
    encoder.fit(torch.from_numpy(frames))
    return encoder


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("architecture", BACKBONES)
def test_float32_is_exact_but_for_rounding(architecture: str, readout: str) -> None:
    encoder = encoder_of(f"{architecture}:readout={readout},features=5,order=bgr", FRAMES[:24])
    assert feature_error(encoder, FRAMES[30:43], "float32") < 1e-4


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("text", ["squeezenet1_1:features=8", "drq:readout=average"])
def test_a_frame_s_features_do_not_depend_on_its_batch(text: str, precision: str) -> None:
    encode = FastEncoder(encoder_of(text, FRAMES[:24]), precision)  # type: ignore[arg-type]
    frames = FRAMES[:21]
    whole = encode(frames)
    assert whole.shape == (21, encode.n_features)
    assert whole.dtype == np.float32
    assert np.array_equal(encode(frames[:1]), whole[:1])
    assert np.array_equal(encode(frames[5:19]), whole[5:19])
    assert np.array_equal(encode(frames[::-1]), whole[::-1])
    assert np.array_equal(encode(np.concatenate([frames] * 8)), np.concatenate([whole] * 8))
    assert encode(frames[:0]).shape == (0, encode.n_features)


@pytest.mark.parametrize("text", ["squeezenet1_1:features=8", "nature_cnn:readout=spatial_softmax"])
def test_features_do_not_depend_on_threads(text: str) -> None:
    encoder = encoder_of(text, FRAMES[:24])
    one = FastEncoder(encoder, n_threads=1)(FRAMES[:43])
    assert np.array_equal(FastEncoder(encoder, n_threads=3)(FRAMES[:43]), one)
    torch.set_num_threads(2)
    for n_threads in (1, 2):
        assert np.array_equal(FastEncoder(encoder, n_threads=n_threads)(FRAMES[:43]), one)
        assert torch.get_num_threads() == 2


def test_memory_of_the_frames_does_not_matter() -> None:
    encode = FastEncoder(encoder_of())
    expected = encode(FRAMES[:8])
    fixed = FRAMES[:8].copy()
    fixed.flags.writeable = False
    turned = np.ascontiguousarray(FRAMES[:8].transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    assert np.array_equal(encode(fixed), expected)
    assert np.array_equal(encode(turned), expected)
    again = encode(FRAMES[8:16])
    assert np.array_equal(encode(FRAMES[:8]), expected)
    assert not np.array_equal(again, expected)


def test_results_are_not_overwritten_by_the_next_call() -> None:
    encode = FastEncoder(encoder_of("drq:readout=average"))
    first = encode(FRAMES[:8])
    kept = first.copy()
    encode(FRAMES[8:16])
    assert np.array_equal(first, kept)


def test_positions_where_nothing_moved_are_left_out() -> None:
    frames = np.repeat(blobs(1), 24, 0)
    frames[:, :16, :16] = blobs(24, seed=3)[:, :16, :16]
    encoder = encoder_of("drq:features=4", frames)
    readout = encoder.readout
    assert isinstance(readout, LinearReadout)
    positions = live_positions(readout)
    assert positions is not None
    assert len(positions) < 0.3 * readout.shape[1] * readout.shape[2]
    assert feature_error(encoder, frames, "float32") < 1e-4
    assert feature_error(encoder, FRAMES, "float32") < 1e-3  # where all of it moves
    everywhere = encoder_of().readout
    assert isinstance(everywhere, LinearReadout)
    assert live_positions(everywhere) is None


def test_the_encoder_is_copied_and_left_as_it_is() -> None:
    encoder = encoder_of("squeezenet1_1:features=8,order=bgr", FRAMES[:24])
    before, expected = encoder.hash, FastEncoder(encoder)(FRAMES[:8])
    encode = FastEncoder(encoder)
    assert encoder.hash == before
    encoder.fit(torch.from_numpy(FRAMES[40:80]))
    assert np.array_equal(encode(FRAMES[:8]), expected)


def test_frames_are_checked() -> None:
    encode = FastEncoder(encoder_of())
    with pytest.raises(WarmstartError, match="NumPy array, found Tensor"):
        encode(torch.from_numpy(FRAMES[:2]))  # type: ignore[arg-type]
    with pytest.raises(WarmstartError, match="type uint8, found float32"):
        encode(FRAMES[:2].astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(WarmstartError, match="alpha"):
        encode(np.zeros((2, *SIZE, 4), np.uint8))
    with pytest.raises(WarmstartError, match=r"shape \(n, 48, 52, 3\), found \(2, 52, 48, 3\)"):
        encode(np.zeros((2, 52, 48, 3), np.uint8))
    with pytest.raises(WarmstartError, match=r"frames\[None\]"):
        encode(FRAMES[0])


def test_settings_are_checked() -> None:
    with pytest.raises(WarmstartError, match=r"was not fitted: call encoder\.fit"):
        FastEncoder(make_encoder(EncoderConfig("drq"), SIZE))
    with pytest.raises(WarmstartError, match="at least 1 thread, found 0"):
        FastEncoder(encoder_of(), n_threads=0)
    with pytest.raises(WarmstartError, match="Unknown precision 'float16'"):
        FastEncoder(encoder_of(), "float16")  # type: ignore[arg-type]


@needs_bfloat16
@pytest.mark.parametrize("text", ["squeezenet1_1:features=16", "resnet18:features=16", "drq:readout=flatten"])
def test_bfloat16_errs_by_less_than_one_percent(text: str) -> None:
    encoder = encoder_of(text, FRAMES[:40])
    encode = FastEncoder(encoder)
    assert encode.precision == "bfloat16"
    assert 0 < encode.error < TOLERANCE
    assert 0 < feature_error(encoder, FRAMES[40:72], "auto") < TOLERANCE


@needs_bfloat16
def test_bfloat16_is_not_taken_where_it_errs_by_more() -> None:
    still = np.repeat(blobs(1), 40, 0)
    still[:, 3, 3] += np.arange(40, dtype=np.uint8)[:, None] % 5  # hardly anything moves
    encoder = encoder_of("squeezenet1_1:readout=average", still)
    assert feature_error(encoder, still, "bfloat16") > TOLERANCE
    encode = FastEncoder(encoder)
    assert (encode.precision, encode.error) == ("float32", 0)
    assert feature_error(encoder, still, "auto") < 1e-4


@needs_bfloat16
def test_what_bfloat16_gets_wrong_in_every_frame_is_subtracted() -> None:
    encoder = encoder_of("squeezenet1_1:readout=average", FRAMES[:40])
    bare = encoder_of("squeezenet1_1:readout=average", FRAMES[:40])
    bare.samples = bare.samples[:0]
    assert feature_error(encoder, FRAMES[40:], "bfloat16") < 0.8 * feature_error(
        bare, FRAMES[40:], "bfloat16"
    )
    assert FastEncoder(bare).precision == "float32"  # nothing to measure the error on


def test_without_bfloat16_arithmetic_auto_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_encoding, "native_bfloat16", lambda: False)
    assert FastEncoder(encoder_of()).precision == "float32"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_without_onednn_s_kernels_it_is_slower_but_the_same(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_of("squeezenet1_1:features=8,order=bgr", FRAMES[:24])

    def absent(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(fast_encoding, "pack", absent)
    assert feature_error(encoder, FRAMES[24:40], precision) < (1e-4 if precision == "float32" else 0.03)  # type: ignore[arg-type]


def test_a_network_that_is_no_chain_is_encoded_fast_too() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.narrow, self.wide = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 5, padding=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.narrow(x) + self.wide(x)).relu()

    torch.manual_seed(0)
    config = EncoderConfig("drq", readout="pca", features=4)
    encoder = assemble(config, Preprocessing(order="bgr"), Backbone("own", "", Sum()), SIZE, {})
    encoder.fit(torch.from_numpy(FRAMES[:24]))
    assert feature_error(encoder, FRAMES[30:40], "float32") < 1e-4


@pytest.mark.parametrize("size", [(5, 6), (7, 8), (11, 11), (3, 9), (4, 4)])
@pytest.mark.parametrize(("padding", "ceil_mode"), [(0, False), (0, True), (1, False), (1, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_by_integers_is_pooling(
    size: tuple[int, int], padding: int, ceil_mode: bool, dtype: torch.dtype
) -> None:
    pool = nn.MaxPool2d(3, 2, padding, ceil_mode=ceil_mode)
    x = torch.randn(2, 4, *size).relu().to(dtype).to(memory_format=torch.channels_last)
    assert PositiveMaxPool.fits(pool)
    with torch.inference_mode():
        found = PositiveMaxPool(pool)(x)
    assert torch.equal(found, pool(x))


def test_only_the_usual_pooling_is_replaced() -> None:
    others = [nn.MaxPool2d(2), nn.MaxPool2d(3, 1), nn.MaxPool2d(3, 2, dilation=2)]
    assert not any(PositiveMaxPool.fits(pool) for pool in others)
    assert not PositiveMaxPool.fits(nn.MaxPool2d(3, 2, return_indices=True))


def test_a_loaded_encoder_encodes_the_same(tmp_path: Path) -> None:
    encoder = encoder_of("squeezenet1_1:features=8", FRAMES[:24])
    again = load_encoder(encoder.save(tmp_path / "e.safetensors"))
    one, other = FastEncoder(encoder), FastEncoder(again)
    assert np.array_equal(one(FRAMES[:9]), other(FRAMES[:9]))
    assert (one.precision, one.error) == (other.precision, other.error)


def test_real_weights_err_by_less_than_one_percent() -> None:
    folder = os.environ.get("WARMSTART_WEIGHTS")
    path = Path(folder or "") / "squeezenet1_1.safetensors"
    if folder is None or not path.is_file():
        pytest.skip("WARMSTART_WEIGHTS names no folder with squeezenet1_1.safetensors")
    import safetensors.torch

    frames = blobs(100, size=(84, 84))
    config = EncoderConfig("squeezenet1_1", weights="imagenet", features=32)
    preprocessing = Preprocessing(order="bgr", scale=1, mean=(104, 117, 123))
    encoder = make_encoder(config, (84, 84), safetensors.torch.load_file(path), preprocessing=preprocessing)
    encoder.fit(torch.from_numpy(frames[:60]))
    assert feature_error(encoder, frames[60:], "float32") < 1e-5
    assert feature_error(encoder, frames[60:], "auto") < TOLERANCE
