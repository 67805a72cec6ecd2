"""``optimum.onnxruntime.ORTQuantizer``, for a model of nothing but the operators that are to be converted.

Given a whole file it would rewrite every Gemm, refuse ONNX ``Scan``, round an activation for all its readers because of
one of them, and stumble over symbols in shapes.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx.helper import make_node
from onnx.numpy_helper import from_array

from liquidlens.export.graph.conversion import PRODUCTS
from liquidlens.export.graph.surgery import floats
from liquidlens.lazy import without_garbage

Method = Literal["minmax", "entropy", "percentile"]


#: The inputs of a file for one scan, by name.
Feed = dict[str, NDArray[np.float32]]


class Calibration(NamedTuple):
    scans: list[Feed]
    method: Method


def quantize(model: onnx.ModelProto, whole: onnx.ModelProto, calibration: Calibration | None) -> onnx.ModelProto:
    with without_garbage():
        from optimum.onnxruntime import AutoQuantizationConfig, ORTQuantizer  # takes seconds

    # Weights of seven bits: x86 processors without VNNI saturate sums of two products of eight, and would differ.
    config = AutoQuantizationConfig.avx512(
        is_static=calibration is not None, per_channel=True, reduce_range=True, operators_to_quantize=list(PRODUCTS)
    )
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "chosen.onnx"
        ranges = None
        if calibration is not None:
            onnx.save(_with_lists_as_inputs(model), path)
            inputs = [value.name for value in model.graph.input]
            activations = run(whole, inputs, calibration.scans)
            ranges = ORTQuantizer(path).fit(
                ({f"{name}.list": value for name, value in zip(inputs, values, strict=True)} for values in activations),
                _calibration_config(calibration.method),
                onnx_augmented_model_name=str(Path(folder) / "augmented.onnx"),
                operators_to_quantize=list(PRODUCTS),
            )
        onnx.save(model, path)
        ORTQuantizer(path).quantize(config, folder, file_suffix="int8", calibration_tensors_range=ranges)
        return onnx.load(Path(folder) / "chosen_int8.onnx")


def _calibration_config(method: Method) -> Any:
    from optimum.onnxruntime import AutoCalibrationConfig

    configure = {
        "minmax": AutoCalibrationConfig.minmax,
        "entropy": AutoCalibrationConfig.entropy,
        "percentile": AutoCalibrationConfig.percentiles,
    }
    described = SimpleNamespace(info=SimpleNamespace(builder_name="", config_name=""), split="", num_rows=0)
    return configure[method](described)  # what it asks of a data set is for its log only


def _with_lists_as_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The calibration puts every sample into a list of one: a model whose inputs have that axis, and lose it."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for value in result.graph.input:
        result.graph.node.insert(0, make_node("Squeeze", [f"{value.name}.list", "list.axis"], [value.name]))
        value.name += ".list"
    result.graph.initializer.append(from_array(np.array([0]), "list.axis"))
    return result


def run(proto: onnx.ModelProto, names: list[str], scans: Iterable[Feed]) -> Iterator[list[NDArray[np.float32]]]:
    """What the file computes for the float tensors `names`, scan by scan."""
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    outputs = {value.name for value in proto.graph.output}
    probe.graph.output.extend(floats(name for name in names if name not in outputs))
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    for scan in scans:
        yield session.run(names, scan)


def names_in_int8(graph: onnx.GraphProto) -> set[str]:
    """Names, as they were before quantization, of the nodes that compute in int8."""
    dequantized = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    static = {node.name for node in graph.node if node.op_type in PRODUCTS and dequantized.issuperset(node.input[:2])}
    dynamic = [node.name for node in graph.node if node.op_type == "MatMulInteger"]
    return static | {name.removesuffix("_quant").removesuffix("_MatMul") for name in dynamic}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer warns that it finds no language model's configuration, and the calibration prints."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
