"""Exported policies and robots for the tests, made without an export."""

import math
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from warmstart.envs.describe import describe
from warmstart.envs.vector import make_vec
from warmstart.sim2real.deployment.runtime.contract import (
    Carried,
    Contract,
    Dimension,
    Signal,
    Statistics,
    write_contract,
)
from warmstart.sim2real.deployment.runtime.robot import Reading
from warmstart.sim2real.deployment.signals import action_signal, observation_signals


def signal(name, n, low=-1.0, high=1.0):
    names = tuple(Dimension(f"{name}.{i}", "rad", low, high) for i in range(n))
    return Signal(name, (n,), "float32", names)


def contract_of(observation, action, rate, **others):
    return Contract("ppo", (observation,), action, rate, **others)


def write_linear(folder, contract, weight, bias=None):
    """A graph: action = observation · weight + bias. Weight of shape (d, m)."""
    weight = np.asarray(weight, np.float32)
    bias = np.zeros(weight.shape[1], np.float32) if bias is None else np.asarray(bias, np.float32)
    (observation,), action = contract.observations, contract.action
    graph = helper.make_graph(
        [helper.make_node("Gemm", [observation.name, "weight", "bias"], [action.name])],
        "linear",
        [helper.make_tensor_value_info(observation.name, TensorProto.FLOAT, ["n", len(weight)])],
        [helper.make_tensor_value_info(action.name, TensorProto.FLOAT, ["n", len(bias)])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    return _write(folder, graph, contract)


def write_counting(folder, contract):
    """A graph whose action is its state: 1 in an episode's first step, else one more than before."""
    (observation,), action = contract.observations, contract.action
    nodes = [
        helper.make_node("Sub", ["one", "begins"], ["goes_on"]),
        helper.make_node("Unsqueeze", ["goes_on", "axis"], ["kept"]),
        helper.make_node("Mul", ["state", "kept"], ["before"]),
        helper.make_node("Add", ["before", "one"], ["state_out"]),
        helper.make_node("ReduceSum", [observation.name, "axis"], ["sum"]),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["state_out", "nothing"], [action.name]),
    ]
    shape = ["n", 1]
    inputs = [
        helper.make_tensor_value_info(observation.name, TensorProto.FLOAT, ["n", *observation.shape]),
        helper.make_tensor_value_info("state", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("begins", TensorProto.FLOAT, ["n"]),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (action.name, "state_out")
    ]
    constants = {"one": np.float32([1]), "zero": np.float32([0]), "axis": np.array([1])}
    known = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "counting", inputs, outputs, known)
    return _write(folder, graph, contract)


def _write(folder, graph, contract):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "policy.onnx")
    write_contract(contract, folder)
    return folder


def counting_contract(rate=100.0):
    state = Carried("state", "state_out", (1,))
    return contract_of(
        signal("observation", 2), signal("action", 1, None, None), rate, states=(state,), begins="begins"
    )


def task_policy(folder, task, gain=0.0, bias=None, seed=0):
    """A linear policy for a task, small random weights times `gain`, with statistics of a short rollout."""
    env = make_vec(task, 1, 0)
    try:
        (observation,), action = observation_signals(env), action_signal(env)
    finally:
        env.close()
    d, m = math.prod(observation.shape), math.prod(action.shape)
    weight = gain * np.random.default_rng(seed).standard_normal((d, m)) / math.sqrt(d)
    statistics = {
        "observation": Statistics((0.0,) * d, (1.0,) * d, (-10.0,) * d, (10.0,) * d),
        "action": Statistics((0.0,) * m, (1.0,) * m, (-3.0,) * m, (3.0,) * m),
    }
    rate = describe(task).control_rate
    contract = contract_of(observation, action, rate, task=str(task), statistics=statistics)
    return write_linear(folder, contract, weight, bias)


class FakeRobot:
    """A robot in this process that answers at once; what it observes is what a function of the time says."""

    measured = ()

    def __init__(self, contract, observe=None, clock=time.monotonic):
        self.rate, self.observations, self.action = contract.rate, contract.observations, contract.action
        self._observe = observe or (lambda number: np.zeros(self.observations[0].shape, np.float32))
        self._begin, self._clock = None, clock
        self._newest = None
        self.commands = []
        self.stopped = False

    def observe(self):
        self._begin = self._begin or self._clock()
        number = int((self._clock() - self._begin) * self.rate)
        if self._newest is None or number > self._newest.number:
            values = self._observe(number)
            if values is not None:
                self._newest = Reading(number, number / self.rate, {self.observations[0].name: values})
        return self._newest

    def act(self, action):
        self.commands.append(action.copy())

    def stop(self):
        self.stopped = True
