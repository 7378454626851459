"""Saliency of a single moving square: it peaks at the square, whatever the network and the readout."""

import numpy as np
import pytest
import torch

from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import make_encoder
from warmstart.core.errors import WarmstartError
from warmstart.transfer.probing.saliency import axis_pixels, centres, saliency, spread

SIDE = 64


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def _frames(places):
    frames = np.full((len(places), SIDE, SIDE, 3), 40, np.uint8)
    frames[:, :, ::8] = 60  # what doesn't move is of no interest
    for frame, (row, column) in zip(frames, places, strict=True):
        frame[row - 4 : row + 4, column - 4 : column + 4] = (220, 60, 30)
    return frames


def _random_places(n, seed=0):
    return np.random.default_rng(seed).integers(20, SIDE - 20, (n, 2))


def _fitted(text):
    encoder = make_encoder(EncoderConfig.parse(text), (SIDE, SIDE))
    encoder.fit(torch.from_numpy(_frames(_random_places(120))))
    return encoder


@pytest.mark.parametrize(
    "text",
    [
        "drq:features=16",
        "nature_cnn:features=16",
        "squeezenet1_1:features=16",
        "squeezenet1_1:features=16,input_size=96,crop=80",
        "drq:readout=projection,features=32",
        "drq:readout=average",
        "drq:readout=flatten",
        "drq:readout=attention,features=8",
        "drq:readout=spatial_softmax",
    ],
)
def test_it_peaks_at_the_square(text):
    encoder = _fitted(text)
    places = np.array([(22, 40), (40, 24), (42, 42), (32, 21)])
    found = saliency(encoder, _frames(places), _frames(_random_places(60, seed=1)))
    assert found.heat.shape == (4, SIDE, SIDE)
    assert found.heat.dtype == np.float32
    assert 0 <= found.heat.min() <= found.heat.max() <= 1
    grid = np.arange(SIDE) + 0.5
    for heat, (row, column) in zip(found.heat, places, strict=True):
        bright = heat * (heat > 0.5 * heat.max())
        centre = (bright.sum(1) @ grid / bright.sum(), bright.sum(0) @ grid / bright.sum())
        within = 12 if text.startswith("nature_cnn") else 8  # its map has 4 x 4 places here
        assert np.hypot(centre[0] - row, centre[1] - column) < within, (text, centre, (row, column))


def test_points_of_spatial_softmax_follow_the_square():
    encoder = _fitted("drq:readout=spatial_softmax")
    places = np.array([(22, 22), (22, 42), (42, 22), (42, 42)])
    points = saliency(encoder, _frames(places)).points
    assert points.shape == (4, 24, 2)
    mean = points.mean(1)[:, ::-1]  # row, column
    assert (np.corrcoef(mean[:, 0], places[:, 0])[0, 1], np.corrcoef(mean[:, 1], places[:, 1])[0, 1]) > (
        0.9,
        0.9,
    )


def test_places_of_unpadded_convolutions_lie_inside_the_frame():
    """The map of SB3's convolutions on 84 pixels: 7 places, 8 pixels apart, the first sees pixels 0 to 35."""
    rows, columns = centres(make_encoder(EncoderConfig("nature_cnn"), (84, 84)))
    np.testing.assert_allclose(rows, 18 + 8 * np.arange(7), atol=1)
    np.testing.assert_allclose(columns, rows, atol=1)
    scaled, _ = centres(make_encoder(EncoderConfig("nature_cnn", input_size=84), (168, 168)))
    np.testing.assert_allclose(scaled, 2 * rows, atol=1e-6)
    cropped, _ = centres(make_encoder(EncoderConfig("nature_cnn", input_size=100, crop=84), (100, 100)))
    np.testing.assert_allclose(cropped, rows + 8, atol=1e-6)


def test_places_that_tell_nothing_are_laid_out_evenly():
    np.testing.assert_allclose(axis_pixels((20.0, 20.1), (1, 2), 4, 40), [5, 15, 25, 35])
    np.testing.assert_allclose(axis_pixels((float("nan"), float("nan")), (1, 2), 4, 40), [5, 15, 25, 35])
    np.testing.assert_allclose(axis_pixels((7.0, 7.0), (0, 0), 1, 40), [20])
    np.testing.assert_allclose(axis_pixels((14.0, 22.0), (1, 2), 4, 40), [6, 14, 22, 30])


def test_energies_are_interpolated_and_fade_beyond_the_places():
    energy = np.array([[[0.0, 4.0], [0.0, 0.0]]])
    found = spread(energy, (np.array([0.5, 2.5]), np.array([0.5, 2.5])), (3, 8))
    np.testing.assert_allclose(found[0, 0], [0, 2, 4, 3, 2, 1, 0, 0])
    np.testing.assert_allclose(found[0, 1], found[0, 0] / 2)
    np.testing.assert_allclose(found[0, 2], 0)
    whole = spread(np.array([[[3.0]]]), (np.array([1.0]), np.array([1.0])), (2, 2))
    np.testing.assert_allclose(whole, 3)


def test_where_nothing_differs_nothing_glows():
    encoder = make_encoder(EncoderConfig("drq", readout="average"), (SIDE, SIDE))
    encoder.fit(torch.from_numpy(_frames(_random_places(40))))
    same = np.repeat(_frames([(30, 30)]), 3, axis=0)
    assert not saliency(encoder, same).heat.any()


def test_an_unfitted_readout_is_refused():
    encoder = make_encoder(EncoderConfig("drq"), (SIDE, SIDE))
    with pytest.raises(WarmstartError, match=r"encoder\.fit"):
        saliency(encoder, _frames(_random_places(2)))
