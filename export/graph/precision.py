"""Precision variants of a float32 file: weights stored as float16, and products computed in int8.

int8 is the work of ``optimum.onnxruntime.ORTQuantizer``, which sees only the operators that are to be converted, as a
model of their own; what it makes of them takes their place.  Given the whole file it would rewrite every Gemm, refuse
ONNX ``Scan``, round an activation for all its readers because of one of them, and stumble over symbols in shapes.
"""

import contextlib
import io
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto
from onnx.helper import make_graph, make_model, make_node, make_tensor_value_info
from onnx.numpy_helper import from_array, to_array

from liquidlens.errors import LiquidLensError

Method = Literal["minmax", "entropy", "percentile"]

#: Initializers with this prefix come from the network's parameters.
NETWORK = "network."
#: Operators that hold weights: those that int8 knows, and why it does not know the others.
PRODUCTS = ("Conv", "MatMul", "Gemm")
RECURRENT = dict.fromkeys(("LSTM", "GRU", "RNN"), "ai.onnx has no int8 form of it")
#: Smaller weights would make a larger file: float16 saves two bytes a weight and takes a Cast of 100 bytes, int8 saves
#: three and takes operators of 1200 to 1500 bytes.
WORTH_FLOAT16 = 64
WORTH_INT8 = 512


@dataclass(frozen=True)
class Converted:
    """A variant, or the file as it was if nothing could be converted.

    converted: operator -> how many of them compute in int8; "initializers" -> how many are stored as float16.
    left: operator that holds weights -> (how many stayed float32, why).
    """

    proto: onnx.ModelProto
    converted: dict[str, int]
    left: dict[str, tuple[int, str]]


class Calibration(NamedTuple):
    scans: list[NDArray[np.float32]]
    method: Method


def to_fp16(proto: onnx.ModelProto) -> Converted:
    """Store the network's weights as float16, each with one Cast behind it; everything computes in float32 as before.

    The initializer ``X`` becomes ``X.float16``, and ``X`` is what the Cast gives, so that nothing else changes, bodies
    of loops included.  All runtimes compute the same, and ONNX Runtime does the Casts once, when it loads the file.
    (ONNX Runtime's and onnxconverter-common's float16 converters write invalid files for these graphs: they convert
    outside of an ONNX ``Scan`` and not inside of it.)
    """
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    casts, stays = [], {}
    for tensor in result.graph.initializer:
        name = tensor.name
        if not name.startswith(NETWORK) or tensor.data_type != TensorProto.FLOAT:
            continue
        values = to_array(tensor)
        if values.size < WORTH_FLOAT16:
            stays[name] = f"fewer than {WORTH_FLOAT16} weights: a Cast takes more bytes than float16 saves"
        elif not (np.abs(values) <= np.finfo(np.float16).max).all():  # not for NaN, either
            stays[name] = "weights beyond the range of float16"
        else:
            casts.append(make_node("Cast", [f"{name}.float16"], [name], name, to=TensorProto.FLOAT))
            tensor.CopyFrom(from_array(values.astype(np.float16), f"{name}.float16"))
    result.graph.ClearField("node")
    result.graph.node.extend([*casts, *proto.graph.node])
    weights = [(node.op_type, name) for node, _ in _all_nodes(proto.graph) for name in node.input[:2]]
    left = [(operator, stays[name]) for operator, name in weights if name in stays and _holds_weights(operator)]
    return Converted(result, {"initializers": len(casts)} if casts else {}, _summary(left))


def to_int8_dynamic(proto: onnx.ModelProto) -> Converted:
    """MatMul and Gemm with weights in int8, whose activations are measured and rounded in every run.

    Not converted: Conv, for which ONNX Runtime has no fast kernel of this kind; recurrent products; small ones.
    """
    return _to_int8(proto, RECURRENT | {"Conv": "no fast kernel for int8 with ranges measured in the run"}, None)


def to_int8_static(
    proto: onnx.ModelProto, scans: Iterable[NDArray[np.float32]], method: Method = "minmax"
) -> Converted:
    """Conv, MatMul and Gemm in int8 between QuantizeLinear and DequantizeLinear, with ranges found by calibration.

    scans: raw, as the file's input takes them, in batches of any size; some hundred are enough, and the last two
    methods keep all that goes into and comes out of the products while they look.  "entropy" has optimum's 128 bins,
    which leave it no choice but the whole range (with more it cut off nearly all of what comes from masks, and
    probabilities were wrong by 0.9).  Not converted: recurrent products; small ones.

    A MatMul whose weights stand on the left, like that of a liquid layer's sensory synapses, is converted as by
    :func:`to_int8_dynamic`: between QuantizeLinear and DequantizeLinear ONNX Runtime would compute it in float32.

    Convolutions in int8 also move the activations that the out-of-distribution score reads, and silent channels count
    much in it: 9 of 10 usual scans were flagged.  So ``ood.center`` moves along, by the mean over the calibration scans
    (bias correction: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
    2019).

    Raises LiquidLensError if there are no scans.
    """
    calibration = Calibration([scan for batch in scans for scan in batch], method)
    if not calibration.scans:
        raise LiquidLensError(
            "int8-static needs scans for its calibration, and there are none: give it training scans."
        )
    result = _to_int8(proto, RECURRENT, calibration)
    if result.converted:
        _move_center(result.proto, proto, calibration.scans)
    return result


def _to_int8(proto: onnx.ModelProto, refused: Mapping[str, str], calibration: Calibration | None) -> Converted:
    tensors = {tensor.name: to_array(tensor) for tensor in proto.graph.initializer}
    read = [name for node, _ in _all_nodes(proto.graph) for name in node.input if name in tensors]
    uses = Counter(tensors[name].tobytes() for name in read)  # by value: exporters copy what every step reads
    chosen, left = [], []
    for node, in_body in _all_nodes(proto.graph):
        weight = next((name for name in node.input[:2] if name.startswith(NETWORK) and name in tensors), None)
        if weight is None or not _holds_weights(node.op_type):
            continue
        if node.op_type in refused:
            left.append((node.op_type, refused[node.op_type]))
        elif in_body or uses[tensors[weight].tobytes()] > 1:
            left.append((node.op_type, "recurrent: each step would add its rounding to that of the steps before"))
        elif tensors[weight].size < WORTH_INT8:
            left.append((node.op_type, f"fewer than {WORTH_INT8} weights: int8 takes more bytes than it saves"))
        else:
            chosen.append(node)
    result, converted = proto, Counter[str]()
    by_side = [[node for node in chosen if (node.input[0] in tensors) == on_the_left] for on_the_left in (False, True)]
    for nodes, ranges_from in zip(by_side, (calibration, None), strict=True):
        if nodes:
            quantized = _quantize(_alone(proto, nodes), proto, ranges_from)
            result = _replaced(result, nodes, quantized)
            in_int8 = _names_in_int8(quantized.graph)
            converted.update(node.op_type for node in nodes if node.name in in_int8)
            left += [(node.op_type, "the quantizer passed it over") for node in nodes if node.name not in in_int8]
    return Converted(result if converted else proto, dict(converted), _summary(left))


def _summary(left: list[tuple[str, str]]) -> dict[str, tuple[int, str]]:
    """From (operator, reason) of every node that stayed to operator -> (how many, reasons)."""
    summary = {}
    for operator in dict.fromkeys(operator for operator, _ in left):
        reasons = Counter(reason for other, reason in left if other == operator)
        texts = reasons if len(reasons) == 1 else [f"{count}: {reason}" for reason, count in reasons.items()]
        summary[operator] = (reasons.total(), "; ".join(texts))
    return summary


def _alone(proto: onnx.ModelProto, chosen: list[NodeProto]) -> onnx.ModelProto:
    """A model of the chosen nodes and their weights; its inputs are what they read from others, its outputs what they
    give."""
    weights = [tensor for tensor in proto.graph.initializer if any(tensor.name in node.input for node in chosen)]
    outputs = [name for node in chosen for name in node.output]
    inside = {tensor.name for tensor in weights} | set(outputs)
    inputs = dict.fromkeys(name for node in chosen for name in node.input if name not in inside)
    graph = make_graph(chosen, "chosen", _floats(inputs), _floats(outputs), weights)
    return make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)


def _quantize(model: onnx.ModelProto, whole: onnx.ModelProto, calibration: Calibration | None) -> onnx.ModelProto:
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
            activations = _run(whole, inputs, calibration.scans)
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


def _run(
    proto: onnx.ModelProto, names: list[str], scans: Iterable[NDArray[np.float32]]
) -> Iterator[list[NDArray[np.float32]]]:
    """What the file computes for the float tensors `names`, scan by scan."""
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    outputs = {value.name for value in proto.graph.output}
    probe.graph.output.extend(_floats(name for name in names if name not in outputs))
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    for scan in scans:
        yield session.run(names, {"scan": scan[None]})


def _names_in_int8(graph: onnx.GraphProto) -> set[str]:
    """Names, as they were before quantization, of the nodes that compute in int8."""
    dequantized = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    static = {node.name for node in graph.node if node.op_type in PRODUCTS and dequantized.issuperset(node.input[:2])}
    dynamic = [node.name for node in graph.node if node.op_type == "MatMulInteger"]
    return static | {name.removesuffix("_quant").removesuffix("_MatMul") for name in dynamic}


def _replaced(proto: onnx.ModelProto, chosen: list[NodeProto], quantized: onnx.ModelProto) -> onnx.ModelProto:
    """The file with the quantized nodes in the place of the chosen ones."""
    names = {node.name for node in chosen}
    nodes = _ordered([*(node for node in proto.graph.node if node.name not in names), *quantized.graph.node])
    made = {name for node in nodes for name in node.output}  # biases among them, under the names of their initializers
    read = {name for node in nodes for name in _reads(node)}
    tensors = {tensor.name: tensor for tensor in (*proto.graph.initializer, *quantized.graph.initializer)}
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    for field in ("node", "initializer", "value_info"):
        result.graph.ClearField(field)
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(tensor for name, tensor in tensors.items() if name in read - made)
    result.graph.value_info.extend(value for value in proto.graph.value_info if value.name in read)
    return result


def _move_center(proto: onnx.ModelProto, original: onnx.ModelProto, scans: list[NDArray[np.float32]]) -> None:
    """Move the center of the out-of-distribution score by what the mean description of the scans moved by."""
    described = [node.input[0] for node in proto.graph.node if node.op_type == "Sub" and node.input[1] == "ood.center"]
    for tensor in proto.graph.initializer:
        if tensor.name == "ood.center":
            before, after = (np.mean(list(_run(file, described, scans)), (0, 1, 2)) for file in (original, proto))
            tensor.CopyFrom(from_array(to_array(tensor) + (after - before), tensor.name))


def _ordered(nodes: list[NodeProto]) -> list[NodeProto]:
    """The nodes as they are, but each behind those that it reads from."""
    makers = {name: number for number, node in enumerate(nodes) for name in node.output}
    ordered: dict[int, NodeProto] = {}

    def place(number: int) -> None:
        if number not in ordered:
            for name in _reads(nodes[number]):
                if name and name in makers:
                    place(makers[name])
            ordered[number] = nodes[number]

    for number in range(len(nodes)):
        place(number)
    return list(ordered.values())


def _reads(node: NodeProto) -> list[str]:
    """All names that a node reads; those that its bodies read belong to the body or to the graph outside."""
    bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    inside = [name for body in bodies for inner in body.node for name in _reads(inner)]
    return [*node.input, *inside, *(value.name for body in bodies for value in body.output)]


def _all_nodes(graph: onnx.GraphProto, in_body: bool = False) -> Iterator[tuple[NodeProto, bool]]:
    """Every node, and whether it is in the body of another one."""
    for node in graph.node:
        yield node, in_body
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _all_nodes(attribute.g, True)


def _holds_weights(operator: str) -> bool:
    return operator in PRODUCTS or operator in RECURRENT


def _floats(names: Iterable[str]) -> list[onnx.ValueInfoProto]:
    return [make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]


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
