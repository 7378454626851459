"""The contract of an exported policy: what its graph takes and gives, in which order, unit and rate.

It lies beside the graph as ``contract.json``, with the sha256 of both, and without these inside the graph as
metadata. Standard library only.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

FORMAT = 1
CONTRACT, GRAPH = "contract.json", "policy.onnx"
METADATA_KEY = "warmstart.contract"
"""Key of the contract in the graph's metadata."""
_MOST_BYTES = 1 << 24


class DeploymentError(Exception):
    """A policy, a contract or a robot that must not run; the message says why."""


@dataclass(frozen=True)
class Dimension:
    """One number of a signal."""

    name: str
    """What it is: ``bthigh.angle``."""
    unit: str = ""
    """Its unit: ``rad``, ``m/s``, ``N m``; empty where it has none."""
    low: float | None = None
    """Smallest value; None for no limit."""
    high: float | None = None
    """Largest value."""
    scale: float = 1.0
    """What 1 of it is in its unit: 120 where a control of 1 is 120 N m. Limits are those of the control."""


@dataclass(frozen=True)
class Signal:
    """An observation that the graph takes, or the action that it gives."""

    name: str
    """Name of the graph's input or output."""
    shape: tuple[int, ...]
    """Without the leading axis of the batch, which robots have at 1."""
    dtype: str
    """``float32``, ``uint8`` (frames) or ``int64`` (discrete actions)."""
    dimensions: tuple[Dimension, ...] = ()
    """The numbers in order, flattened; empty for frames, whose axes are height, width, channels."""


@dataclass(frozen=True)
class Carried:
    """State of the policy that goes from one step to the next: a history, an LSTM's cells."""

    input: str
    """Name of the graph's input; zeros at first."""
    output: str
    """Name of the output that is the next step's input."""
    shape: tuple[int, ...]
    """Without the leading axis of the batch."""
    dtype: str = "float32"
    """Type of its numbers."""


@dataclass(frozen=True)
class Statistics:
    """What the policy saw of a signal in its own task when it was exported; for telling drift."""

    mean: tuple[float, ...]
    """Of each dimension."""
    std: tuple[float, ...]
    """Of each dimension."""
    low: tuple[float, ...]
    """Smallest value of each."""
    high: tuple[float, ...]
    """Largest value of each."""


@dataclass(frozen=True)
class Contract:
    """Everything that a robot's side has to know of an exported policy."""

    algorithm: str
    """What trained it: ``ppo``, ``sac``, …"""
    observations: tuple[Signal, ...]
    """What the graph takes, raw: neither standardised nor stacked."""
    action: Signal
    """What the graph gives, in the actuators' units."""
    rate: float | None = None
    """Control rate in Hz; None where the task doesn't say."""
    states: tuple[Carried, ...] = ()
    """State that goes from one step to the next."""
    begins: str | None = None
    """Name of the input (shape (n,), float32) that is 1 in an episode's first step, 0 else; with states."""
    history: int = 1
    """Observations that the policy sees, the newest included; the graph remembers them."""
    task: str | None = None
    """Text of the task that it was trained in."""
    joints: Mapping[str, float] = field(default_factory=dict)
    """Default position of every joint, in rad or m, by name."""
    statistics: Mapping[str, Statistics] = field(default_factory=dict)
    """Of the observations by signal, frames left out, and of ``action``."""
    trained: Mapping[str, Any] = field(default_factory=dict)
    """How: ``steps``, ``method``, ``randomize``, ``imperfections``, ``curriculum``, ``return``, as known."""
    parity: Mapping[str, Any] = field(default_factory=dict)
    """What was compared with the trained policy at export, and the largest differences."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the libraries that wrote it."""
    source_sha256: str = ""
    """Fingerprint of the checkpoint."""
    graph_sha256: str = ""
    """Of ``policy.onnx``; empty inside of the graph."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, without hash."""
        return {"format": FORMAT, **json.loads(json.dumps(asdict(self), allow_nan=False))}

    @classmethod
    def from_json(cls, values: Any, place: str) -> "Contract":
        """Read what `to_json` gave.

        Raises:
            DeploymentError: It is something else, or of another version.
        """
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            found = values.get("format") if isinstance(values, dict) else type(values).__name__
            raise DeploymentError(f"{place} is no contract of format {FORMAT}: found {found!r:.60}.")
        given = {name: value for name, value in values.items() if name not in ("format", "sha256")}
        try:
            _check_numbers(given)
            contract: Contract = _read(cls, given, "contract")
            _check(contract)
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
            raise DeploymentError(f"{place}: {error}") from None
        return contract


def write_contract(contract: Contract, folder: Path) -> Path:
    """Write ``contract.json`` beside a graph that is there, with the graph's hash and its own.

    Returns:
        The file.
    """
    graph = hashlib.sha256((folder / GRAPH).read_bytes()).hexdigest()
    values = replace(contract, graph_sha256=graph).to_json()
    values["sha256"] = _digest(values)
    path = folder / CONTRACT
    path.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")
    return path


def read_contract(folder: Path) -> Contract:
    """Read the contract of an exported folder, and see that neither it nor the graph was changed.

    Raises:
        DeploymentError: A file is missing, foreign, edited or damaged.
    """
    path, graph = folder / CONTRACT, folder / GRAPH
    for each in (path, graph):
        if not each.is_file():
            raise DeploymentError(f"{folder} is no exported policy: {each.name} is missing.")
    if path.stat().st_size > _MOST_BYTES:
        raise DeploymentError(f"{path} has {path.stat().st_size:,} bytes, more than a contract has.")
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DeploymentError(f"{path} isn't JSON: {error}") from None
    contract = Contract.from_json(values, str(path))
    if values.get("sha256") != _digest(values):
        raise DeploymentError(f"{path} was changed after it was written: its sha256 differs.")
    if hashlib.sha256(graph.read_bytes()).hexdigest() != contract.graph_sha256:
        raise DeploymentError(f"{graph} was changed after the export: its sha256 isn't the contract's.")
    return contract


def _digest(values: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in values.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


_NESTED: dict[str, type] = {
    "observations": Signal,
    "action": Signal,
    "states": Carried,
    "dimensions": Dimension,
    "statistics": Statistics,
}
_MAPPINGS = ("joints", "trained", "parity", "versions")


def _read(kind: Any, values: Any, place: str) -> Any:
    """A dataclass from plain values."""
    if not isinstance(values, dict):
        raise TypeError(f"{place}: expected an object, found {values!r:.60}.")
    names = {each.name for each in fields(kind)}
    if unknown := sorted(set(values) - names):
        raise ValueError(f"{place} has no {unknown[0]!r:.60}.")
    return kind(**{name: _value(name, value, f"{place}.{name}") for name, value in values.items()})


def _value(name: str, value: Any, place: str) -> Any:
    if name in _MAPPINGS or name == "statistics":
        if not isinstance(value, dict):
            raise TypeError(f"{place}: expected an object, found {value!r:.60}.")
        return (
            {key: _read(Statistics, each, place) for key, each in value.items()}
            if name == "statistics"
            else value
        )
    if isinstance(value, list):
        inner = _NESTED.get(name)
        return tuple(value if inner is None else (_read(inner, each, place) for each in value))
    return _read(_NESTED[name], value, place) if name in _NESTED else value


def _check_numbers(value: Any) -> None:
    """See that every number of plain values can be computed with.

    Raises:
        ValueError: One can't.
    """
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _check_numbers(each)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a number is {value}.")
    elif isinstance(value, int) and abs(value) >= 1 << 63:
        raise ValueError("a whole number has more than 64 bits.")


def _check(contract: Contract) -> None:
    """See that a contract's values are of their kinds.

    Raises:
        ValueError: One isn't.
    """
    if not contract.observations:
        raise ValueError("a policy without observations.")
    signals: Sequence[Signal] = (*contract.observations, contract.action)
    for signal in signals:
        if not (
            isinstance(signal.name, str) and all(type(n) is int and 0 < n < 1 << 24 for n in signal.shape)
        ):
            raise ValueError(f"{signal.name!r:.60}: the shape {signal.shape!r:.80} is none.")
        if signal.dtype not in ("float32", "uint8", "int64"):
            raise ValueError(
                f"{signal.name}: the dtype {signal.dtype!r:.60} is none of float32, uint8, int64."
            )
        if signal.dimensions and len(signal.dimensions) != math.prod(signal.shape):
            raise ValueError(f"{signal.name}: {len(signal.dimensions)} names for the shape {signal.shape}.")
        for each in signal.dimensions:
            limits = (each.low, each.high)
            if not all(x is None or (type(x) in (int, float) and math.isfinite(x)) for x in limits):
                raise ValueError(f"{each.name}: the limits {limits!r:.60} aren't numbers.")
            if not (type(each.scale) in (int, float) and math.isfinite(each.scale)):
                raise ValueError(f"{each.name}: the scale {each.scale!r:.60} is no number.")
            if not (isinstance(each.name, str) and isinstance(each.unit, str)):
                raise ValueError(f"{each.name!r:.60}: names and units are texts.")
    for carried in contract.states:
        sizes = all(type(n) is int and 0 < n < 1 << 24 for n in carried.shape)
        if not sizes or carried.dtype not in ("float32", "uint8", "int64"):
            raise ValueError(f"{carried.input!r:.60}: the state {carried.shape!r:.80} is none.")
    if not all(type(each) in (int, float) for each in contract.joints.values()):
        raise ValueError("the joints' positions aren't numbers.")
    known = {each.name: math.prod(each.shape) for each in signals}
    for name, moments in contract.statistics.items():
        columns = (moments.mean, moments.std, moments.low, moments.high)
        if any(
            len(each) != known.get(name) or not all(type(x) in (int, float) for x in each) for each in columns
        ):
            raise ValueError(f"the statistics of {name!r:.60} aren't of its numbers.")
    texts = (contract.algorithm, contract.source_sha256, contract.graph_sha256, contract.task or "")
    if not all(isinstance(each, str) for each in texts) or type(contract.history) is not int:
        raise ValueError("algorithm, task and hashes are texts, and the history is a whole number.")
    if contract.rate is not None and not (
        type(contract.rate) in (int, float) and 0 < contract.rate < math.inf
    ):
        raise ValueError(f"the rate {contract.rate!r:.60} isn't a positive number.")
    if bool(contract.states) != (contract.begins is not None):
        raise ValueError("states need the name of the input that says where episodes begin, and only they.")
