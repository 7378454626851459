"""Smaller and faster graphs of one policy: quantised weights and activations, weights in half precision.

Quantisation is onnxruntime's. What it costs is measured in closed loop, elsewhere: a difference of actions
alone says little of a return.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.sim2real.export.folding import folded

Feed = Mapping[str, NDArray[Any]]
"""One input of a graph by name. Shapes: (1, …)."""
SMALL = 64
"""Numbers of a tensor that stays in float32: biases, means and limits."""
SMALL_LAYER = 1 << 15
"""Weights of a linear layer that stays in float32 behind convolutions: it takes microseconds, and decides."""
_HEAVY = ("Conv", "Gemm", "MatMul")
_BETWEEN = ("Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat")
"""What stays in int8 between convolutions."""


def compress(model: Any, kind: str, feeds: Sequence[Feed]) -> Any:
    """Make a smaller graph.

    Args:
        model: An ``onnx.ModelProto`` in float32.
        kind: One of `KINDS`.
        feeds: Inputs met in the task, by which ``int8`` decides the ranges of activations.

    Raises:
        WarmstartError: There is no such kind, or an operator of the graph has none.
    """
    if kind not in KINDS:
        raise unknown_name("quantisation", kind, KINDS)
    try:
        return KINDS[kind](model, feeds)
    except WarmstartError:
        raise
    except Exception as error:
        raise WarmstartError(f"{kind}: onnxruntime can't quantise this graph: {error}") from error


def _static(model: Any, feeds: Sequence[Feed]) -> Any:
    """Weights and activations in int8, ranges from calibration.

    Weights of a graph that convolves use 7 of the 8 bits: processors without VNNI add pairs of products up in
    16 bits, which overflow silently. That costs a frame's features more than the bit (errors of 0.56 against
    0.18 standard deviations); small layers lose by it (0.09 against 0.12 of an action's range).
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    if not feeds:
        raise WarmstartError("int8 needs inputs to calibrate on, found none.")
    model = folded(model)
    convolves = any(node.op_type == "Conv" for node in model.graph.node)
    weights = {each.name: int(np.prod(each.dims)) for each in model.graph.initializer}
    small = [
        node.name
        for node in model.graph.node
        if node.name and node.op_type in ("Gemm", "MatMul") and weights.get(node.input[1], 0) <= SMALL_LAYER
    ]
    return _through_files(
        model,
        lambda source, target: quantize_static(
            source,
            target,
            _reader(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*_HEAVY, *(_BETWEEN if convolves else ())],
            nodes_to_exclude=small if convolves else [],
            per_channel=True,
            reduce_range=convolves,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        ),
    )


def _dynamic(model: Any, feeds: Sequence[Feed]) -> Any:
    """Weights in int8, ranges of activations found at every step."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    del feeds
    return _through_files(
        model,
        lambda source, target: quantize_dynamic(
            source, target, op_types_to_quantize=["Gemm", "MatMul"], weight_type=QuantType.QInt8
        ),
    )


def _half(kind: str) -> Callable[[Any, Sequence[Feed]], Any]:
    """Weights in half precision, computed with in float32: half the file, the same speed."""

    def halved(model: Any, feeds: Sequence[Feed]) -> Any:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        del feeds
        stored = TensorProto.FLOAT16 if kind == "fp16" else TensorProto.BFLOAT16
        new = onnx.ModelProto()
        new.CopyFrom(model)
        casts = []
        for tensor in new.graph.initializer:
            if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) <= SMALL:
                continue
            name, values = tensor.name, numpy_helper.to_array(tensor)
            if kind == "fp16" and np.abs(values).max() > np.finfo(np.float16).max:
                raise WarmstartError(f"fp16: the tensor {name} holds numbers above 65,504.")
            small = helper.make_tensor(
                f"{name}.{kind}", stored, tensor.dims, values.ravel().astype(np.float32)
            )
            tensor.CopyFrom(small)
            casts.append(helper.make_node("Cast", [small.name], [name], to=TensorProto.FLOAT))
        nodes = [*casts, *new.graph.node]
        del new.graph.node[:]
        new.graph.node.extend(nodes)
        return new

    return halved


KINDS: dict[str, Callable[[Any, Sequence[Feed]], Any]] = {
    "int8": _static,
    "dynamic": _dynamic,
    "fp16": _half("fp16"),
    "bf16": _half("bf16"),
}
"""Kinds of smaller graphs by name."""


def _through_files(model: Any, write: Callable[[str, str], None]) -> Any:
    """What a function of onnxruntime's makes of a graph's file, shapes inferred first."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, written = (str(Path(folder) / name) for name in ("a.onnx", "b.onnx", "c.onnx"))
        onnx.save(model, plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        write(prepared, written)
        return onnx.load(written)


def _reader(feeds: Sequence[Feed]) -> Any:
    """Onnxruntime's reader of calibration data."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Feed] = iter(feeds)

        def get_next(self) -> Any:
            found = next(self.left, None)
            return None if found is None else dict(found)

        def rewind(self) -> None:
            self.left = iter(feeds)

    return Reader()
