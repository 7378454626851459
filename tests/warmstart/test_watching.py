"""`warmstart video` and `warmstart view`: several checkpoints, their names, and what is refused."""

import socket
from dataclasses import replace

import pytest

from warmstart.__main__ import main
from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.settings.config import PPOConfig
from warmstart.agents.viewer.session import Session
from warmstart.cli.checkpoints import load_policies
from warmstart.envs.tasks.task import Task

PENDULUM = "InvertedPendulum-v5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Checkpoints of the pendulum, cold and warm, and one of the Hopper."""
    folder = tmp_path_factory.mktemp("checkpoints")
    config = PPOConfig(n_envs=1, n_steps=8, batch_size=8)
    for seed, (name, task) in enumerate({"cold": PENDULUM, "warm": PENDULUM, "hopper": "Hopper-v5"}.items()):
        env = make_training_env(config, task, 0)
        save_checkpoint(build_agent(replace(config), env, seed), folder / "runs" / name)
        env.close()
    return folder


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


def run(capsys, *words):
    status = main(words)
    out, err = capsys.readouterr()
    return status, out, " ".join(err.split())


@pytest.mark.usefixtures("opengl")
def test_a_film_of_several_names_them_and_shows_its_progress(capsys, folder):
    words = ("runs/cold", PENDULUM, "--beside", "later=runs/warm", "--out", "two.gif", "--size", "64")
    status, _, err = run(capsys, "video", *words)
    assert status == 0, err
    assert "Filming two.gif: started" in err
    assert "at 25 per second, return cold " in err
    assert ", later " in err
    assert (folder / "two.gif").stat().st_size > 1000


def test_checkpoints_have_the_names_they_are_given_or_tell_themselves_apart():
    task = Task.parse(PENDULUM)
    assert list(load_policies(["runs/cold", "runs/warm"], task, {})) == ["cold", "warm"]
    assert list(load_policies(["a b=runs/cold", "runs/warm"], task, {})) == ["a b", "warm"]


def test_the_viewer_serves_for_some_seconds_where_the_checkpoint_was_trained(capsys, monkeypatch):
    pytest.importorskip("viser", reason="viser isn't installed")
    pytest.importorskip("mjviser", reason="mjviser isn't installed")
    steps = []
    own = Session.step
    monkeypatch.setattr(Session, "step", lambda session: steps.append(str(session.task)) or own(session))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    status, out, err = run(capsys, "view", "runs/cold", "--seconds", "0.5", "--port", port)
    assert (status, err) == (0, "")
    assert out == f"{PENDULUM} is at http://localhost:{port}; Ctrl-C ends it.\n"
    assert set(steps) == {PENDULUM}
    assert len(steps) > 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("view", "runs/hopper", PENDULUM), "observations of shape (11,), those of InvertedPendulum-v5"),
        (("view", "runs/cold", "--beside", "runs/hopper"), "The policy in runs/hopper"),
        (("view", "runs/cold", "--beside", "x=runs/none"), "There is no checkpoint at runs/none"),
        (("view", "runs/cold", "--beside", "runs/../runs/cold"), "runs/cold is given twice"),
        (("view", "runs/cold", "--beside", "cold=runs/warm"), "Two checkpoints are called 'cold'"),
        (("view", "runs/cold", f"{PENDULUM}@pole.mas=2"), "Did you mean"),
        (("view", "runs/cold", "--port", "99999"), "port from 1 to 65535, found 99999"),
        (("view", "runs/cold", "--seed", "-1"), "seed of 0 or more, found -1"),
        (("view", "runs/cold", "--seconds", "0"), "positive number of seconds, found 0"),
        (("video", "runs/cold", PENDULUM, "--beside", "runs/hopper"), "The policy in runs/hopper"),
        (("video", "runs/cold", PENDULUM, "--out", "a.mov"), "written as .mp4 or .gif, found 'a.mov'"),
    ],
)
def test_mistakes_are_one_clear_sentence(words, message, capsys):
    status, _, err = run(capsys, *words)
    assert status == 2
    assert message in err
    assert "Traceback" not in err
