"""What is folded into a layer gives the same numbers; what can't be stays."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from warmstart.sim2real.export.folding import folded

RANDOM = np.random.default_rng(0)


def made(nodes: list[Any], constants: dict[str, Any], shape: tuple[int, ...], kind: int, out: int) -> Any:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * out)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: Any, x: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def kinds(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


def shifted() -> Any:
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["r"]),
        helper.make_node("Sub", ["r", "mean"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    constants = {
        "rows": np.int64([-1, 3]),
        "mean": np.float32([1, 2, 3]),
        "w": np.float32([[1, 0], [0, 1], [2, 2]]),
    }
    return made(nodes, constants, (1, 3), TensorProto.FLOAT, 2)


def image(pads: int = 0, uneven: bool = False, bias: bool = True, **options: Any) -> Any:
    scale, shift = (np.tile(RANDOM.normal(size=3), 5).astype(np.float32) for _ in range(2))
    shift[-1] += uneven
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["r"]),
        helper.make_node("Cast", ["r"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["c", "scale"], ["m"]),
        helper.make_node("Add", ["shift", "m"], ["a"]),
        helper.make_node("Reshape", ["a", "pixels"], ["p"]),
        helper.make_node("Transpose", ["p"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "Conv", ["t", "w", *(["b"] if bias else [])], ["y"], **(options or {"pads": [pads] * 4})
        ),
    ]
    constants = {
        "rows": np.int64([1, 4, 15]),
        "pixels": np.int64([1, 4, 5, 3]),
        "scale": scale,
        "shift": shift,
        "w": RANDOM.normal(size=(2, 3, 3, 3)).astype(np.float32),
        **({"b": np.float32([1, -1])} if bias else {}),
    }
    return made(nodes, constants, (1, 4, 5, 3), TensorProto.UINT8, 4)


def test_a_shift_becomes_a_bias() -> None:
    model = folded(shifted())
    assert kinds(model) == ["Reshape", "Gemm"]
    assert [each.name for each in model.graph.initializer] == ["rows", "w", "y.bias"]
    # (4 - 1, 6 - 2, 8 - 3) W = (3 + 10, 4 + 10)
    np.testing.assert_array_equal(run(model, np.float32([[4, 6, 8]])), [[13, 14]])


@pytest.mark.parametrize("bias", [True, False])
def test_scale_and_shift_of_an_image_become_the_convolutions(bias: bool) -> None:
    model = image(bias=bias)
    new = folded(model)
    assert kinds(new) == ["Reshape", "Cast", "Reshape", "Transpose", "Conv"]
    x = RANDOM.integers(0, 256, (1, 4, 5, 3)).astype(np.uint8)
    np.testing.assert_allclose(run(new, x), run(model, x), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("model", [image(pads=1), image(auto_pad="SAME_UPPER"), image(uneven=True)])
def test_what_cannot_be_folded_stays(model: Any) -> None:
    assert kinds(folded(model)) == kinds(model)


def test_what_somebody_else_reads_stays() -> None:
    model = shifted()
    model.graph.output.append(helper.make_tensor_value_info("d", TensorProto.FLOAT, [None] * 2))
    assert kinds(folded(model)) == ["Reshape", "Sub", "MatMul"]
