"""Sound inputs of what exported policies bring with them, and the seals that strangers can renew."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile import write_json
from warmstart.sim2real.deployment.runtime.contract import (
    GRAPH,
    Carried,
    Contract,
    Dimension,
    Signal,
    Statistics,
    _digest,
    write_contract,
)
from warmstart.sim2real.deployment.runtime.log import Log
from warmstart.sim2real.deployment.runtime.robot import Reading
from warmstart.sim2real.deployment.runtime.udp import DESCRIPTION, Wire


class _Arm:
    """A robot of two numbers."""

    rate, measured = 25.0, ("hinge.position",)


def _contract() -> Contract:
    names = (Dimension("hinge.angle", "rad", -1.5, 1.5), Dimension("hinge.velocity", "rad/s"))
    force = Dimension("slide.force", "N", -3.0, 3.0)
    moments = Statistics((0.0, 0.1), (1.0, 2.0), (-3.0, -4.0), (3.0, 4.0))
    return Contract(
        "ppo",
        (Signal("observation", (2,), "float32", names),),
        Signal("action", (1,), "float32", (force,)),
        25.0,
        task="InvertedPendulum-v5",
        statistics={"observation": moments},
    )


def run_logs(folder: Path) -> Sequence[bytes]:
    """What the runner writes of a short run."""
    arm: Any = _Arm()
    log = Log(folder / "sound.csv", _contract(), arm)
    for i in range(12):
        seen = {"observation": np.array([0.1 * i, -0.2], np.float32)}
        reading = Reading(i, i / 25, seen, measured=np.array([0.1 * i]), reward=1.0)
        timing = (i / 25, 0.0, 1e-4, 2e-3, 3e-3)
        log.write(reading, np.array([0.5]), np.array([0.6]), timing, event="start" if i == 0 else "")
    log.write(None, np.array([0.0]), event="safe stop: the time is up")
    log.close()
    return [(folder / "sound.csv").read_bytes()]


def wires(_: Path) -> Sequence[bytes]:
    """How a robot behind UDP describes itself."""
    contract = _contract()
    wire = Wire(25.0, contract.observations, contract.action, ("hinge.position",), "arm")
    return [wire.description().removeprefix(DESCRIPTION)]


def packets(_: Path) -> Sequence[bytes]:
    """What it sends and takes."""
    values = {"observation": np.array([0.1, -0.2], np.float32)}
    sent = WIRE.pack(3, 0.12, values, np.array([0.1]), reward=1.0, ended="truncated")
    return [sent, WIRE.pack_command(4, np.array([0.5], np.float32))]


def contracts(folder: Path) -> Sequence[bytes]:
    """Contracts of a policy that remembers, and of one that sees frames."""
    place = folder / "policy"
    place.mkdir()
    (place / GRAPH).write_bytes(b"a graph")
    first = replace(
        _contract(),
        states=(Carried("history", "history_next", (3, 2)),),
        begins="begins",
        history=4,
        joints={"hinge": 0.0},
        trained={"steps": 10, "randomize": {"gear": "x0.5:x2"}},
        parity={"largest": 1e-7},
        versions={"torch": "2"},
        source_sha256="0" * 64,
    )
    frames = Signal("observation", (8, 8, 3), "uint8")
    second = Contract("dqn", (frames,), Signal("action", (), "int64", (Dimension("action", "", 0, 3),)))
    return [write_contract(each, place).read_bytes() for each in (second, first)]


def seal_contract(path: Path) -> None:
    """Write a contract's hash anew."""
    try:
        values = json.loads(path.read_bytes())
        values["sha256"] = _digest(values)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return
    write_json(path, values)


WIRE = Wire(25.0, _contract().observations, _contract().action, ("hinge.position",), "arm")
"""Of `packets`."""
