"""Short versions of `tests.torture`, in a process of its own, which forks."""

import re
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("names", "every", "studies"),
    [(["ppo"], 67, 0), pytest.param(["ppo", "sac"], 97, 1, marks=pytest.mark.slow)],
)
def test_killed_trials_and_studies_leave_the_same_bytes(names: list[str], every: int, studies: int) -> None:
    options = ("--kills", str(2 * len(names)), "--studies", str(studies), "--cases", *names)
    operations = [f"{name}/{every}" for name in names]
    command = [sys.executable, "-m", "tests.torture", *options, "--operations", *operations]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    told = re.sub(r" \(\d+ s\)", "", done.stdout).splitlines()
    assert told[: len(names)] == [f"{name}: 2 SIGKILLs at random moments: the same bytes" for name in names]
    last = told[len(names) :]
    for name in names:
        line = rf"{name}: [1-9]\d* SIGKILLs, at each {every}th operation on the disk: the same bytes"
        assert re.fullmatch(line, last.pop(0))
    assert last == ["a study: 1 SIGKILLs of its scheduler: the same bytes"] * studies
