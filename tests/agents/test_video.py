import imageio.v2 as imageio
import numpy as np
import pytest

from warmstart.agents.video import record_video
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task


class _Still:
    """A policy that does nothing, for one actuator."""

    def wrap(self, env):
        return env

    def predict(self, observations, deterministic=True):
        return np.zeros((len(observations), 1), dtype=np.float32)


def test_film_shows_the_pendulum_fall(tmp_path):
    task = Task.parse("InvertedPendulum-v5")
    try:
        film = record_video(_Still(), task, tmp_path / "a.gif", seconds=2, seed=1, size=64)
    except WarmstartError as error:
        if "OpenGL" in str(error):
            pytest.skip(f"no rendering here: {error}")
        raise
    frames = imageio.mimread(film.path)
    assert len(frames) == film.frames > 3
    assert frames[0].shape[:2] == (64, 64)
    assert np.abs(frames[0].astype(int) - frames[-1].astype(int)).max() > 30
    assert film.episode_return > 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.avi", {}, "written as .mp4 or .gif"),
        ("a.mp4", {"size": 63}, "an even size"),
        ("a.mp4", {"seconds": 0}, "positive length"),
    ],
)
def test_bad_requests(tmp_path, name, options, message):
    with pytest.raises(WarmstartError, match=message):
        record_video(_Still(), Task.parse("InvertedPendulum-v5"), tmp_path / name, **options)
