"""Net2WiderNet keeps the function."""

import numpy as np
import pytest
import torch
from torch import nn

from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.networks import add_noise, widen, widen_columns, widen_rows


def test_copies_share_the_outgoing_weights_by_hand():
    class Draws:
        def integers(self, low, high, size):
            return np.array([1, 1])

    widening = widen(2, 4, Draws(), "layer")
    assert widening.origins.tolist() == [0, 1, 1, 1]
    np.testing.assert_allclose(widening.shares, [1, 1 / 3, 1 / 3, 1 / 3])
    outgoing = widen_columns(torch.tensor([[4.0, 9.0]]), widening)
    torch.testing.assert_close(outgoing, torch.tensor([[4.0, 3.0, 3.0, 3.0]]))


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_function_is_preserved(activation):
    torch.manual_seed(0)
    old = nn.Sequential(nn.Linear(5, 8), activation(), nn.Linear(8, 6), activation(), nn.Linear(6, 3))
    new = nn.Sequential(nn.Linear(5, 20), activation(), nn.Linear(20, 13), activation(), nn.Linear(13, 3))
    generator = np.random.default_rng(0)
    first, second = widen(8, 20, generator, "first"), widen(6, 13, generator, "second")
    with torch.no_grad():
        new[0].weight.copy_(widen_rows(old[0].weight, first))
        new[0].bias.copy_(widen_rows(old[0].bias, first))
        new[2].weight.copy_(widen_rows(widen_columns(old[2].weight, first), second))
        new[2].bias.copy_(widen_rows(old[2].bias, second))
        new[4].weight.copy_(widen_columns(old[4].weight, second))
        new[4].bias.copy_(old[4].bias)
        inputs = torch.randn(32, 5)
        torch.testing.assert_close(new(inputs), old(inputs), rtol=1e-5, atol=1e-6)


def test_equal_width_changes_nothing():
    widening = widen(4, 4, np.random.default_rng(0), "layer")
    assert widening.trivial
    weight = torch.randn(4, 3)
    assert torch.equal(widen_rows(weight, widening), weight)
    assert torch.equal(add_noise(weight, widening, 0.1, np.random.default_rng(0)), weight)


def test_noise_tells_copies_apart_and_leaves_the_others():
    generator = np.random.default_rng(0)
    widening = widen(4, 6, generator, "layer")
    wide = widen_rows(torch.randn(4, 3), widening)
    noisy = add_noise(wide, widening, 0.01, generator)
    alone = torch.from_numpy(widening.shares == 1.0)
    assert torch.equal(noisy[alone], wide[alone])
    assert not torch.equal(noisy[~alone], wide[~alone])
    assert (noisy - wide).abs().max() < 0.1


def test_narrowing_is_refused_by_name():
    with pytest.raises(WarmstartError, match="actor layer has 64 units in the source and 32"):
        widen(64, 32, np.random.default_rng(0), "actor layer")
