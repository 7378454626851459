"""A simulated robot behind UDP that fails like hardware: late, lost and reordered packets, dead sensors.

It runs in real time in a process of its own, at its task's control rate.
"""

import contextlib
import gc
import heapq
import os
import select
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.core.bounds import Natural
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read, to_plain
from warmstart.envs.batched import BatchedEnv
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.deployment.flaws import Flaws
from warmstart.sim2real.deployment.runtime.udp import COMMAND, HELLO, MOST_BYTES, STOP, Wire
from warmstart.sim2real.deployment.signals import action_signal, observation_signals
from warmstart.sim2real.recordings.positions import columns

Values = dict[str, NDArray[Any]]
_START_SECONDS = 60.0


class SimulatedRobot:
    """A task behind UDP on this machine.

    It stands still until the first command. An episode that ends is followed by the next one's first
    observation a control step later.

    Args:
        task: A MuJoCo task; what its options and context say is the robot.
        flaws: Of link and sensors.
        seed: Of start states and of what happens to packets.
        port: To listen at; 0 takes any that is free.

    Attributes:
        address: ``udp://127.0.0.1:PORT``.
        overruns: Control steps that began more than a period late: the simulation wasn't in real time.

    Raises:
        WarmstartError: The task isn't MuJoCo's, a number isn't sound, or the port is taken.
    """

    def __init__(self, task: Task | str, flaws: Flaws | None = None, seed: int = 0, port: int = 0) -> None:
        self.flaws: Flaws = read(Flaws, to_plain(flaws or Flaws()))
        read(Natural, seed, ("seed",))
        task = Task.parse(task) if isinstance(task, str) else task
        self._env = make_vec(task, 1, seed, n_threads=1)
        inner: Any = self._env
        while not isinstance(inner, BatchedEnv):
            if not hasattr(inner, "env"):
                self._env.close()
                raise WarmstartError(f"Expected a MuJoCo task as a simulated robot, found {task}.")
            inner = inner.env
        self._sim = inner.sim
        self.period = float(inner.sim.dt[0])
        names = columns(inner.sim.model)
        self.wire = Wire(
            1 / self.period,
            observation_signals(self._env),
            action_signal(self._env),
            names["qpos"] + names["qvel"],
            str(task),
        )
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            self.close()
            raise WarmstartError(f"The port {port} can't be listened at: {error}.") from None
        self._socket.setblocking(False)
        self.address = f"udp://127.0.0.1:{self._socket.getsockname()[1]}"
        self.overruns = 0
        self._rng = np.random.default_rng([seed, 2])
        self._under_way: list[tuple[float, int, bytes, bool]] = []  # when, order, packet, whether it comes in
        self._order = count()
        self._peer: Any = None
        self._command: NDArray[Any] | None = None
        self._commanded = self._known = 0
        self._heard = 0.0
        self._number = self._episode = self._moved = 0
        self._ended = ""
        self._reward: float | None = None
        self._observation: Any = self._env.reset(seed=seed)[0]
        self._next = self._observation  # the first of the episode after the one that ended

    def serve(self, attached: bool = False) -> None:
        """Run until interrupted.

        Args:
            attached: Whether to end when standard input is closed, as by the end of who started it.
        """
        gc.collect()
        gc.freeze()  # looking through all that was imported would take a tenth of a second
        sources: list[Any] = [self._socket, *([sys.stdin] if attached else [])]
        due = time.monotonic()
        while True:
            moment = min([due, *(each[0] for each in self._under_way[:1])])
            ready, _, _ = select.select(sources, [], [], max(0.0, moment - time.monotonic()))
            if sys.stdin in ready and not os.read(sys.stdin.fileno(), 4096):
                return
            self._receive()
            self._deliver()
            now = time.monotonic()
            if now >= due:
                self._tick(now)
                due += self.period
                if now - due > self.period:
                    self.overruns += 1
                    due = now + self.period

    def close(self) -> None:
        """Close the socket and the simulation."""
        with contextlib.suppress(AttributeError):
            self._socket.close()
        self._env.close()

    def _receive(self) -> None:
        """Take packets from the socket; those of a peer go on as the link lets them."""
        while True:
            try:
                packet, sender = self._socket.recvfrom(MOST_BYTES)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue  # a runner that is gone
            if packet == HELLO:
                self._peer = sender
                self._commanded = 0
                self._send(self.wire.description())
            elif sender == self._peer:
                self._pass(packet, comes_in=True)

    def _pass(self, packet: bytes, comes_in: bool) -> None:
        """Let a packet take its time, or get lost."""
        if self._rng.random() < self.flaws.loss:
            return
        late = 1e-3 * (self.flaws.delay_ms + self.flaws.jitter_ms * self._rng.random())
        if not late and not comes_in:
            self._send(packet)
            return
        heapq.heappush(self._under_way, (time.monotonic() + late, next(self._order), packet, comes_in))

    def _deliver(self) -> None:
        """Hand over the packets whose time has come."""
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            _, _, packet, comes_in = heapq.heappop(self._under_way)
            if not comes_in:
                self._send(packet)
            elif packet == STOP:
                self._heard = 0.0
            elif packet.startswith(COMMAND):
                self._take(packet)

    def _take(self, packet: bytes) -> None:
        found = self.wire.unpack_command(packet)
        if found is None or found[0] <= self._commanded or not np.isfinite(found[1]).all():
            return
        self._commanded, self._command = found
        self._heard = time.monotonic()

    def _tick(self, now: float) -> None:
        """Move by a control period and tell what is observed."""
        if self._ended:
            self._episode, self._ended, self._reward = self._episode + 1, "", None
            self._observation = self._next
        elif self._command is not None:
            self._move(now)
        if self._peer is None:
            return
        self._number += 1
        flaws, moved = self.flaws, self._moved * self.period
        if flaws.silent_after is not None and moved > flaws.silent_after:
            return
        values = self._values()
        if flaws.nan_after is not None and moved > flaws.nan_after:
            first = next((v for v in values.values() if v.dtype.kind == "f"), None)
            if first is not None:
                first.flat[0] = np.nan
        state = np.concatenate([self._sim.qpos[0], self._sim.qvel[0]])
        if self._ended:
            state[:] = np.nan  # the simulation stands at the next episode's start already
        packet = self.wire.pack(
            self._number,
            self._number * self.period,
            values,
            state,
            episode=self._episode,
            known=self._known,
            reward=self._reward,
            ended=self._ended,
        )
        self._pass(packet, comes_in=False)

    def _move(self, now: float) -> None:
        """A control step under the newest command, or under zeros where that is too old."""
        action = self._command
        assert action is not None
        if now - self._heard > 1e-3 * self.flaws.command_timeout_ms:
            action = np.zeros_like(action)
        self._known = self._commanded
        space: Any = self._env.single_action_space
        found, rewards, ends, cuts, infos = self._env.step(np.clip(action, space.low, space.high)[None])
        self._moved += 1
        self._observation, self._reward = found, float(rewards[0])
        self._ended = "terminated" if ends[0] else "truncated" if cuts[0] else ""
        if self._ended:
            self._next, last = found, infos["final_obs"][0]
            whole = isinstance(last, dict)
            self._observation = {key: each[None] for key, each in last.items()} if whole else last[None]

    def _values(self) -> Values:
        """What is observed now, by signal; arrays of their own."""
        found: Any = self._observation
        whole = found if isinstance(found, dict) else {self.wire.observations[0].name: found}
        return {s.name: np.array(whole[s.name][0], s.dtype) for s in self.wire.observations}

    def _send(self, packet: bytes) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            self._socket.sendto(packet, self._peer)


@contextlib.contextmanager
def simulated_robot(
    task: Task | str, flaws: Flaws | None = None, seed: int = 0, plugins: Sequence[Path] = ()
) -> Iterator[str]:
    """Start a simulated robot in a process of its own, which ends with the context or with this process.

    Args:
        task: Its task.
        flaws: Of link and sensors.
        seed: See `SimulatedRobot`.
        plugins: Files that register the task.

    Yields:
        Its address.

    Raises:
        WarmstartError: It doesn't start; with what it said.
    """
    options = [
        f"--{key.replace('_', '-')}={value}" for key, value in to_plain(flaws or Flaws()).items() if value
    ]
    options += ["--plugin", *map(str, plugins)] if plugins else []
    command = [
        sys.executable,
        "-m",
        "warmstart",
        "robot",
        str(task),
        f"--seed={seed}",
        "--attached",
        *options,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
        address = process.stdout.readline().strip() if ready else ""
        if not address:
            process.kill()
            raise WarmstartError(f"The simulated robot didn't start. {process.stderr.read().strip()}")
        yield address
    finally:
        process.stdin.close()
        try:
            process.wait(5)
        except Exception:  # noqa: BLE001 (whatever keeps it, it has to go)
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
