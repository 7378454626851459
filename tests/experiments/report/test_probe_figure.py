"""The picture of a probe."""

import numpy as np
import pytest
from PIL import Image

from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.layouts import Dimension
from warmstart.experiments.report.canvas import check_picture, save_figure
from warmstart.experiments.report.probe_figure import (
    draw_probe,
    overlay,
    telling_frames,
)
from warmstart.transfer.frames.data import FrameData
from warmstart.transfer.probing.probe import EncoderProbe, ProbeColumn
from warmstart.transfer.probing.saliency import Saliency


def test_frames_are_chosen_that_look_different():
    """Of four places, each is shown once; a velocity that nobody sees plays no part."""
    rng = np.random.default_rng(0)
    place = rng.permutation(np.repeat(np.arange(4), 25)).reshape(50, 2)
    frames = np.zeros((50, 2, 8, 8, 3), np.uint8)
    frames[...] = place[..., None, None, None] * 60
    state = np.stack((place, 100 * rng.standard_normal((50, 2))), axis=2).astype(np.float32)
    data = FrameData(frames, np.zeros((50, 2, 1), np.float32), np.zeros((50, 2), dtype=bool), state)
    found = telling_frames(data, [Dimension("x", "m"), Dimension("v", "m/s")], 4)
    assert sorted(found[:, 0, 0, 0].tolist()) == [0, 60, 120, 180]


def test_a_frame_glows_where_the_heat_is():
    frame = np.full((16, 24, 3), 100, np.uint8)
    heat = np.zeros((16, 24), np.float32)
    heat[8:, 12:] = 1
    image = overlay(frame, heat)
    assert image.shape == (336, 504, 3)
    cold, hot = image[40, 60].astype(int), image[-40, -60].astype(int)
    assert np.ptp(cold) < 5
    assert hot[0] - hot[2] > 60


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_it_is_written_once_in_every_format(tmp_path, suffix):
    rng = np.random.default_rng(1)
    dimensions = tuple(Dimension(f"part{i}.angle", "rad") for i in range(12))
    columns = tuple(
        ProbeColumn(source, frames, 8, (*rng.uniform(-0.2, 1, 11).tolist(), float("nan")))
        for source, frames in (("encoder", 1), ("encoder", 2), ("pixels", 1), ("random weights", 1))
    )
    probe = EncoderProbe("drq:weights=$x_1^2$", "Task_v0", dimensions, columns, 100)
    seen = Saliency(np.ones((3, 20, 30), np.float32), np.full((3, 5, 2), 10, np.float32))
    frames = rng.integers(0, 255, (3, 20, 30, 3), dtype=np.uint8)
    path = tmp_path / "new" / f"seen.{suffix}"
    check_picture(path)
    save_figure(draw_probe(probe, columns, frames, seen, "spatial_softmax"), path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    if suffix == "png":
        with Image.open(path) as picture:
            assert picture.size[0] > 1000
    with pytest.raises(WarmstartError, match="isn't overwritten"):
        check_picture(path)
