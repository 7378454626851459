"""A robot behind UDP: the packets, and the runner's side of them.

Every packet begins with four letters. ``WSh1`` asks who is there; ``WSd1`` answers with JSON: the rate, the
signals and the names of what is measured. ``WSo1`` is an observation, ``WSa1`` a command, ``WSs1`` the end of
a run. Numbers are in network byte order in heads and little-endian in arrays.
"""

import contextlib
import json
import math
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contract import DeploymentError, Dimension, Signal
from .robot import Reading

HELLO, DESCRIPTION, OBSERVATION, COMMAND, STOP = b"WSh1", b"WSd1", b"WSo1", b"WSa1", b"WSs1"
MOST_BYTES = 65_507
"""Of a UDP packet."""
_OBSERVATION = struct.Struct("!4sIIIBdd")  # letters, number, episode, command known, flags, time, reward
_COMMAND = struct.Struct("!4sI")
_ENDED = ("", "terminated", "truncated")
_HAS_REWARD = 4
_SENT = 1024
_STAMPED = 35  # Linux's SO_TIMESTAMPNS, which Python doesn't name
_STAMP = struct.Struct("@qq")
_BESIDE = socket.CMSG_SPACE(_STAMP.size)
_ASK_SECONDS, _ASK_AGAIN = 5.0, 0.1


@dataclass(frozen=True)
class Wire:
    """What a robot sends and takes, as both sides have to know it."""

    rate: float
    """Control rate in Hz."""
    observations: tuple[Signal, ...]
    """Signals of an observation, in the packet's order."""
    action: Signal
    """A command."""
    measured: tuple[str, ...] = ()
    """Names of the numbers after the signals, which are float64."""
    name: str = ""
    """What the robot is called."""

    def description(self) -> bytes:
        """The packet that says all this."""
        return DESCRIPTION + json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, packet: bytes, place: str) -> "Wire":
        """Read `description`.

        Raises:
            DeploymentError: It is something else.
        """
        try:
            values = json.loads(packet.removeprefix(DESCRIPTION))
            observations = tuple(_signal(each) for each in values["observations"])
            action, rate = _signal(values["action"]), float(values["rate"])
            if not 0 < rate < math.inf:
                raise ValueError(f"a rate of {rate}")
            return cls(rate, observations, action, tuple(map(str, values["measured"])), str(values["name"]))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            raise DeploymentError(
                f"{place} describes itself in a way that isn't understood: {error}."
            ) from None

    def pack(
        self,
        number: int,
        time: float,
        values: Mapping[str, NDArray[Any]],
        measured: NDArray[np.float64],
        *,
        episode: int = 0,
        known: int = 0,
        reward: float | None = None,
        ended: str = "",
    ) -> bytes:
        """An observation's packet; see `Reading`. `known` is the number of the newest command."""
        flags = _ENDED.index(ended) | (_HAS_REWARD if reward is not None else 0)
        head = _OBSERVATION.pack(OBSERVATION, number, episode, known, flags, time, reward or 0.0)
        parts = [np.ascontiguousarray(values[s.name], _little(s.dtype)).tobytes() for s in self.observations]
        return b"".join([head, *parts, measured.astype("<f8").tobytes()])

    def unpack(self, packet: bytes, arrived: float, sent: Mapping[int, float]) -> Reading | None:
        """An observation; None where the packet isn't a whole one.

        Args:
            packet: What came.
            arrived: When, by `time.monotonic`.
            sent: When commands were sent, by their number.
        """
        if len(packet) != self._size or not packet.startswith(OBSERVATION):
            return None
        _, number, episode, known, flags, at, reward = _OBSERVATION.unpack_from(packet)
        if flags & 3 >= len(_ENDED):
            return None
        values, start = {}, _OBSERVATION.size
        for signal in self.observations:
            kind = np.dtype(_little(signal.dtype))
            count = math.prod(signal.shape)
            values[signal.name] = np.frombuffer(packet, kind, count, start).reshape(signal.shape)
            start += count * kind.itemsize
        return Reading(
            number=number,
            time=at,
            values=values,
            arrived=arrived,
            episode=episode,
            reward=reward if flags & _HAS_REWARD else None,
            ended=_ENDED[flags & 3],
            measured=np.frombuffer(packet, "<f8", len(self.measured), start),
            answered=sent.get(known),
        )

    @property
    def _size(self) -> int:
        sizes = (math.prod(s.shape) * np.dtype(s.dtype).itemsize for s in self.observations)
        return _OBSERVATION.size + sum(sizes) + 8 * len(self.measured)

    def pack_command(self, number: int, action: NDArray[Any]) -> bytes:
        """A command's packet."""
        return _COMMAND.pack(COMMAND, number) + np.asarray(action, _little(self.action.dtype)).tobytes()

    def unpack_command(self, packet: bytes) -> tuple[int, NDArray[Any]] | None:
        """A command's number and action; None where the packet isn't a whole one."""
        kind = np.dtype(_little(self.action.dtype))
        count = max(1, math.prod(self.action.shape))
        if len(packet) != _COMMAND.size + count * kind.itemsize or not packet.startswith(COMMAND):
            return None
        action = np.frombuffer(packet, kind, count, _COMMAND.size).reshape(self.action.shape)
        return int(_COMMAND.unpack_from(packet)[1]), action


class UdpRobot:
    """A robot behind UDP.

    Args:
        host: Where it listens.
        port: Its port.

    Attributes:
        rate, observations, action, measured: As it described itself; see `Robot`.
        damaged: Packets that weren't whole and were dropped.

    Raises:
        DeploymentError: Nobody answers there, or not in these packets.
    """

    def __init__(self, host: str, port: int) -> None:
        self.place = f"udp://{host}:{port}"
        try:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.connect((host, port))
        except (OSError, OverflowError) as error:
            raise DeploymentError(f"{self.place} can't be reached: {error}.") from None
        try:
            self._wire = self._ask()
        except DeploymentError:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        if sys.platform == "linux":
            self._socket.setsockopt(socket.SOL_SOCKET, _STAMPED, 1)
        self.rate, self.observations = self._wire.rate, self._wire.observations
        self.action, self.measured = self._wire.action, self._wire.measured
        self.damaged = 0
        self._newest: Reading | None = None
        self._number = 0
        self._sent: dict[int, float] = {}

    def observe(self) -> Reading | None:
        """The newest observation, without waiting; None before the first."""
        before, came = self._newest, list[Reading]()
        while True:
            try:
                packet, beside, _, _ = self._socket.recvmsg(MOST_BYTES, _BESIDE)
            except BlockingIOError:
                break
            except ConnectionRefusedError:
                continue  # nobody listens there any more: the observations stop, which the watchdog sees
            found = self._wire.unpack(packet, _arrival(beside), self._sent)
            if found is None:
                self.damaged += not packet.startswith(DESCRIPTION)
            elif before is None or found.number > before.number:
                came.append(found)
        if came:
            *earlier, newest = sorted(came, key=lambda reading: reading.number)
            self._newest = replace(newest, earlier=tuple(earlier)) if earlier else newest
        return self._newest

    def act(self, action: NDArray[Any]) -> None:
        """Send a command; one that can't be sent is lost, as on the way."""
        self._number += 1
        self._sent[self._number] = time.monotonic()
        self._sent.pop(self._number - _SENT, None)
        self._send(self._wire.pack_command(self._number, action))

    def stop(self) -> None:
        """Say that the run is over, a few times since packets get lost."""
        for _ in range(5):
            self._send(STOP)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send(self, packet: bytes) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):  # it is lost
            self._socket.send(packet)

    def _ask(self) -> Wire:
        """Ask what it is, again and again since packets get lost."""
        end = time.monotonic() + _ASK_SECONDS
        self._socket.settimeout(_ASK_AGAIN)
        while time.monotonic() < end:
            try:
                self._socket.send(HELLO)
                packet = self._socket.recv(MOST_BYTES)
            except TimeoutError:
                continue
            except ConnectionRefusedError:
                time.sleep(_ASK_AGAIN)
                continue
            if packet.startswith(DESCRIPTION):
                return Wire.read(packet, self.place)
        raise DeploymentError(f"No robot answered at {self.place} within {_ASK_SECONDS:g} s.")


def _arrival(beside: Sequence[tuple[int, int, bytes]]) -> float:
    """When a packet came by `time.monotonic`: as the kernel says, else now."""
    now = time.monotonic()
    for level, kind, content in beside:
        if (level, kind) == (socket.SOL_SOCKET, _STAMPED) and len(content) == _STAMP.size:
            seconds, nanoseconds = _STAMP.unpack(content)
            return float(now - max(0.0, time.time() - seconds - 1e-9 * nanoseconds))
    return now


def _signal(values: Any) -> Signal:
    dimensions = tuple(
        Dimension(str(each["name"]), str(each["unit"]), _limit(each["low"]), _limit(each["high"]))
        for each in values["dimensions"]
    )
    shape = tuple(map(int, values["shape"]))
    if values["dtype"] not in ("float32", "uint8", "int64") or any(n < 1 for n in shape):
        raise ValueError(f"a signal of {values['dtype']!r:.40} and shape {shape}")
    if 8 * math.prod(shape) > 8 * MOST_BYTES:
        raise ValueError(f"a signal of shape {shape}, which no packet holds")
    return Signal(str(values["name"]), shape, values["dtype"], dimensions)


def _limit(value: Any) -> float | None:
    return None if value is None else float(value)


def _little(dtype: str) -> str:
    return {"float32": "<f4", "int64": "<i8", "uint8": "u1"}[dtype]
