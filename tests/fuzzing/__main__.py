"""The long run: `python -m tests.fuzzing --inputs 100000`; a table says what became of the inputs."""

import argparse
import contextlib
import hashlib
import mmap
import os
import resource
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzzing.mutators import mutate
from tests.fuzzing.targets import TARGETS, Target
from tests.fuzzing.watch import SECONDS, WAITING, watch

KINDS = ("accepted", "refused", "unclear", "hang", "crash")
_SLOTS = len(KINDS) + 1
ADDRESSES = 8 << 30
"""Bytes of address space that a process may take beside what it has."""
KEPT = 3
"""Inputs kept of each kind of fault."""


@dataclass
class Shared:
    """Numbers that a process shares with its parent: the input it is at, and how many ended how."""

    memory: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 8 * _SLOTS))

    def get(self) -> list[int]:
        """The next input's number, then the counts by `KINDS`."""
        return list(struct.unpack_from(f"<{_SLOTS}q", self.memory))

    def set(self, values: list[int]) -> None:
        """Replace them."""
        struct.pack_into(f"<{_SLOTS}q", self.memory, 0, *values)


def content_of(target: Target, found: "list[bytes]", seed: int, number: int) -> bytes:
    """The input of a number, always the same."""
    return mutate(Random(f"{seed} {target.name} {number}"), found, target.ways)


def keep(folder: Path, target: Target, number: int, content: bytes, why: str) -> None:
    """Keep an input that showed a fault, a few of each kind."""
    kind = hashlib.sha256("".join(c for c in why[:70] if not c.isdigit()).encode()).hexdigest()[:8]
    place = folder / target.name.replace(" ", "_")
    place.mkdir(parents=True, exist_ok=True)
    if len(list(place.glob(f"{kind}-*.input"))) < KEPT:
        (place / f"{kind}-{number}.input").write_bytes(content)
        (place / f"{kind}-{number}.txt").write_text(why + "\n")
        print(f"  {target.name}, input {number}: {why[:300]}", flush=True)


def work(target: Target, shared: Shared, inputs: int, seed: int, failures: Path) -> None:
    """Read inputs until all were, in a process of its own."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ADDRESSES, taken + ADDRESSES))
    scratch = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)) / "t"
    os.environ["WARMSTART_TRUSTED"] = str(scratch.with_name("trusted.json"))
    with target.opened(scratch) as (found, read):
        for content in found:  # what is imported late isn't a hang
            with contextlib.suppress(Exception):
                read(content)
        while (state := shared.get())[0] < inputs:
            content = content_of(target, list(found), seed, state[0])
            outcome = watch(lambda content=content: read(content), target.expected)
            if outcome.kind not in ("accepted", "refused"):
                keep(failures, target, state[0], content, outcome.why)
            state[0] += 1
            state[1 + KINDS.index(outcome.kind)] += 1
            shared.set(state)
            if "of memory" in outcome.why:  # its highest use can't be reset
                break
    scratch.parent.rmdir() if not any(scratch.parent.iterdir()) else None


def fuzz(target: Target, inputs: int, seed: int, failures: Path) -> list[int]:
    """Read so many inputs, in processes that may crash; returns the counts by `KINDS`."""
    shared, start, told = Shared(), time.monotonic(), time.monotonic()
    while shared.get()[0] < inputs:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(target, shared, inputs, seed, failures)
                status = 0
            finally:
                sys.stdout.flush()
                os._exit(status)
        at, since, code = -1, time.monotonic(), None
        while code is None:
            ended, status = os.waitpid(child, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if ended else None
            time.sleep(0.01)
            number = shared.get()[0]
            if number != at:
                at, since = number, time.monotonic()
            if time.monotonic() - since > 60 + WAITING * SECONDS:
                os.kill(child, signal.SIGKILL)
            if time.monotonic() - told > 30:
                told = time.monotonic()
                print(f"  {target.name}: {number:,} of {inputs:,}, {told - start:.0f} s", flush=True)
        state = shared.get()
        if code and at >= 0:
            with target.opened(Path(tempfile.mkdtemp()) / "t") as (found, _):
                content = content_of(target, list(found), seed, state[0])
            keep(failures, target, state[0], content, f"the process ended with {code}")
            state[0] += 1
            state[1 + KINDS.index("crash")] += 1
            shared.set(state)
    return shared.get()[1:]


def main() -> None:
    """Run the targets that were asked for, and say what became of their inputs."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs for each target")
    parser.add_argument("--target", action="append", choices=TARGETS, help="a target; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=Path, default=Path("runs/fuzzing"), help="folder for what failed")
    given = parser.parse_args()
    heads = " ".join(f"{kind:>9}" for kind in ("inputs", *KINDS, "seconds"))
    print(f"{'target':22} {heads}", flush=True)
    total = Counter[str]()
    for name in given.target or TARGETS:
        start = time.monotonic()
        counts = fuzz(TARGETS[name], given.inputs, given.seed, given.failures)
        total.update(dict(zip(KINDS, counts, strict=True)))
        row = " ".join(f"{count:>9,}" for count in counts)
        print(f"{name:22} {sum(counts):>9,} {row} {time.monotonic() - start:>9.1f}", flush=True)
    print(f"{'all':22} {total.total():>9,} " + " ".join(f"{total[kind]:>9,}" for kind in KINDS))
    sys.exit(1 if total.total() - total["accepted"] - total["refused"] else 0)


if __name__ == "__main__":
    main()
