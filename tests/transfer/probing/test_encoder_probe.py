"""The probe on hand-made frames: what is there is found, what isn't is not, and episodes stay on one side."""

import numpy as np
import pytest
import torch

from warmstart.agents.encoders import backbones
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import make_encoder
from warmstart.agents.encoders.preprocessing import Preprocessing
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.layouts import Dimension
from warmstart.transfer.encoders import pretrained
from warmstart.transfer.frames.acting import thinned
from warmstart.transfer.frames.data import FrameData
from warmstart.transfer.probing.probe import (
    EncoderProbe,
    ProbeColumn,
    grouped,
    probe_encoder,
    probe_features,
    raw_pixels,
    untrained,
    windows_of,
)
from warmstart.transfer.probing.ridge import FOLDS, folds_of, histories_at, ridge, unseen_r2, with_history

STEPS, ENVS = 40, 20


def _data(state, starts=None, frames=None):
    steps, envs = state.shape[:2]
    if starts is None:
        starts = np.zeros((steps, envs), dtype=bool)
        starts[::10] = True
    frames = np.zeros((steps, envs, 4, 4, 3), np.uint8) if frames is None else frames
    return FrameData(frames, np.zeros((steps, envs, 1), np.float32), starts, state.astype(np.float32))


def _states(rng, numbers=3):
    """Numbers that change slowly, and are alike in all environments."""
    noise = rng.standard_normal((STEPS + 2, ENVS, numbers))
    return noise[2:] + noise[1:-1] + noise[:-2]


def test_features_that_hold_the_state_tell_all_of_it_and_noise_tells_nothing():
    rng = np.random.default_rng(0)
    state = _states(rng)
    data = _data(state)
    mixed = state @ rng.standard_normal((3, 8)) + 5
    assert min(probe_features("encoder", mixed, data, 1).r2) > 0.9999
    noise = rng.standard_normal((STEPS, ENVS, 8))
    assert np.abs(probe_features("encoder", noise, data, 1).r2).max() < 0.05


def test_a_velocity_is_told_from_a_history_only():
    rng = np.random.default_rng(1)
    place = rng.standard_normal((STEPS, ENVS, 1))
    velocity = np.diff(place, axis=0, prepend=place[:1])
    data = _data(np.concatenate((place, velocity), axis=2))
    one, two = (probe_features("encoder", place, data, frames, longest=2) for frames in (1, 2))
    assert one.r2[0] > 0.999
    assert one.r2[1] < 0.7
    assert min(two.r2) > 0.999
    assert (one.inputs, two.inputs) == (1, 2)
    assert two.label == "encoder, 2 frames"


def test_what_is_the_same_throughout_an_episode_must_be_known_in_others():
    """A feature that names the environment tells its constant, unless no frame of it was fitted on."""
    rng = np.random.default_rng(2)
    state = np.repeat(rng.standard_normal((1, ENVS, 1)), STEPS, axis=0)
    names = np.repeat(np.eye(ENVS)[None], STEPS, axis=0)
    assert probe_features("encoder", names, _data(state), 1).mean < 0.05


def test_environments_are_split_whole():
    envs = np.repeat(np.arange(7), 3)
    folds = folds_of(envs)
    assert set(folds.tolist()) == set(range(FOLDS))
    assert all(len(set(folds[envs == env].tolist())) == 1 for env in range(7))
    with pytest.raises(WarmstartError, match="at least 5, found 4"):
        folds_of(np.arange(4))


def test_a_constant_number_has_no_share_and_is_left_out_of_the_mean():
    state = np.concatenate((_states(np.random.default_rng(3), 1), np.ones((STEPS, ENVS, 1))), axis=2)
    column = probe_features("encoder", state, _data(state), 1)
    assert np.isnan(column.r2[1])
    assert column.mean == column.r2[0]
    assert np.isnan(ProbeColumn("encoder", 1, 1, (float("nan"),)).mean)


@pytest.mark.parametrize("inputs", [6, 60])
def test_ridge_is_the_closed_form_however_many_inputs(inputs):
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((30, inputs)), rng.standard_normal((30, 2))
    strengths = np.array([0.1, 3.0])
    z = (x - x.mean(0)) / x.std(0)
    expected = np.stack(
        [
            z
            @ np.linalg.solve(z.T @ z / 30 + strength * np.eye(inputs), z.T @ (y[:, i] - y[:, i].mean()) / 30)
            + y[:, i].mean()
            for i, strength in enumerate(strengths)
        ],
        axis=1,
    )
    np.testing.assert_allclose(ridge(x, y)(x, strengths), expected, atol=1e-5)


def test_an_input_that_never_moved_while_fitting_does_no_harm_when_it_jumps():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((200, 3))
    y = x[:, :1].copy()
    x[:, 2] *= 1e-9
    x[150, 2] = 1e3
    assert unseen_r2(x, y, np.arange(200) % FOLDS)[0] > 0.9


def test_threads_change_nothing():
    rng = np.random.default_rng(6)
    x, y, folds = rng.standard_normal((100, 5)), rng.standard_normal((100, 2)), np.arange(100) % FOLDS
    np.testing.assert_array_equal(unseen_r2(x, y, folds, 1), unseen_r2(x, y, folds, 3))


def test_histories_stay_in_their_episode_and_are_those_of_the_agents():
    features = np.arange(12, dtype=np.float64).reshape(6, 2, 1) ** 2
    starts = np.zeros((6, 2), dtype=bool)
    starts[[0, 3]] = True
    data = _data(features, starts)
    steps, envs = histories_at(data, 3)
    assert sorted(zip(steps.tolist(), envs.tolist(), strict=True)) == [(2, 0), (2, 1), (5, 0), (5, 1)]
    rows = with_history(features, np.array([2]), np.array([1]), 3, difference=5.0)
    first, second, third = 1.0, 9.0, 25.0
    assert rows.tolist() == [[second, third, 5 * (second - first), 5 * (third - second)]]


def test_raw_pixels_are_means():
    frames = np.zeros((1, 1, 4, 4, 3), np.uint8)
    frames[0, 0, :2, :2, 0] = [[255, 0], [255, 255]]
    found = raw_pixels(frames, 2)
    assert found.shape == (1, 1, 12)
    assert found[0, 0, 0] == pytest.approx(0.75)
    assert found[0, 0, 1:].max() == 0


def test_thinned_windows_are_of_one_episode_and_spread():
    state = np.arange(40, dtype=np.float64).reshape(20, 2, 1)
    starts = np.zeros((20, 2), dtype=bool)
    starts[[0, 7]] = True
    found = thinned(_data(state, starts), windows=3, frames=2)
    assert found.starts[:, 0].tolist() == [True, False] * 3
    steps = found.state[:, 0, 0] // 2
    assert (np.diff(steps)[::2] == 1).all()
    assert steps[0] == 0
    assert steps[-1] == 19
    assert 7 not in steps[1::2], "a window doesn't cross the end of an episode"
    with pytest.raises(WarmstartError, match="too few frames"):
        thinned(_data(state, np.ones((20, 2), dtype=bool)), windows=3, frames=2)


def _squares(rng):
    """A square that wanders: frames and its place."""
    place = np.clip(16 + np.cumsum(rng.integers(-3, 4, (STEPS, ENVS, 2)), axis=0), 4, 27)
    frames = np.zeros((STEPS, ENVS, 32, 32, 3), np.uint8)
    for step, env in np.ndindex(STEPS, ENVS):
        row, column = place[step, env]
        frames[step, env, row - 3 : row + 3, column - 3 : column + 3] = 200
    return _data(place.astype(np.float64), frames=frames)


def test_an_encoder_is_compared_with_pixels_and_with_its_untrained_twin():
    data = _squares(np.random.default_rng(7))
    encoder = make_encoder(EncoderConfig("drq", features=16, fit_frames=200), (32, 32))
    before = torch.random.get_rng_state()
    twin = untrained(encoder)
    assert torch.equal(torch.random.get_rng_state(), before)
    own, drawn = (each.backbone.state_dict()["network.convnet.0.weight"] for each in (encoder, twin))
    assert not torch.equal(own, drawn)
    for each in (encoder, twin):
        each.fit(data.draw(each.config.fit_frames, 0))
    seen = []
    found = probe_encoder(
        encoder,
        data,
        [Dimension("row", "m"), Dimension("column", "m")],
        task="squares",
        twin=twin,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [(c.source, c.frames) for c in found.columns] == [
        (source, frames) for source in ("encoder", "pixels", "random weights") for frames in (1, 2)
    ]
    assert seen[-1] == (6, 6)
    assert found.column("encoder", 1).inputs == 16
    assert found.column("encoder", 1).mean > 0.5
    assert found.column("pixels", 1).mean > 0.5
    assert found.to_json()["dimensions"][0] == {"name": "row", "unit": "m"}
    with pytest.raises(WarmstartError, match="no column"):
        found.column("encoder", 3)


def test_the_twin_of_a_module_of_ones_own_is_drawn_anew(monkeypatch):
    monkeypatch.setattr(backbones, "BACKBONES", dict(backbones.BACKBONES))
    monkeypatch.setattr(pretrained, "BACKBONES", backbones.BACKBONES)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2), torch.nn.ReLU())
    encoder = pretrained.module_encoder(
        module, Preprocessing(), (32, 32), name="own", readout="average", frames=1
    )
    twin = untrained(encoder)
    own, drawn = (each.backbone.network[0].weight for each in (encoder, twin))
    assert own.shape == drawn.shape
    assert not torch.equal(own, drawn)


def test_a_long_state_is_listed_by_unit():
    dimensions = tuple(Dimension(f"joint{i}.angle", "rad") for i in range(30)) + tuple(
        Dimension(f"joint{i}.velocity", "rad/s") for i in range(30)
    )
    column = ProbeColumn("encoder", 1, 8, (1.0,) * 30 + (0.0, 0.5) * 15)
    probe = EncoderProbe("drq", "many", dimensions, (column,), 100)
    names, values = grouped(probe)
    assert names == ("30 angles (rad)", "30 angular velocities (rad/s)")
    assert values == ((1.0, 0.25),)
    names, values = grouped(probe, most=60)
    assert len(names) == 60


def test_too_little_is_refused():
    data = _data(_states(np.random.default_rng(8)))
    with pytest.raises(WarmstartError, match="obs=pixels"):
        probe_features("encoder", data.state, FrameData(data.frames, data.actions, data.starts), 1)
    few = _data(data.state[:4])
    with pytest.raises(WarmstartError, match="at least 50 with 3 before them"):
        probe_features("encoder", few.state, few, 4)
    assert windows_of(100, 2) == 50
    with pytest.raises(WarmstartError, match="expected at least 100, found 98"):
        windows_of(98, 2)
    frames = _squares(np.random.default_rng(9)).draw(60, 0)
    with pytest.raises(WarmstartError, match="65"):
        make_encoder(EncoderConfig("drq"), (32, 32)).fit(frames)
