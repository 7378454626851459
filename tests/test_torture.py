"""Short versions of `tests.torture`, in a process of its own, which forks."""

import re
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("names", "every", "studies"),
    [(["ppo"], 67, 0), pytest.param(["ppo", "sac"], 23, 1, marks=pytest.mark.slow)],
)
def test_killed_trials_and_studies_leave_the_same_bytes(names: list[str], every: int, studies: int) -> None:
    options = ("--kills", str(2 * len(names)), "--every", str(every), "--studies", str(studies))
    command = [sys.executable, "-m", "tests.torture", *options, "--cases", *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    told = re.sub(r" \(\d+ s\)", "", done.stdout).splitlines()
    assert told[: len(names)] == [f"{name}: 2 SIGKILLs at random moments: the same bytes" for name in names]
    last = told[len(names) :]
    assert re.fullmatch(
        rf"ppo: [1-9]\d* SIGKILLs, at each {every}. operation on the disk: the same bytes", last[0]
    )
    assert last[1:] == ["a study: 1 SIGKILLs of its scheduler: the same bytes"] * studies
