"""What a graph adds and multiplies before a linear layer, moved into the layer's own numbers.

In float32 that changes nothing but rounding and some steps' time; in int8 each such step is a change to
float32 and back between two layers that could have passed integers on.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

CHANNELS_FIRST = [0, 3, 1, 2]


def folded(model: Any) -> Any:
    """Move a shift before a MatMul, and the scale and shift of an image before a convolution, into them.

    Args:
        model: An ``onnx.ModelProto`` in float32.

    Returns:
        A new one; the same where nothing of the kind is in it, such as a convolution that pads (what it pads
        with would be scaled, too).
    """
    import onnx

    new = onnx.ModelProto()
    new.CopyFrom(model)
    graph = _Graph(new.graph)
    for node in list(new.graph.node):
        if node.op_type == "MatMul":
            _fold_shift(graph, node)
        elif node.op_type == "Conv":
            _fold_image(graph, node)
    graph.drop_unused()
    return new


def _fold_shift(graph: "_Graph", node: Any) -> None:
    """(x - c) W = x W - c W of rows x; one layer, so that no integer stands between product and sum."""
    shift, weight = graph.before(node.input[0], "Sub"), graph.constant(node.input[1])
    mean = None if shift is None else graph.constant(shift.input[1])
    if shift is None or mean is None or weight is None or weight.ndim != 2 or mean.shape != weight.shape[:1]:
        return
    rows = graph.before(shift.input[0], "Reshape")
    shape = None if rows is None else graph.constant(rows.input[1])
    if shape is None or len(shape) != 2:
        return
    bias = -(mean.astype(np.float64) @ weight.astype(np.float64))
    node.op_type = "Gemm"
    node.input[0] = shift.input[0]
    node.input.append(graph.add(f"{node.output[0]}.bias", bias))


def _fold_image(graph: "_Graph", node: Any) -> None:
    """W * (a x + b) = (W a) * x + W * b, channel by channel of an image of uint8."""
    turn = graph.before(node.input[0], "Transpose")
    shape = None if turn is None else graph.before(turn.input[0], "Reshape")
    shifted = None if shape is None else graph.before(shape.input[0], "Add")
    if turn is None or shape is None or shifted is None:
        return
    parts = graph.with_constant(shifted)
    scaled = None if parts is None else graph.before(parts[0], "Mul")
    factors = None if scaled is None else graph.with_constant(scaled)
    cast = None if factors is None else graph.before(factors[0], "Cast")
    weight = graph.constant(node.input[1])
    if parts is None or factors is None or cast is None or weight is None:
        return
    pads = any(graph.option(node, "pads") or []) or graph.option(node, "auto_pad") not in (None, b"NOTSET")
    if pads or graph.option(node, "group") not in (None, 1) or graph.option(turn, "perm") != CHANNELS_FIRST:
        return
    shift, scale = (_by_channel(each, weight.shape[1]) for each in (parts[1], factors[1]))
    if shift is None or scale is None:
        return
    exact = weight.astype(np.float64)
    bias = np.einsum("oihw,i->o", exact, shift)
    given = graph.constant(node.input[2]) if len(node.input) > 2 else None
    if len(node.input) > 2 and given is None:
        return
    bias = bias if given is None else bias + given
    shape.input[0] = cast.output[0]
    name = node.output[0]
    image = node.input[0]
    del node.input[:]
    node.input.extend(
        [
            image,
            graph.add(f"{name}.weight", exact * scale[None, :, None, None]),
            graph.add(f"{name}.bias", bias),
        ]
    )


def _by_channel(values: NDArray[Any], channels: int) -> NDArray[np.float64] | None:
    """The number of each channel, if what is added or multiplied along a row of pixels repeats itself so."""
    if values.ndim != 1 or values.size % channels:
        return None
    pixels = values.astype(np.float64).reshape(-1, channels)
    return pixels[0] if bool((pixels == pixels[0]).all()) else None


class _Graph:
    """Nodes of a graph by what they make, with its constants."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self.graph = graph
        self.constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        self.made = {output: node for node in graph.node for output in node.output}
        self.uses = [name for node in graph.node for name in node.input] + [out.name for out in graph.output]

    def before(self, name: str, kind: str) -> Any:
        """The node of a kind that makes a value for one reader alone, if that is what makes it."""
        node = self.made.get(name)
        return node if node is not None and node.op_type == kind and self.uses.count(name) == 1 else None

    def constant(self, name: str) -> NDArray[Any] | None:
        return self.constants.get(name)

    def with_constant(self, node: Any) -> tuple[str, NDArray[Any]] | None:
        """Of a node of two inputs the one that is computed, and the one that is a constant."""
        for value, other in (node.input, node.input[::-1]):
            if other in self.constants and value not in self.constants:
                return value, self.constants[other]
        return None

    def option(self, node: Any, name: str) -> Any:
        from onnx import helper

        return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), None)

    def add(self, name: str, values: NDArray[np.float64]) -> str:
        """Add a constant in float32; returns its name."""
        from onnx import numpy_helper

        self.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def drop_unused(self) -> None:
        """Remove nodes and constants that nothing reads."""
        while True:
            used = {name for node in self.graph.node for name in node.input}
            used |= {each.name for each in self.graph.output}
            idle = [node for node in self.graph.node if not used & set(node.output)]
            if not idle:
                break
            for node in idle:
                self.graph.node.remove(node)
        for each in [each for each in self.graph.initializer if each.name not in used]:
            self.graph.initializer.remove(each)
