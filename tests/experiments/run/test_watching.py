"""`status` and `status --watch`: what is shown of a run, on a terminal and elsewhere, and when it ends."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import ExitStack

import pytest

from tests.experiments.index.made import finish, make_run
from warmstart.__main__ import main
from warmstart.core.errors import WarmstartError
from warmstart.experiments.records.claims import Claim
from warmstart.experiments.records.status import Status, StatusWriter, write_status
from warmstart.experiments.run import watching

HERE = f"{os.uname().nodename}:{os.getpid()}"
COMMAND = [sys.executable, "-m", "warmstart"]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(watching, "SECONDS_BETWEEN_LOOKS", 0.02)


@pytest.fixture
def run(tmp_path):
    """A run that nobody has begun: its folder, and its trials' by what they are called."""
    made = make_run(tmp_path / "run", "run", "Hopper-v5", 1, "[scratch, fine_tune]")
    return tmp_path / "run", {trial.label: trial for trial in made.unique}


def folder(run, label):
    return run[0] / "trials" / run[1][label].hash


def fail(run, label, error):
    write_status(folder(run, label), Status("failed", 1, 2, 1, 1, 0.0, 1.0, error=error))


class Terminal:
    """A process with a terminal of its own, of 24 lines and 80 columns.

    A shell outlives it there: a terminal whose last process ends may lose what was written last.
    """

    def __init__(self, command, rows=24, columns=80):
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ |= {"TERM": "xterm", "COLUMNS": str(columns), "LINES": str(rows)}
            script = 'trap : INT; "$@"; echo "[ended $?]"; read -r _'
            os.execv("/bin/sh", ["sh", "-c", script, "sh", *command])
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.written = ""

    def read_until(self, pattern, seconds=60):
        """Read until it has written something; returns the match."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.written)):
            assert time.monotonic() < deadline, self.written[-3000:]
            if select.select([self._master], [], [], 0.1)[0]:
                self.written += os.read(self._master, 1 << 16).decode(errors="replace")
        return found

    def press(self, keys):
        os.write(self._master, keys)

    def end(self):
        """Wait until the process has ended; returns its exit status."""
        found = self.read_until(r"\[ended (\d+)\]\s*")
        self.written = self.written[: found.start()]
        os.close(self._master)
        os.waitpid(self.pid, 0)
        return int(found[1])

    @property
    def screens(self):
        """What it drew, one screen after the other, without its commands."""
        screens = re.split(r"(?:\r?\x1b\[2K(?:\x1b\[1A)?)+", self.written)
        return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen).replace("\r", "") for screen in screens]


def test_a_terminal_shows_it_in_place_until_all_is_done(run):
    source = "source · seed 0"
    with Claim(folder(run, source)):
        writer = StatusWriter(folder(run, source), 102_400)
        writer.progress(51_200, 123.4)
        terminal = Terminal([*COMMAND, "status", str(run[0]), "--watch"])
        terminal.read_until(r"1 running, 3 waiting")
        writer.progress(76_800, 234.5)
        terminal.read_until(r"234\.5")
        writer.end("done")
    for trial in run[1].values():
        finish(run[0], trial)
    assert terminal.end() == 0
    screens = terminal.screens
    running = next(screen for screen in screens if "123.4" in screen)
    assert re.search(rf"▶ +source +0 +51.2k/102k +123.4 +\d:\d\d left +{HERE}\s", running)
    assert running.splitlines()[2].startswith("▶"), "running trials stand first"
    assert "4 trials: 4 done" in screens[-1]
    assert terminal.written.rstrip().endswith("\x1b[?25h"), "the cursor is back"


def test_ctrl_c_ends_the_watching_and_only_that(run):
    terminal = Terminal([*COMMAND, "status", str(run[0]), "--watch"])
    terminal.read_until("4 waiting")
    terminal.press(b"\x03")
    assert terminal.end() == 130
    shown = terminal.written
    assert shown.rstrip().endswith("warmstart: No longer watching; the run itself isn't touched.")
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is back"
    assert "Traceback" not in shown


def test_a_hundred_trials_fit_into_24_lines(tmp_path, capsys):
    made = make_run(tmp_path, "many", "Hopper-v5", 25)
    run = (tmp_path, {trial.label: trial for trial in made.unique})
    assert len(run[1]) == 101
    labels = list(run[1])
    for number, label in enumerate(labels[:60]):
        write_status(folder(run, label), Status("done", 9, 9, 1, 1, 0.0, 1.0, last_return=float(number)))
    for number, label in enumerate(labels[60:66]):
        fail(run, label, f"ValueError: reason {number} " + "which takes a while to tell " * 9)
    with ExitStack() as claims:
        for label in labels[66:70]:
            claims.enter_context(Claim(folder(run, label)))
            StatusWriter(folder(run, label), 100)
        terminal = Terminal([*COMMAND, "status", str(tmp_path), "--watch"])
        terminal.read_until(r"not shown\)[\s\S]*other reasons")
        terminal.press(b"\x03")
        assert terminal.end() == 130
        assert main(["status", str(tmp_path)]) == 0
    screen = next(screen for screen in terminal.screens if "not shown" in screen)
    lines = screen.splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert [line[0] for line in lines[2:13]] == ["▶"] * 4 + ["✗"] * 6 + ["✓"]
    assert "101 trials: 4 running, 6 failed, 60 done, 31 waiting (" in screen
    assert "failed: ValueError: reason 0 which takes" in screen
    assert "failed for 4 other reasons: see `warmstart status`" in screen
    whole = capsys.readouterr().out
    assert len(re.findall(r"(?m)^[▶✗✓·] ", whole)) == 101
    assert whole.count("failed: ValueError: reason") == 6


def test_lines_say_what_changes_where_there_is_no_terminal(run, quick, capsys):
    """The study goes on in a thread; a failed trial that is tried again isn't the end."""
    chance, source, cold, warm = run[1]
    seen = threading.Event()

    def study():
        finish(run[0], run[1][chance])
        fail(run, source, "ValueError: no")
        with Claim(folder(run, source)):
            writer = StatusWriter(folder(run, source), 102_400)
            writer.progress(51_200, 20.0)
            time.sleep(0.5)
            writer.end("done")
        finish(run[0], run[1][cold])
        fail(run, warm, "its source agent\nfailed\x1b[2J")
        seen.set()

    thread = threading.Thread(target=study)
    thread.start()
    assert main(["status", str(run[0]), "--watch"]) == 1
    thread.join()
    assert seen.is_set(), "it ended too early"
    lines = capsys.readouterr().out.splitlines()
    assert any(re.fullmatch(rf"{source}: (started|running) on {HERE}.*", line) for line in lines)
    assert f"{source}: done 51,200/102,400 steps, return 20.0 [" in "\n".join(lines)
    assert lines[-1] == "4 trials: 1 failed, 3 done"
    assert len(lines) == len(set(lines)), "nothing is said twice"
    assert "\x1b" not in "".join(lines)


def test_it_ends_at_once_where_all_is_done(run, quick, capsys):
    for trial in run[1].values():
        finish(run[0], trial)
    assert main(["status", str(run[0]), "--watch"]) == 0
    assert capsys.readouterr().out.endswith("\n4 trials: 4 done\n")


def test_a_run_that_nobody_runs_and_a_folder_that_comes_back(run, quick, capsys):
    listed = run[0] / "trials.json"

    def study():
        time.sleep(1.5)  # longer than it takes to be idle
        listed.rename(run[0] / "away")
        time.sleep(0.1)
        (run[0] / "away").rename(listed)
        for trial in run[1].values():
            finish(run[0], trial)

    thread = threading.Thread(target=study)
    thread.start()
    assert main(["status", str(run[0]), "--watch"]) == 0
    thread.join()
    out = capsys.readouterr().out
    assert f"No process runs a trial of it now: `warmstart resume {run[0]}` goes on.\n" in out
    assert "Trying again: " in out


def test_a_folder_that_does_not_come_back_is_an_error(run, quick):
    thread = threading.Timer(0.3, (run[0] / "trials.json").unlink)
    thread.start()
    with pytest.raises(WarmstartError, match=r"is not a run: it has no trials.json"):
        watching.watch(run[0])
    thread.join()


def test_what_a_stranger_wrote_commands_no_terminal(run, capsys):
    listed = json.loads((run[0] / "trials.json").read_text())
    listed["trials"][2]["arm"] = "[red]x[/nothing]\x1b[2J\n" + "y" * 300
    (run[0] / "trials.json").write_text(json.dumps(listed))
    fail(run, "source · seed 0", "[/red]\x1b]0;title\x07")
    assert main(["status", str(run[0])]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"[red]x[/nothing]\x1b[2J y" in out
    assert r"failed: [/red]\x1b]0;title\x07 (source · seed 0)" in out
    assert len(re.findall(r"(?m)^[▶✗✓·] ", out)) == 4
    assert main(["status", str(run[0]), "--watch", "--json"]) == 2
    assert "--watch shows a run to people, --json to programs: leave one" in capsys.readouterr().err
    assert main(["status", str(run[0] / "trials"), "--watch"]) == 2


@pytest.mark.slow
def test_a_real_study_is_watched_from_begin_to_end(tmp_path, start_process):
    (tmp_path / "study.yaml").write_text(
        "name: r\nsource: InvertedPendulum-v5\nsource_steps: 5120\n"
        "target: InvertedPendulum-v5@gravity=x1.5\n"
        "algorithm: {name: ppo, n_envs: 4, n_steps: 64}\ntarget_steps: 5120\nseeds: 1\n"
        "arms: [scratch, fine_tune]\nevaluation: {every: 1280, episodes: 2}\n"
    )
    study = start_process([*COMMAND, "compare", "study.yaml"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    run = tmp_path / "runs" / "r"
    while not (run / "trials.json").is_file():
        assert study.poll() is None
        time.sleep(0.1)
    lines = start_process([*COMMAND, "status", str(run), "--watch"], stdout=subprocess.PIPE)
    terminal = Terminal([*COMMAND, "status", str(run), "--watch"])
    terminal.read_until(r"▶[^\n]*left[^\n]*:\d+", 120)
    assert study.wait(300) == 0
    assert terminal.end() == 0
    assert "4 trials: 4 done" in terminal.screens[-1]
    told = lines.communicate(timeout=60)[0].splitlines()
    assert lines.returncode == 0
    assert sum(" started on " in line or " running on " in line for line in told) >= 3
    assert told[-1] == "4 trials: 4 done"
