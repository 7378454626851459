"""What tests of parameters share."""

import pytest

from tests.envs.physics.models import hopper
from warmstart.envs.physics.parameters import Parameters


@pytest.fixture
def parameters() -> Parameters:
    """Those of a hopper."""
    return Parameters(hopper())
