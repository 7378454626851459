"""Readouts against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from warmstart.agents.encoders.readouts import (
    READOUTS,
    AttentionReadout,
    PcaReadout,
    Readout,
    SpatialSoftmax,
    build_readout,
    rows_of,
)
from warmstart.core.errors import WarmstartError

SHAPE = (3, 4, 5)


def maps(n: int = 40, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.5, 3, shape[0])[:, None, None]
    return torch.randn(n, *shape, generator=generator) * scale + 2


def fitted(name: str, features: int = 6, n: int = 40) -> Readout:
    readout = build_readout(name, SHAPE, features, seed=4)
    readout.fit(maps(n))
    return readout


@pytest.mark.parametrize("name", READOUTS)
def test_every_readout_gives_as_many_features_as_it_says(name: str) -> None:
    readout = fitted(name)
    out = readout(maps(7, seed=1))
    assert out.shape == (7, readout.n_features)
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    assert out.std(0).min() > 0


@pytest.mark.parametrize("name", READOUTS)
def test_memory_order_and_precision_of_the_map_do_not_matter(name: str) -> None:
    readout, given = fitted(name), maps(7, seed=1)
    out = readout(given)
    torch.testing.assert_close(readout(given.to(memory_format=torch.channels_last)), out)
    torch.testing.assert_close(readout(given.double()), out)


@pytest.mark.parametrize("name", READOUTS)
def test_the_state_is_complete(name: str) -> None:
    readout = fitted(name)
    other = build_readout(name, SHAPE, 6, seed=99)
    other.load_state_dict(readout.state_dict())
    assert other.fitted
    assert torch.equal(other(maps(5, seed=2)), readout(maps(5, seed=2)))


@pytest.mark.parametrize("name", READOUTS)
def test_only_attention_has_parameters(name: str) -> None:
    assert bool(list(fitted(name).parameters())) == (name == "attention")


@pytest.mark.parametrize("name", [name for name, cls in READOUTS.items() if cls.needs_fit])
def test_a_readout_has_to_be_fitted_first(name: str) -> None:
    readout = build_readout(name, SHAPE, 6)
    assert not readout.fitted
    with pytest.raises(WarmstartError, match="was not fitted: call fit"):
        readout(maps(2))


@pytest.mark.parametrize("name", ["pca", "spatial_softmax", "projection", "average"])
def test_features_are_standardised_on_the_fitting_frames(name: str) -> None:
    readout, given = build_readout(name, SHAPE, 6), maps(40)
    given[:, 1] = 7  # a dead channel must stay quiet
    readout.fit(given)
    out = readout(given).double()
    torch.testing.assert_close(out.mean(0), torch.zeros(len(out[0])).double(), atol=1e-4, rtol=0)
    spread = out.std(0, correction=1 if name == "pca" else 0)
    alive = spread > 1e-2
    torch.testing.assert_close(spread[alive], torch.ones(int(alive.sum())).double(), atol=1e-3, rtol=0)
    assert int((~alive).sum()) == {"spatial_softmax": 2, "average": 1}.get(name, 0)


@pytest.mark.parametrize("name", READOUTS)
def test_a_map_of_another_shape_is_refused(name: str) -> None:
    with pytest.raises(WarmstartError, match=r"maps of shape \(n, 3, 4, 5\), found \(2, 3, 5, 4\)"):
        fitted(name)(torch.zeros(2, 3, 5, 4))


def test_pca_whitens() -> None:
    readout, given = PcaReadout(SHAPE, 6), maps(40)
    readout.fit(given)
    out = readout(given).double()
    covariance = out.T @ out / 39
    torch.testing.assert_close(covariance, torch.eye(6).double(), atol=1e-5, rtol=0)


def test_pca_is_the_singular_value_decomposition() -> None:
    readout, given = PcaReadout(SHAPE, 3), maps(40)
    readout.fit(given)
    rows = rows_of(given).double().numpy()
    centred = rows - rows.mean(0)
    _, values, components = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ components[:3].T / values[:3] * np.sqrt(39)
    found = readout(given).numpy()
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-5)


def test_pca_of_one_moving_number_by_hand() -> None:
    given = torch.zeros(4, 2, 1, 1)
    given[:, 0, 0, 0] = torch.tensor([1.0, 3.0, 5.0, 7.0])
    given[:, 1] = 9
    readout = PcaReadout((2, 1, 1), 1)
    readout.fit(given)
    spread = np.sqrt((9 + 1 + 1 + 9) / 3)
    np.testing.assert_allclose(readout(given)[:, 0].numpy(), np.array([-3, -1, 1, 3]) / spread, rtol=1e-6)


def test_pca_is_quiet_where_frames_have_less_to_say_than_features() -> None:
    line = torch.linspace(-1, 1, 20)[:, None, None, None]
    readout = PcaReadout(SHAPE, 6)
    readout.fit(line * torch.ones(SHAPE) + 3)
    out = readout(line * torch.ones(SHAPE) + 3)
    assert out[:, 0].std() == pytest.approx(1, abs=1e-5)
    assert out[:, 1:].abs().max() < 1e-2


def test_pca_needs_more_frames_than_features() -> None:
    with pytest.raises(WarmstartError, match="at least 7 frames to fit 6 principal components, found 6"):
        PcaReadout(SHAPE, 6).fit(maps(6))
    with pytest.raises(WarmstartError, match="all equal"):
        PcaReadout(SHAPE, 6).fit(torch.ones(9, *SHAPE))
    with pytest.raises(WarmstartError, match="at most 60 features"):
        PcaReadout(SHAPE, 61)


def test_pca_does_not_depend_on_the_order_of_columns_in_memory() -> None:
    shape = (5, 40, 41)  # more columns than are multiplied at once
    given = maps(12, shape=shape)
    readout = PcaReadout(shape, 4)
    readout.fit(given.to(memory_format=torch.channels_last))
    rows = rows_of(given).double()
    rows -= rows.mean(0)
    values = torch.linalg.eigvalsh(rows @ rows.T)[-4:].flip(0) / 11
    norms = readout.weight.double().norm(dim=1)
    torch.testing.assert_close(norms, 1 / values.sqrt(), atol=1e-6, rtol=1e-4)


def test_spatial_softmax_finds_a_bright_pixel() -> None:
    readout = SpatialSoftmax(SHAPE)
    given = torch.zeros(2, *SHAPE)
    given[0, 0, 0, 0] = given[0, 1, 3, 4] = given[0, 2, 1, 2] = 1000
    points = readout.numbers(given)[0].view(3, 2)
    expected = [[-1, -1], [1, 1], [0, 2 / 3 - 1]]  # x of 5 columns and y of 4 rows
    torch.testing.assert_close(points, torch.tensor(expected), atol=1e-6, rtol=0)
    assert readout.numbers(given)[1].abs().max() < 1e-6  # evenly grey: the middle


def test_spatial_softmax_standardises_channels() -> None:
    given = maps(40)
    one, other = SpatialSoftmax(SHAPE), SpatialSoftmax(SHAPE)
    one.fit(given)
    other.fit(given * 1000 + 500)
    torch.testing.assert_close(other(given * 1000 + 500), one(given), atol=1e-3, rtol=1e-3)


def test_average_by_hand() -> None:
    readout = build_readout("average", (1, 1, 2), 1)
    readout.fit(torch.tensor([[[[0.0, 2.0]]], [[[4.0, 6.0]]]]))
    assert readout(torch.tensor([[[[7.0, 9.0]]]])).item() == pytest.approx((8 - 3) / 2)


def test_flatten_keeps_everything() -> None:
    given = maps(3)
    assert torch.equal(build_readout("flatten", SHAPE, 1)(given), given.flatten(1))


@pytest.mark.parametrize("name", ["projection", "attention"])
def test_random_readouts_come_from_their_seed(name: str) -> None:
    before = torch.random.get_rng_state()
    outs = []
    for seed in (1, 1, 2):
        readout = build_readout(name, SHAPE, 6, seed)
        readout.fit(maps(40))
        outs.append(readout(maps(5, seed=2)))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(outs[0], outs[1])
    assert not torch.allclose(outs[0], outs[2])


def test_attention_can_be_trained() -> None:
    readout = AttentionReadout(SHAPE, 6, seed=1)
    readout(maps(5)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in readout.parameters())


def test_attention_weighs_positions_by_hand() -> None:
    readout = AttentionReadout((2, 1, 2), 1, seed=0)
    with torch.no_grad():
        readout.queries.copy_(torch.tensor([3.0, -3.0]).expand(8, 2))
        readout.output.zero_()
        readout.output[0, 0] = 1
    map_ = torch.tensor([[[[4.0, 0.0]], [[0.0, 6.0]]]])  # positions (4, 0) and (0, 6)
    # Keys are (1, -1) and (-1, 1), scores are 6 and -6 over the root of 2.
    weight = 1 / (1 + np.exp(-12 / np.sqrt(2)))
    assert readout(map_).item() == pytest.approx(4 * weight, rel=1e-4)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(WarmstartError, match=r"Unknown readout 'pcs'.*'pca'"):
        build_readout("pcs", SHAPE, 3)
    with pytest.raises(WarmstartError, match="at least 1 feature"):
        build_readout("pca", SHAPE, 0)
