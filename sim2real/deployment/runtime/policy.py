"""The exported graph in onnxruntime: one thread, one robot, and the state that goes from step to step."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contract import GRAPH, METADATA_KEY, Contract, DeploymentError, read_contract

_WARM_UP = 20
"""Steps on zeros before the first, in which onnxruntime plans its memory."""
_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)", "int64": "tensor(int64)"}


class Policy:
    """An exported policy.

    Args:
        folder: Where ``policy.onnx`` and ``contract.json`` lie.

    Attributes:
        contract: What it takes and gives.

    Raises:
        DeploymentError: A file is missing or was changed, onnxruntime isn't installed or can't read the
            graph, or it isn't what the contract says.
    """

    def __init__(self, folder: str | Path) -> None:
        self.contract = read_contract(Path(folder))
        self._session = _open(Path(folder) / GRAPH)
        _check_graph(self._session, self.contract, Path(folder) / GRAPH)
        contract = self.contract
        self._outputs = [contract.action.name, *(state.output for state in contract.states)]
        self.reset()
        zeros = {s.name: np.zeros(s.shape, s.dtype) for s in contract.observations}
        for _ in range(_WARM_UP):
            self.act(zeros)
        self.reset()

    def reset(self) -> None:
        """Begin an episode: what the policy remembers is zero again."""
        self._states = {s.input: np.zeros((1, *s.shape), s.dtype) for s in self.contract.states}
        self._begins = True

    def act(self, values: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """The action on one observation.

        Args:
            values: Every signal of the contract by name, of its shape.

        Returns:
            In the actuators' units, not limited. Shape: that of the contract's action.
        """
        contract = self.contract
        feed: dict[str, NDArray[Any]] = {
            s.name: np.asarray(values[s.name], s.dtype).reshape(1, *s.shape) for s in contract.observations
        }
        if contract.begins is not None:
            feed |= self._states
            feed[contract.begins] = np.array([self._begins], np.float32)
        action, *states = self._session.run(self._outputs, feed)
        self._begins = False
        for state, value in zip(contract.states, states, strict=True):
            self._states[state.input] = value
        return np.asarray(action).reshape(contract.action.shape)


def _open(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise DeploymentError("To run a policy, onnxruntime is needed: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 (onnxruntime's are of many kinds)
        raise DeploymentError(f"onnxruntime can't load {path}: {error!s:.400}") from None


def _check_graph(session: Any, contract: Contract, path: Path) -> None:
    """See that a graph's inputs, outputs and metadata are the contract's.

    Raises:
        DeploymentError: They aren't; the difference is named.
    """
    states = [(each.input, each.shape, each.dtype) for each in contract.states]
    wanted = [(each.name, each.shape, each.dtype) for each in contract.observations] + states
    if contract.begins is not None:
        wanted.append((contract.begins, (), "float32"))
    given = [(contract.action.name, contract.action.shape, contract.action.dtype)]
    given += [(each.output, each.shape, each.dtype) for each in contract.states]
    for kind, ours, theirs in (
        ("input", wanted, session.get_inputs()),
        ("output", given, session.get_outputs()),
    ):
        there = {each.name: each for each in theirs}
        if set(there) != {name for name, _, _ in ours}:
            named = ", ".join(name for name, _, _ in ours)
            raise DeploymentError(
                f"{path}: the contract's {kind}s are {named}, the graph's {', '.join(there)}."
            )
        for name, shape, dtype in ours:
            if there[name].type != _TYPES.get(dtype):
                raise DeploymentError(
                    f"{path}: {kind} {name} is {there[name].type}, in the contract {dtype}."
                )
            sizes = tuple(there[name].shape[1:])
            known = all(isinstance(size, int) for size in sizes)
            if known and int(np.prod(sizes)) != int(np.prod(shape)):
                raise DeploymentError(
                    f"{path}: {kind} {name} has the shape {sizes}, in the contract {shape}."
                )
    held = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if held is not None and json.loads(held) != replace(contract, graph_sha256="").to_json():
        raise DeploymentError(f"{path}: the contract inside of the graph isn't the one that lies beside it.")
