"""The audit of a file: what it holds, byte by byte, and whether that agrees with its manifest.

Works on any one file of a bundle by itself, and as far as it goes on an ONNX file from elsewhere.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.numpy_helper import to_array

from liquidlens.errors import MANY, LiquidLensError, first_line
from liquidlens.export.checks import module_report as module
from liquidlens.export.checks.cost import cost, full_scan, ones
from liquidlens.export.checks.module_report import ModuleReport
from liquidlens.export.complete.synapses import missing, synapses
from liquidlens.export.facts import FileAudit, Initializer, stored_parameters
from liquidlens.export.graph.records import DIGITS, record
from liquidlens.export.graph.surgery import graphs, nodes
from liquidlens.manifest import KEY, Manifest, Wiring
from liquidlens.serve.predict.predictor import check_sum
from liquidlens.serve.predict.pretrained import find


def graph_digest(proto: onnx.ModelProto) -> str:
    """SHA-256, 128 bits of it, of everything but the initializers' values and the metadata."""
    rest = onnx.ModelProto()
    rest.CopyFrom(proto)
    del rest.metadata_props[:]
    del rest.graph.initializer[:]
    return hashlib.sha256(rest.SerializeToString(deterministic=True)).hexdigest()[:DIGITS]


def audit(path: str | Path) -> FileAudit:
    """Audit one ONNX file: its path, that of a bundle, or the name of a pretrained model.

    Every initializer is looked up in the file's manifest; extra, missing and changed ones, a changed graph, synapses
    that the wiring has and the tables do not, and a checksum that differs from the ``SHA256SUMS`` beside it are its
    problems.  Raises LiquidLensError if this is no ONNX file, or one with parts in other files.
    """
    path = find(path)
    if not path.is_file():
        raise LiquidLensError(f"{path}: there is no such file.")
    content = path.read_bytes()
    problems, notes = [], []
    try:
        check_sum(path, hashlib.sha256(content).hexdigest())
    except LiquidLensError as error:
        problems.append(str(error))
    proto = _parse(path, content)
    manifest: Manifest | ModuleReport | None = None
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    if KEY in metadata or module.KEY in metadata:
        try:
            manifest = (Manifest if KEY in metadata else ModuleReport).from_metadata(metadata)
        except LiquidLensError as error:
            problems.append(f"{path}: {error}")
    else:
        notes.append("The file carries no LiquidLens manifest: where its numbers come from is unknown.")
    initializers = tuple(_initializer(tensor, manifest) for tensor in _tensors(proto))
    if manifest is not None:
        problems += _differences(proto, initializers, manifest)
        if unknown := [i.name for i in initializers if i.kind == "unexplained" and i.name in manifest.initializers]:
            notes.append(f"What is in {', '.join(unknown[:MANY])} comes from no parameter of the module.")
    try:
        spent = cost(content, _feeds(content, manifest))
    except Exception as error:  # ONNX Runtime raises a dozen unrelated types
        spent = None
        what = "its inputs have free sizes" if isinstance(error, StopIteration | RuntimeError) else str(error)
        notes.append(f"What a scan costs was not counted: {what[:200]}.")
    return FileAudit(
        file=path.name,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        model=manifest.module if isinstance(manifest, ModuleReport) else manifest.model if manifest else None,
        opset={opset.domain or "ai.onnx": opset.version for opset in proto.opset_import},
        operators=dict(Counter(node.op_type for node, _ in nodes(proto.graph)).most_common()),
        initializers=initializers,
        bytes_by_class=_bytes_by_class(proto, initializers, len(content)),
        parameters=manifest.parameters if manifest else None,
        cost=spent,
        synapses=tuple(map(synapses, manifest.wiring)) if isinstance(manifest, Manifest) else (),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _feeds(content: bytes, manifest: Manifest | ModuleReport | None) -> dict[str, NDArray]:
    """One full scan; of a module, one sequence of the length that it was compared for first."""
    if isinstance(manifest, ModuleReport):
        return ones(content, {**manifest.checks.sizes[0], "batch": 1})
    return full_scan(content, manifest.input.size if manifest else ())


def manifest_of(path: Path) -> Manifest:
    """The manifest of an ONNX file that has one."""
    return Manifest.from_metadata({entry.key: entry.value for entry in onnx.load(path).metadata_props})


def _parse(path: Path, content: bytes) -> onnx.ModelProto:
    try:
        proto = onnx.load_model_from_string(content)
        elsewhere = any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(proto))
        if not elsewhere:
            onnx.checker.check_model(proto)
    except Exception as error:  # protobuf's and the checker's own types
        raise LiquidLensError(f"{path}: not a readable ONNX file ({first_line(error)}).") from error
    if elsewhere:
        raise LiquidLensError(f"{path}: its weights lie in other files; only files that are complete can be audited.")
    return proto


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that is stored: initializers, and the values of Constant nodes, named after their output."""
    for graph in graphs(proto.graph):
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.HasField("t"):
                    tensor = onnx.TensorProto()
                    tensor.CopyFrom(attribute.t)
                    tensor.name = node.output[0]
                    yield tensor


def _initializer(tensor: onnx.TensorProto, manifest: Manifest | ModuleReport | None) -> Initializer:
    if manifest is None:
        return record(tensor, "unexplained", "")
    if tensor.name not in manifest.initializers:
        return record(tensor, "unexplained", "no record in the manifest")
    stored = manifest.initializers[tensor.name]
    return record(tensor, stored.kind, stored.how, stored.sources)


def _differences(
    proto: onnx.ModelProto, found: tuple[Initializer, ...], manifest: Manifest | ModuleReport
) -> Iterator[str]:
    """What is in the file and not in its manifest, or the reverse, one sentence each."""
    for initializer in found:
        if initializer.name not in manifest.initializers:
            yield f"{initializer.name}: an initializer that the manifest does not know ({initializer.shape})."
        elif initializer.digest != manifest.initializers[initializer.name].digest:
            yield f"{initializer.name}: its values are not those that were exported."
    for name in sorted(manifest.initializers.keys() - {initializer.name for initializer in found}):
        yield f"{name}: the manifest lists this initializer, and the file lacks it."
    if graph_digest(proto) != manifest.graph_digest:
        yield "The graph (nodes, inputs or outputs) is not the one that was exported."
    if (count := stored_parameters(found)) != manifest.parameters.stored:
        yield f"The file stores {count:,} numbers of weights, its manifest says {manifest.parameters.stored:,}."
    tensors = {tensor.name: tensor for tensor in _tensors(proto)}
    for wiring in manifest.wiring if isinstance(manifest, Manifest) else ():
        if tables := _tables(wiring, tensors):
            yield from missing(wiring, tables) if _fit(tables, wiring) else (f"{wiring.layer}: its tables are cut.",)


def _tables(wiring: Wiring, tensors: dict[str, onnx.TensorProto]) -> dict[str, NDArray] | None:
    """The tables of an LTC; None for other cells, and where they are stored as integers."""
    tables = {}
    for table in ("gain", "weight", "sensory_weight"):
        name = f"{wiring.layer}.{table}"
        tensor = tensors.get(name, tensors.get(f"{name}.float16"))
        if wiring.cell != "LTC" or tensor is None:
            return None
        tables[table] = to_array(tensor).astype(np.float32)
    return tables


def _fit(tables: dict[str, NDArray], wiring: Wiring) -> bool:
    """Whether the tables of an LTC are of the shapes that `models.layers.liquid.Folded` has for so many neurons."""
    units = len(wiring.neurons)
    gain, weight, sensory = (tables[name].shape for name in ("gain", "weight", "sensory_weight"))
    by_synapse = gain[:1] == (units,) and weight == (gain[-1], 2 * units)
    of_pairs = gain == (units, units) and weight == (2, units, units)
    return (by_synapse or of_pairs) and len(sensory) == 3 and sensory[1] == 2


def _bytes_by_class(proto: onnx.ModelProto, initializers: tuple[Initializer, ...], total: int) -> dict[str, int]:
    sizes = dict.fromkeys(("weights", "masks", "constants", "unexplained"), 0)
    for initializer in initializers:
        sizes[initializer.kind] += initializer.bytes
    metadata = sum(entry.ByteSize() for entry in proto.metadata_props)
    return {**sizes, "metadata": metadata, "graph": total - sum(sizes.values()) - metadata}
