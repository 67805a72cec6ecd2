"""What a file costs to run, counted while it runs: nodes, multiplications, sigmoids.

ONNX Runtime's profile lists every node that ran and its shapes, bodies of loops included.
"""

import json
import tempfile
from collections import Counter
from math import prod
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from liquidlens.export.facts import Cost

Shapes = list[tuple[int, ...]]
#: Gates of ONNX's recurrent operators, and how many sigmoids and tanhs of the state's size they compute in each step.
_RECURRENT = {"LSTM": (4, 3, 2), "GRU": (3, 2, 1), "RNN": (1, 0, 1)}


def cost(content: bytes, feeds: dict[str, NDArray]) -> Cost:
    """Run a file once on `feeds`, without graph optimization, and count.  Raises what ONNX Runtime raises."""
    nodes: Counter[str] = Counter()
    macs: Counter[str] = Counter()
    sigmoids = tanhs = 0
    for operator, inputs, outputs in _executed(content, feeds):
        nodes[operator] += 1
        macs[operator] += _macs(operator, inputs, outputs)
        if operator in _RECURRENT:
            _, sigmoid, tanh = _RECURRENT[operator]
            states = prod(outputs[0])  # (steps, directions, batch, hidden)
            sigmoids, tanhs = sigmoids + sigmoid * states, tanhs + tanh * states
        sigmoids += prod(outputs[0]) if operator == "Sigmoid" else 0
        tanhs += prod(outputs[0]) if operator == "Tanh" else 0
    return Cost(
        nodes=nodes.total(),
        macs=macs.total(),
        sigmoids=sigmoids,
        tanhs=tanhs,
        by_operator={name: (nodes[name], macs[name]) for name in sorted(nodes, key=lambda n: (-macs[n], -nodes[n], n))},
    )


def _executed(content: bytes, feeds: dict[str, NDArray]) -> list[tuple[str, Shapes, Shapes]]:
    """(operator, shapes of its inputs, shapes of its outputs) of every node that ran."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.enable_profiling = True
    # The profile leaves out weights that were packed.
    options.add_session_config_entry("session.disable_prepacking", "1")
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [
        (arguments["op_name"], _shapes(arguments["input_type_shape"]), _shapes(arguments["output_type_shape"]))
        for arguments in (event.get("args", {}) for event in events if event["name"].endswith("_kernel_time"))
    ]


def _shapes(described: list[dict[str, list[int]]]) -> Shapes:
    return [tuple(shape) for value in described for shape in value.values()]


def _macs(operator: str, inputs: Shapes, outputs: Shapes) -> int:
    """Multiplications that are added up, of one node; 0 for operators that add nothing up."""
    if operator in ("MatMul", "MatMulInteger", "QLinearMatMul"):
        return prod(outputs[0]) * inputs[0][-1]
    if operator == "Gemm":  # its first input may be transposed
        return prod(outputs[0]) * (prod(inputs[0]) // outputs[0][0])
    if operator in ("Conv", "ConvInteger"):
        return prod(outputs[0]) * prod(inputs[1][1:])
    if operator == "QLinearConv":
        return prod(outputs[0]) * prod(inputs[3][1:])
    if operator in _RECURRENT:
        steps, batch, _ = inputs[0]
        return steps * batch * (prod(inputs[1]) + prod(inputs[2]))
    return 0


def full_scan(content: bytes, size: tuple[int, ...]) -> dict[str, NDArray]:
    """One scan of ones with a dark edge, none of whose slices is empty: the inputs of a file, whose free sizes are
    taken as 1 for the first axis, and as `size` for the others of the first input.  Raises StopIteration if more of
    them are free.  Spacing and centre of a field of view are NaN: the model's own, and the middle."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    feeds = {}
    for i, value in enumerate(session.get_inputs()):
        rank = len(value.shape) - 1
        free = iter(size[-rank:] if i == 0 and rank else ())  # of a volume, the profile step reads one slice
        shape = [n if isinstance(n, int) else 1 if k == 0 else next(free) for k, n in enumerate(value.shape)]
        feeds[value.name] = np.full(shape, np.nan if value.name in ("spacing", "centre") else 1, np.float32)
        if i == 0:
            feeds[value.name][..., 0] = 0
    return feeds


def ones(content: bytes, sizes: dict[str, int]) -> dict[str, NDArray]:
    """Ones for the inputs of a file whose free axes have the lengths `sizes`, by their names in the file."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    types = {
        "tensor(float)": np.float32,
        "tensor(int64)": np.int64,
        "tensor(int32)": np.int32,
        "tensor(bool)": np.bool_,
    }
    return {
        value.name: np.ones([n if isinstance(n, int) else sizes[n] for n in value.shape], types[value.type])
        for value in session.get_inputs()
    }
