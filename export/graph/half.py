"""The variant fp16: weights stored as float16."""

import numpy as np
import onnx
from onnx import TensorProto
from onnx.helper import make_node
from onnx.numpy_helper import from_array, to_array

from liquidlens.export.graph.conversion import NETWORK, WITH_WEIGHTS, Converted, summarized
from liquidlens.export.graph.surgery import nodes

#: A Cast takes 100 bytes, and float16 saves two bytes a weight: fewer weights would make a larger file.
WORTH_IT = 64


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
        if values.size < WORTH_IT:
            stays[name] = f"fewer than {WORTH_IT} weights: a Cast takes more bytes than float16 saves"
        elif not (np.abs(values) <= np.finfo(np.float16).max).all():  # not for NaN, either
            stays[name] = "weights beyond the range of float16"
        else:
            casts.append(make_node("Cast", [f"{name}.float16"], [name], name, to=TensorProto.FLOAT))
            tensor.CopyFrom(from_array(values.astype(np.float16), f"{name}.float16"))
    result.graph.ClearField("node")
    result.graph.node.extend([*casts, *proto.graph.node])
    weights = [(node.op_type, name) for node, _ in nodes(proto.graph) for name in node.input[:2]]
    left = [(operator, stays[name]) for operator, name in weights if name in stays and operator in WITH_WEIGHTS]
    return Converted(result, {"initializers": len(casts)} if casts else {}, summarized(left))
