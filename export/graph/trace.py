"""From torch module to clean ONNX: one file, no traces of the machine it was made on, the same bytes every time."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import onnx
import torch
from onnx.numpy_helper import from_array, to_array
from torch import nn

from liquidlens.export.complete.deployed import CompleteModel
from liquidlens.export.facts import OPSET, Initializer
from liquidlens.export.graph.provenance import SMALL, explain
from liquidlens.export.graph.surgery import bodies, graphs, nodes

SIZE_NAMES = {3: ("batch", "depth", "height", "width"), 2: ("batch", "height", "width")}


class Traced(NamedTuple):
    """A graph, and where its initializers come from."""

    proto: onnx.ModelProto
    initializers: list[Initializer]


class Lowered(NamedTuple):
    """A graph, and the lengths at which the module may do something else: where what was traced ends to hold."""

    proto: onnx.ModelProto
    edges: list[int]


#: Longer axes than this are not compared.
FARTHEST = 4096


def trace(model: CompleteModel, opset: int = OPSET) -> Traced:
    """Trace the folded model: input ``scan``, float32 and dynamic in every size, and for a field of view in millimetres
    ``spacing`` and ``centre``; liquid layers become one ONNX Scan."""
    contract = model.front.contract
    dimensions = SIZE_NAMES[len(contract.size)]
    # At least two scans: torch.export takes a batch of one for a constant.  Distinct sizes keep the axes apart.
    example = torch.rand(2, *(30 + 3 * axis for axis in range(len(dimensions) - 1)))
    if contract.channels == 3:
        example = example[..., None].repeat(1, 1, 1, 3)
    examples, dynamic = {"scan": example}, {"scan": dict(enumerate(dimensions))}
    if contract.spacing is not None:
        examples |= {"spacing": torch.tensor(contract.spacing).repeat(2, 1), "centre": torch.full((2, 3), torch.nan)}
        dynamic |= {"spacing": {0: "batch"}, "centre": {0: "batch"}}
    twin = model.folded()
    return trace_module(twin, examples, dynamic, twin, opset)


def to_onnx(model: CompleteModel, opset: int = OPSET) -> onnx.ModelProto:
    """The graph of `trace`."""
    return trace(model, opset).proto


def trace_module(
    module: nn.Module,
    example: dict[str, torch.Tensor],
    dynamic: dict[str, dict[int, str]],
    twin: CompleteModel,
    opset: int,
) -> Traced:
    """Trace a module that returns a dict of outputs and that is made of parts of `twin`."""
    arguments = tuple(example.values())
    with torch.no_grad():
        outputs = list(module(*arguments))
    shapes = tuple(dynamic[name] for name in example)
    proto = lower(module, arguments, shapes, list(example), outputs, opset).proto
    initializers = explain(proto, twin)
    onnx.checker.check_model(proto, full_check=True)
    return Traced(proto, initializers)


def lower(
    module: nn.Module, arguments: tuple, shapes: tuple, inputs: list[str], outputs: list[str], opset: int
) -> Lowered:
    """The clean graph of a module, its inputs and outputs by name; raises what the exporter raises."""
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            arguments,
            dynamo=True,
            opset_version=opset,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            verbose=False,
        )
    program = cast(torch.onnx.ONNXProgram, program)
    proto = program.model_proto
    clean(proto)
    _narrow_indices(proto.graph)
    return Lowered(proto, _edges(program))


def _edges(program: torch.onnx.ONNXProgram) -> list[int]:
    """The lengths next to those for which torch.export has followed the module."""
    exported = program.exported_program
    bounds = exported.range_constraints.values() if exported is not None else ()
    beyond = {one.upper + 1 for one in bounds} | {one.lower - 1 for one in bounds}
    return sorted(int(length) for length in beyond if 1 < length <= FARTHEST)


def serialize(proto: onnx.ModelProto, metadata: dict[str, str]) -> bytes:
    """The file's bytes, with `metadata` as its only metadata."""
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, metadata)
    return proto.SerializeToString(deterministic=True)


def _narrow_indices(graph: onnx.GraphProto) -> None:
    """Store long lists of positions in 32 bits: the exporter widens those that Gather reads to 64."""
    for tensor in graph.initializer:
        readers = [node for node, _ in nodes(graph) if tensor.name in node.input]
        if tensor.data_type == onnx.TensorProto.INT64 and {node.op_type for node in readers} == {"Gather"}:
            values = to_array(tensor)
            if values.size > SMALL:
                tensor.CopyFrom(from_array(values.astype(np.int32), tensor.name))
                for described in (value for value in graph.value_info if value.name == tensor.name):
                    described.type.tensor_type.elem_type = onnx.TensorProto.INT32


def clean(proto: onnx.ModelProto) -> None:
    """Remove what the exporter notes about source files and stack traces, everywhere in the file."""
    outside = [node for function in proto.functions for node in function.node]
    inside = [*graphs(proto.graph), *(body for node in outside for body in bodies(node))]
    for part in (proto, *proto.functions, *outside, *(part for graph in inside for part in _parts(graph))):
        part.doc_string = ""
        del part.metadata_props[:]


def _parts(graph: onnx.GraphProto) -> Iterator[Any]:
    """Whatever may carry notes: the graph, its nodes and its tensors."""
    yield from (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's remarks are about its own insides (torchvision's operators, deprecated helpers)."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.onnx._internal.exporter._registration")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
