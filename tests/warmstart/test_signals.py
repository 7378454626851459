"""SIGTERM ends every command with one sentence and the exit status of convention, as Ctrl-C does."""

import os
import signal
import subprocess
import sys
import time

import pytest

from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.checkpoint import save_checkpoint
from warmstart.agents.settings.config import PPOConfig
from warmstart.core.threads import signals_as_interrupt

TASK = "InvertedPendulum-v5"
READY = "import pathlib, threading\nthreading.Timer(1.0, pathlib.Path({path!r}).touch).start()\n"
COMMANDS = {
    "evaluate": ("evaluate", "{checkpoint}", TASK, "--episodes", "100000"),
    "robustness": ("robustness", "{checkpoint}", TASK, "--sweep", "gravity=x0.5:x2:9", "--episodes", "10000"),
    "pretrain": ("pretrain", f"{TASK}:size=32", "--steps", "400000", "--out", "{folder}/e.safetensors"),
    "train": ("train", TASK, "--steps", "10000000", "--out", "{folder}/run"),
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    config = PPOConfig(n_envs=1, batch_size=32)
    env = make_training_env(config, TASK, 0)
    path = save_checkpoint(build_agent(config, env, 0), tmp_path_factory.mktemp("sound") / "checkpoint")
    env.close()
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_terminated_commands_say_so(name, checkpoint, tmp_path, opengl):
    """The plugin tells when the command is at work."""
    ready = tmp_path / "ready"
    (tmp_path / "plugin.py").write_text(READY.format(path=str(ready)))
    words = [word.format(checkpoint=checkpoint, folder=tmp_path) for word in COMMANDS[name]]
    command = [sys.executable, "-m", "warmstart", *words, "--plugin", str(tmp_path / "plugin.py")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        limit = time.monotonic() + 60
        while not ready.exists() and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.05)
        assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=60)[1].strip().splitlines()
    finally:
        process.kill()
    assert process.returncode == 143
    assert "Traceback" not in "".join(told)
    assert told[-1].startswith("warmstart: ")
    assert "nterrupted" in told[-1]


def test_one_inside_another_tells_both():
    outer, inner = [], []
    before = signal.getsignal(signal.SIGTERM)
    with signals_as_interrupt(outer), signals_as_interrupt(inner):
        handler = signal.getsignal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            handler(signal.SIGTERM, None)
    assert inner == [signal.SIGTERM]
    assert outer == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_ignored_signals_stay_ignored():
    received = []
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with signals_as_interrupt(received):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == []
