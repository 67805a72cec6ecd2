"""Graphs taken apart and put together: everything that is inside, nodes by themselves, and others in their place."""

from collections.abc import Iterable, Iterator

import onnx
from onnx import NodeProto, TensorProto
from onnx.helper import make_graph, make_model, make_tensor_value_info


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph, and the graphs inside its nodes."""
    yield graph
    for node in graph.node:
        yield from bodies(node)


def bodies(node: NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside a node: of an ONNX ``Scan`` its body, and what that holds in turn."""
    for attribute in node.attribute:
        for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            yield from graphs(inner)


def nodes(graph: onnx.GraphProto) -> Iterator[tuple[NodeProto, bool]]:
    """Every node, and whether it is in the body of another one."""
    return ((node, body is not graph) for body in graphs(graph) for node in body.node)


def reads(node: NodeProto) -> list[str]:
    """All names that a node reads; those that its bodies read belong to the body or to the graph outside."""
    inside = list(bodies(node))
    read = [name for body in inside for inner in body.node for name in inner.input]
    return [*node.input, *read, *(value.name for body in inside for value in body.output)]


def alone(proto: onnx.ModelProto, chosen: list[NodeProto]) -> onnx.ModelProto:
    """A model of the chosen nodes and their weights; its inputs are what they read from others, its outputs what they
    give."""
    weights = [tensor for tensor in proto.graph.initializer if any(tensor.name in node.input for node in chosen)]
    outputs = [name for node in chosen for name in node.output]
    inside = {tensor.name for tensor in weights} | set(outputs)
    inputs = dict.fromkeys(name for node in chosen for name in node.input if name not in inside)
    graph = make_graph(chosen, "chosen", floats(inputs), floats(outputs), weights)
    return make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)


def replaced(proto: onnx.ModelProto, chosen: list[NodeProto], quantized: onnx.ModelProto) -> onnx.ModelProto:
    """The file with the quantized nodes in the place of the chosen ones."""
    names = {node.name for node in chosen}
    kept = [node for node in proto.graph.node if node.name not in names]
    together = _ordered([*kept, *quantized.graph.node])
    made = {name for node in together for name in node.output}  # biases, too, under the names of their initializers
    read = {name for node in together for name in reads(node)}
    tensors = {tensor.name: tensor for tensor in (*proto.graph.initializer, *quantized.graph.initializer)}
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    for field in ("node", "initializer", "value_info"):
        result.graph.ClearField(field)
    result.graph.node.extend(together)
    result.graph.initializer.extend(tensor for name, tensor in tensors.items() if name in read - made)
    result.graph.value_info.extend(value for value in proto.graph.value_info if value.name in read)
    return result


def _ordered(nodes: list[NodeProto]) -> list[NodeProto]:
    """The nodes as they are, but each behind those that it reads from."""
    makers = {name: number for number, node in enumerate(nodes) for name in node.output}
    ordered: dict[int, NodeProto] = {}

    def place(number: int) -> None:
        if number not in ordered:
            for name in reads(nodes[number]):
                if name and name in makers:
                    place(makers[name])
            ordered[number] = nodes[number]

    for number in range(len(nodes)):
        place(number)
    return list(ordered.values())


def floats(names: Iterable[str]) -> list[onnx.ValueInfoProto]:
    return [make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
