"""The `unrolled` profile: every ONNX ``Scan`` spelled out, for runtimes without control flow and for CUDA graphs.

The body is copied once per step; nothing is traced again, so the arithmetic is that of the loop to the bit.  Every
copied tensor gets its shape, with the symbols of the outer graph: ONNX Runtime's time to load grows with the square of
the number of nodes where shapes are missing (8 s against 0.2 s for 28 steps of 6 ODE unfolds), and ONNX's own shape
inference does not find them.
"""

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any, NamedTuple

import onnx
from onnx.helper import get_attribute_value, make_node, make_tensor, make_tensor_value_info

#: The initializer that holds the number of the first axis.
FIRST_AXIS = "step.axis"


class Tensor(NamedTuple):
    """Type and shape of a tensor; the shape holds lengths and symbols."""

    element_type: int
    shape: tuple[int | str, ...]


def unroll(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without ONNX ``Scan``: the same inputs, outputs, initializers and numbers.

    The number of steps is the first dimension of the tensors that a Scan goes through, and all tensors in and around
    it must have their shapes, as the exporter writes them.  Raises ValueError with the name of a tensor that is not so,
    or of a Scan that runs backwards or along another axis.  Scans inside of other operators' graphs stay.
    """
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    if not any(node.op_type == "Scan" for node in proto.graph.node):
        return result
    graph = result.graph
    graph.ClearField("node")
    graph.initializer.append(make_tensor(FIRST_AXIS, onnx.TensorProto.INT64, [1], [0]))
    tensors = _tensors(proto.graph)
    wanted = {name for node in proto.graph.node for name in node.input} | {value.name for value in graph.output}
    numbers = count()
    for node in proto.graph.node:
        if node.op_type == "Scan":
            _Scan(node, tensors, graph, numbers).spell_out(wanted)
        else:
            graph.node.append(node)
    return result


class _Scan:
    """One ONNX ``Scan``, and the `graph` that it is written to step by step.

    tensors: those outside of it, to which it adds what it writes.  numbers: for the names of what bodies compute, which
    are written hundreds of times and should be short.
    """

    def __init__(
        self, node: onnx.NodeProto, tensors: dict[str, Tensor], graph: onnx.GraphProto, numbers: Iterator[int]
    ):
        attributes: dict[str, Any] = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
        for name, values in attributes.items():
            if name.endswith(("_axes", "_directions")) and any(values):
                raise ValueError(f"the Scan {node.name!r} cannot be spelled out: its {name} are {values}")
        states = len(node.input) - attributes["num_scan_inputs"]
        self.starts, self.sequences = node.input[:states], node.input[states:]
        self.ends, self.stacks = node.output[:states], node.output[states:]
        self.graph, self.tensors, self.body = graph, tensors, attributes["body"]

        lengths = {name: _known(name, tensors).shape[0] for name in self.sequences}
        for name, length in lengths.items():
            if not isinstance(length, int):
                raise ValueError(f"the number of steps is not known: the first dimension of {name!r} is {length!r}")
            self.steps = length

        # The body has its own name for the batch; its inputs show the name outside.
        given = [_known(name, tensors).shape for name in self.starts]
        given += [tensors[name].shape[1:] for name in self.sequences]
        inside = _tensors(self.body)
        symbols = {
            ours: theirs
            for value, shape in zip(self.body.input, given, strict=True)
            for ours, theirs in zip(_known(value.name, inside).shape, shape, strict=True)
            if isinstance(ours, str)
        }
        self.computed: dict[str, tuple[int, Tensor]] = {}
        for name in (name for node in self.body.node for name in node.output):
            element_type, shape = _known(name, inside)
            self.computed[name] = next(numbers), Tensor(element_type, tuple(symbols.get(str(d), d) for d in shape))

    def spell_out(self, wanted: set[str]) -> None:
        """Write all steps, and those of the Scan's own outputs that are `wanted`."""
        states = list(self.starts)
        slices = [self._slices(name) for name in self.sequences]
        results: list[list[str]] = []
        for step in range(self.steps):
            ends = self._write_step(step, [*states, *(slices_of_one[step] for slices_of_one in slices)])
            states = ends[: len(states)]
            results.append(ends[len(states) :])
        for name, state in zip(self.ends, states, strict=True):
            if name in wanted:
                self._add("Identity", [state], {name: None})
        for name, pieces in zip(self.stacks, zip(*results, strict=True), strict=True):
            if name in wanted:
                self._stack(name, pieces)

    def _write_step(self, step: int, given: list[str]) -> list[str]:
        """Copy the body once, for inputs with the names `given`; the names of its outputs."""
        names = dict(zip((value.name for value in self.body.input), given, strict=True))
        for node in self.body.node:
            inputs = [names.get(name, name) for name in node.input]
            if node.op_type == "Identity":  # stands there because a Scan cannot give one tensor twice
                names[node.output[0]] = inputs[0]
                continue
            outputs = {}
            for name in node.output:
                number, tensor = self.computed[name]
                names[name] = f"step{step}.{number}"
                outputs[names[name]] = tensor
            copy = self._add(node.op_type, inputs, outputs)
            copy.domain = node.domain
            copy.attribute.extend(node.attribute)
        return [names.get(value.name, value.name) for value in self.body.output]

    def _slices(self, name: str) -> list[str]:
        """Take a tensor apart along its first axis; the names of the slices."""
        element_type, shape = self.tensors[name]
        slices = [f"{name}.{step}" for step in range(self.steps)]
        if slices[0] in self.tensors:  # another Scan went through it
            return slices
        layers = {f"{piece}.layer": Tensor(element_type, (1, *shape[1:])) for piece in slices}
        self._add("Split", [name], layers, axis=0, num_outputs=self.steps)
        for piece, layer in zip(slices, layers, strict=True):
            self._add("Squeeze", [layer, FIRST_AXIS], {piece: Tensor(element_type, shape[1:])})
        return slices

    def _stack(self, name: str, pieces: Iterable[str]) -> None:
        """Put the `pieces`, one per step, together along a new first axis."""
        element_type, shape = _known(name, self.tensors)
        layers = {f"{name}.{step}.stacked": Tensor(element_type, (1, *shape[1:])) for step in range(self.steps)}
        for piece, layer in zip(pieces, layers.items(), strict=True):
            self._add("Unsqueeze", [piece, FIRST_AXIS], dict([layer]))
        self._add("Concat", layers, {name: None}, axis=0)

    def _add(
        self, operator: str, inputs: Iterable[str], outputs: dict[str, Tensor] | dict[str, None], **attributes: Any
    ) -> onnx.NodeProto:
        """Write a node, called like its first output, and the shapes of those outputs that are new."""
        node = make_node(operator, list(inputs), list(outputs), name=next(iter(outputs)), **attributes)
        self.graph.node.append(node)
        for name, tensor in outputs.items():
            if tensor is not None:
                self.graph.value_info.append(make_tensor_value_info(name, *tensor))
                self.tensors[name] = tensor
        return self.graph.node[-1]


def _tensors(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """All tensors with shapes."""
    tensors = {tensor.name: Tensor(tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim)
            tensors[value.name] = Tensor(kind.elem_type, shape)
    return tensors


def _known(name: str, tensors: dict[str, Tensor]) -> Tensor:
    if name not in tensors:
        raise ValueError(f"the shape of {name!r} is not known")
    return tensors[name]
