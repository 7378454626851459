import re

import imageio.v2 as imageio
import numpy as np
import pytest
from imageio_ffmpeg import count_frames_and_secs

from warmstart.agents import video
from warmstart.agents.video import frame_period, record_video
from warmstart.core.errors import WarmstartError
from warmstart.core.progress import Progress
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec

PENDULUM = Task.parse("InvertedPendulum-v5")


class _Pushes:
    """A policy that pushes with a constant force, by each of its actuators."""

    def __init__(self, force=0.0, actuators=1):
        self.force, self.actuators = force, actuators

    def wrap(self, env):
        return env

    def predict(self, observations, deterministic=True):
        return np.full((len(observations), self.actuators), self.force, dtype=np.float32)


class _Right:
    def wrap(self, env):
        return env

    def predict(self, observations, deterministic=True):
        return np.ones(len(observations), dtype=np.int64)


@pytest.mark.usefixtures("opengl")
def test_film_shows_the_pendulum_fall(tmp_path):
    film = record_video(_Pushes(), PENDULUM, tmp_path / "a.gif", seconds=2, seed=1, size=64)
    frames = imageio.mimread(film.path)
    assert len(frames) == film.frames > 3
    assert film.fps == 25
    assert frames[0].shape[:2] == (64, 64)
    assert np.abs(frames[0].astype(int) - frames[-1].astype(int)).max() > 30
    assert film.returns[""] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.usefixtures("opengl")
def test_several_stand_side_by_side_and_who_ended_keeps_its_last_frame(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        video, "_composed", lambda shots, own=video._composed: shown.append(shots) or own(shots)
    )
    policies = {"still": _Pushes(), "a name that is far too long for the pane": _Pushes(3.0)}
    seen = []

    class Seen(Progress):
        def show(self, name, work):
            seen.append((name, work))

    film = record_video(policies, PENDULUM, tmp_path / "a.gif", 2, seed=1, size=96, progress=Seen())
    frames = imageio.mimread(film.path)
    assert frames[0].shape == (96, 192, 3)
    assert film.frames == len(shown)
    ended = [[shot.ended for shot in shots] for shots in shown]
    assert ended[0] == [False, False]
    assert ended[-1] == [False, True], "the one that is pushed falls first"
    assert shown[-1][1].picture is shown[-2][1].picture
    for name, policy in policies.items():
        assert film.returns[name] == _return(policy)
    assert seen[0][0] == "Filming a.gif"
    assert (seen[-1][1].state, seen[-1][1].done) == ("done", film.frames)


def _return(policy):
    env = make_vec(PENDULUM, 1, 1)
    observations, _ = env.reset(seed=1)
    total, ended = 0.0, False
    while not ended:
        observations, rewards, terminations, truncations, _ = env.step(policy.predict(observations))
        total += float(rewards[0])
        ended = bool(terminations[0] or truncations[0])
    env.close()
    return total


@pytest.mark.usefixtures("opengl")
def test_a_film_shows_the_physics_of_its_task(tmp_path):
    """A larger part is drawn larger, by threads whose models are the task's."""
    frames = []
    for text in ("Hopper-v5", "Hopper-v5@geom.torso_geom.size=[0.2,0.2]"):
        policy = _Pushes(0.0, actuators=3)
        film = record_video(policy, Task.parse(text), tmp_path / "a.gif", seconds=0.02, size=64)
        frames.append(imageio.mimread(film.path)[0].astype(int))
    assert (np.abs(frames[0] - frames[1]).max(axis=2) > 30).mean() > 0.02


def test_a_plain_task_draws_its_own_frames(tmp_path):
    pytest.importorskip("pygame", reason="pygame is not installed")
    task = Task.parse("CartPole-v1")
    film = record_video({"a": _Right(), "b": _Right()}, task, tmp_path / "a.mp4", seconds=0.1)
    assert (film.frames, film.fps) == (5, 50)
    assert count_frames_and_secs(str(film.path)) == (5, pytest.approx(0.1))


@pytest.mark.parametrize(
    ("control", "suffix", "period"),
    [
        (0.05, ".mp4", 0.05),  # HalfCheetah, 20 per second
        (0.02, ".mp4", 0.02),  # 50 per second
        (0.008, ".mp4", 0.024),  # Hopper: every third step
        (0.015, ".mp4", 0.03),  # Humanoid: every second step
        (0.008, ".gif", 0.03),
        (0.04, ".gif", 0.04),
    ],
)
def test_films_have_at_most_50_frames_per_second_in_real_time(control, suffix, period):
    assert frame_period(control, suffix) == pytest.approx(period)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.avi", {}, "written as .mp4 or .gif"),
        ("a.mp4", {"size": 63}, "an even size"),
        ("a.mp4", {"seconds": 0}, "positive length"),
        ("a.mp4", {"seconds": float("nan")}, "positive length"),
    ],
)
def test_bad_requests(tmp_path, name, options, message):
    with pytest.raises(WarmstartError, match=re.escape(message)):
        record_video(_Pushes(), PENDULUM, tmp_path / name, **options)
    with pytest.raises(WarmstartError, match="at least one policy"):
        record_video({}, PENDULUM, tmp_path / "a.mp4")
