"""Settings of recordings and identifications, as a study writes them."""

import pytest

from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read
from warmstart.sim2real.identification.recording import SIGNALS
from warmstart.sim2real.identification.settings import DELAY, EXCITATIONS, WINDOW, IdentifySettings


def test_what_isnt_said_is_as_by_default():
    found = read(IdentifySettings, {"parameters": {"torso.mass": "x0.5:x2"}, "seconds": 12, "lag": 1})
    assert (found.seconds, found.lag, found.delay, found.window) == (12.0, 1.0, DELAY, WINDOW)
    assert found.noise_std is None, "the sensors' own"


def test_every_excitation_can_be_asked_for():
    assert set(EXCITATIONS) == set(SIGNALS)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "'parameters' is missing"),
        ({"parameters": {}}, "expected parameters with their ranges"),
        ({"parameters": {"a": "x1:x2"}, "seed": 1}, "Unknown setting 'seed'"),
        ({"parameters": {"a": "x1:x2"}, "delay": [3, 1]}, r"delay: .* from fewest to most .* \[3, 1\]"),
        ({"parameters": {"a": "x1:x2"}, "signal": "chrip"}, "Did you mean 'chirp'"),
    ],
)
def test_mistakes_are_named(written, said):
    with pytest.raises(WarmstartError, match=said):
        read(IdentifySettings, written)
