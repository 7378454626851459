"""Sound inputs of what exported policies bring with them, and the seals that strangers can renew."""

import json
from collections.abc import Sequence
from pathlib import Path

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


def contracts(folder: Path) -> Sequence[bytes]:
    """Contracts of a policy that remembers, and of one that sees frames."""
    place = folder / "policy"
    place.mkdir()
    (place / GRAPH).write_bytes(b"a graph")
    names = (Dimension("hinge.angle", "rad", -1.5, 1.5), Dimension("hinge.velocity", "rad/s"))
    action = Signal("action", (1,), "float32", (Dimension("slide.force", "N", -3.0, 3.0),))
    moments = Statistics((0.0, 0.1), (1.0, 2.0), (-3.0, -4.0), (3.0, 4.0))
    first = Contract(
        "ppo",
        (Signal("observation", (2,), "float32", names),),
        action,
        25.0,
        (Carried("history", "history_next", (3, 2)),),
        "begins",
        4,
        "InvertedPendulum-v5",
        {"hinge": 0.0},
        {"observation": moments},
        {"steps": 10, "randomize": {"gear": "x0.5:x2"}},
        {"largest": 1e-7},
        {"torch": "2"},
        "0" * 64,
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
