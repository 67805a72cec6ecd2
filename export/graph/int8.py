"""The variants int8-dynamic and int8-static: products computed in int8."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.numpy_helper import from_array, to_array

from liquidlens.errors import LiquidLensError
from liquidlens.export.graph.conversion import NETWORK, RECURRENT, WITH_WEIGHTS, Converted, summarized
from liquidlens.export.graph.quantizer import Calibration, Feed, Method, names_in_int8, quantize, run
from liquidlens.export.graph.surgery import alone, nodes, replaced

#: The operators of int8 take 1200 to 1500 bytes, and it saves three bytes a weight.
WORTH_IT = 512


def to_int8_dynamic(proto: onnx.ModelProto) -> Converted:
    """MatMul and Gemm with weights in int8, whose activations are measured and rounded in every run.

    Not converted: Conv, for which ONNX Runtime has no fast kernel of this kind; recurrent products; small ones.
    """
    return _to_int8(proto, RECURRENT | {"Conv": "no fast kernel for int8 with ranges measured in the run"}, None)


def to_int8_static(
    proto: onnx.ModelProto, scans: Iterable[NDArray[np.float32] | Feed], method: Method = "minmax"
) -> Converted:
    """Conv, MatMul and Gemm in int8 between QuantizeLinear and DequantizeLinear, with ranges found by calibration.

    scans: raw, as the file's input takes them, or its inputs by name, in batches of any size; some hundred are enough,
    and the last two methods keep all that goes into and comes out of the products while they look.  "entropy" has
    optimum's 128 bins, which leave it no choice but the whole range (with more it cut off nearly all of what comes from
    masks, and probabilities were wrong by 0.9).  Not converted: recurrent products; small ones.

    A MatMul whose weights stand on the left, like that of a liquid layer's sensory synapses, is converted as by
    :func:`to_int8_dynamic`: between QuantizeLinear and DequantizeLinear ONNX Runtime would compute it in float32.

    Convolutions in int8 also move the activations that the out-of-distribution score reads, and silent channels count
    much in it: 9 of 10 usual scans were flagged.  So ``ood.center`` moves along, by the mean over the calibration scans
    (bias correction: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
    2019).

    Raises LiquidLensError if there are no scans.
    """
    calibration = Calibration([scan for batch in scans for scan in _singly(batch)], method)
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
    read = [name for node, _ in nodes(proto.graph) for name in node.input if name in tensors]
    uses = Counter(tensors[name].tobytes() for name in read)  # by value: exporters copy what every step reads
    chosen, left = [], []
    for node, in_body in nodes(proto.graph):
        weight = next((name for name in node.input[:2] if name.startswith(NETWORK) and name in tensors), None)
        if weight is None or node.op_type not in WITH_WEIGHTS:
            continue
        if node.op_type in refused:
            left.append((node.op_type, refused[node.op_type]))
        elif in_body or uses[tensors[weight].tobytes()] > 1:
            left.append((node.op_type, "recurrent: each step would add its rounding to that of the steps before"))
        elif tensors[weight].size < WORTH_IT:
            left.append((node.op_type, f"fewer than {WORTH_IT} weights: int8 takes more bytes than it saves"))
        else:
            chosen.append(node)
    result, converted = proto, Counter[str]()
    by_side = [[node for node in chosen if (node.input[0] in tensors) == on_the_left] for on_the_left in (False, True)]
    for group, ranges_from in zip(by_side, (calibration, None), strict=True):
        if group:
            quantized = quantize(alone(proto, group), proto, ranges_from)
            result = replaced(result, group, quantized)
            in_int8 = names_in_int8(quantized.graph)
            converted.update(node.op_type for node in group if node.name in in_int8)
            left += [(node.op_type, "the quantizer passed it over") for node in group if node.name not in in_int8]
    return Converted(result if converted else proto, dict(converted), summarized(left))


def _singly(batch: NDArray[np.float32] | Feed) -> Iterator[Feed]:
    """The inputs for each scan of a batch."""
    feed = batch if isinstance(batch, dict) else {"scan": batch}
    for i in range(len(feed["scan"])):
        yield {name: values[i : i + 1] for name, values in feed.items()}


def _move_center(proto: onnx.ModelProto, original: onnx.ModelProto, scans: list[Feed]) -> None:
    """Move the center of the out-of-distribution score by what the mean description of the scans moved by."""
    described = [node.input[0] for node in proto.graph.node if node.op_type == "Sub" and node.input[1] == "ood.center"]
    for tensor in proto.graph.initializer:
        if tensor.name == "ood.center":
            before, after = (np.mean(list(run(file, described, scans)), (0, 1, 2)) for file in (original, proto))
            tensor.CopyFrom(from_array(to_array(tensor) + (after - before), tensor.name))
