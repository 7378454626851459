"""A recording of the pendulum."""

import pytest

from warmstart.envs.tasks.task import Task
from warmstart.sim2real.identification.recording import record

TASK = Task.parse("InvertedPendulum-v5")


@pytest.fixture(scope="module")
def item():
    return record(TASK, 60, noise_std=0.0, amplitude=0.05)[0]
