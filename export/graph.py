"""From torch module to clean ONNX: one file, no traces of the machine it was made on, the same bytes every time."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import cast

import onnx
import torch

from export.complete import CompleteModel, output_names

SIZE_NAMES = {3: ("batch", "depth", "height", "width"), 2: ("batch", "height", "width")}


def to_onnx(model: CompleteModel) -> onnx.ModelProto:
    """Trace the folded model: input ``scan``, float32 and dynamic in every size; liquid layers become one ONNX Scan."""
    contract = model.front.contract
    dimensions = SIZE_NAMES[len(contract.size)]
    # At least two scans: torch.export takes a batch of one for a constant.  Distinct sizes keep the axes apart.
    example = torch.rand(2, *(30 + 3 * axis for axis in range(len(dimensions) - 1)))
    if contract.channels == 3:
        example = example[..., None].repeat(1, 1, 1, 3)
    twin = model.folded().eval()
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            twin,
            (example,),
            dynamo=True,
            input_names=["scan"],
            output_names=output_names(twin(example)),
            dynamic_shapes=(dict(enumerate(dimensions)),),
            verbose=False,
        )
    proto = cast(torch.onnx.ONNXProgram, program).model_proto
    _clean(proto)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def serialize(proto: onnx.ModelProto, metadata: dict[str, str]) -> bytes:
    """The file's bytes, with `metadata` as its only metadata."""
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, metadata)
    return proto.SerializeToString(deterministic=True)


def _clean(proto: onnx.ModelProto) -> None:
    """Remove what the exporter notes about source files and stack traces, everywhere in the file."""
    proto.doc_string = ""
    del proto.metadata_props[:]
    for function in proto.functions:
        _clean_body(function)
    _clean_graph(proto.graph)


def _clean_graph(graph: onnx.GraphProto) -> None:
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in values:
            value.doc_string = ""
            del value.metadata_props[:]
    _clean_body(graph)


def _clean_body(body: onnx.GraphProto | onnx.FunctionProto) -> None:
    body.doc_string = ""
    del body.metadata_props[:]
    for node in body.node:
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                _clean_graph(graph)


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
