"""A model repository for NVIDIA Triton Inference Server: the file, its ``config.pbtxt`` and its labels.

``REPOSITORY/NAME/1/model.onnx``, ``REPOSITORY/NAME/config.pbtxt``, ``REPOSITORY/NAME/labels.txt``; start the server
with ``tritonserver --model-repository REPOSITORY``.  Triton joins requests of equal size into batches; the graph judges
every scan of a batch alone, so that changes no answer.  The format is that of Triton's ``model_config.proto``.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path

import onnx

from liquidlens.errors import LiquidLensError
from liquidlens.manifest import Manifest

#: Batches that Triton should prefer to form.
PREFERRED = (8, 32, 64)
#: How long a request may wait for others to form a batch with.
QUEUE_MICROSECONDS = 1000
_TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.FLOAT16: "TYPE_FP16",
    onnx.TensorProto.INT32: "TYPE_INT32",
    onnx.TensorProto.INT64: "TYPE_INT64",
    onnx.TensorProto.BOOL: "TYPE_BOOL",
}


def write(onnx_file: Path, repository: Path, name: str, manifest: Manifest, max_batch: int = 64) -> Path:
    """Write the folder ``repository/name``, whole or not at all, and return it.

    Shapes come from the file itself, labels from its manifest.  Raises LiquidLensError if the name is no plain name, if
    there is a model of this name, or if the file cannot be read or does not take batches.
    """
    folder = destination(repository, name)
    settings = config(onnx_file, name, max_batch)
    repository.mkdir(parents=True, exist_ok=True)
    # Beside its final place, so that moving it there is one step.
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=repository) as temporary:
        partial = Path(temporary) / name
        (partial / "1").mkdir(parents=True)
        shutil.copyfile(onnx_file, partial / "1" / "model.onnx")
        (partial / "config.pbtxt").write_text(settings, encoding="utf-8")
        # One label a line, so a line break within a label becomes a space.
        labels = (" ".join(label.split()) for label in manifest.labels)
        (partial / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        partial.rename(folder)
    return folder


def destination(repository: Path, name: str) -> Path:
    """Where `write` writes to.  Raises LiquidLensError as `write` does; ask before a long export."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise LiquidLensError(
            f"{name!r} is no name for a Triton model: letters, digits, dots, hyphens and underscores. Name the bundle "
            "with --out."
        )
    folder = repository / name
    if repository.exists() and not repository.is_dir():
        raise LiquidLensError(f"{repository} is no folder: a Triton model repository is one.")
    if folder.exists():
        raise LiquidLensError(f"{folder} exists: remove it, or name the bundle otherwise with --out.")
    return folder


def config(onnx_file: Path, name: str, max_batch: int = 64) -> str:
    """The text of ``config.pbtxt`` for an ONNX file.  Raises LiquidLensError as `write` does."""
    if max_batch < 1:
        raise LiquidLensError(f"A batch is at least one scan, not {max_batch}.")
    try:
        graph = onnx.load(onnx_file).graph
    except Exception as error:  # protobuf's own, whose type is not onnx's to promise
        raise LiquidLensError(f"{onnx_file}: not a readable ONNX file.") from error
    lines = [
        f"name: {json.dumps(name)}",
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {max_batch}",
        *(_tensor("input", value, onnx_file) for value in graph.input),
        *(_tensor("output", value, onnx_file) for value in graph.output),
        "dynamic_batching {",
        *(f"  preferred_batch_size: {size}" for size in PREFERRED if size <= max_batch),
        f"  max_queue_delay_microseconds: {QUEUE_MICROSECONDS}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _tensor(kind: str, value: onnx.ValueInfoProto, file: Path) -> str:
    """The entry of one input or output: its shape without the batch, -1 where it is free."""
    tensor = value.type.tensor_type
    batch, *dimensions = tensor.shape.dim or [onnx.TensorShapeProto.Dimension(dim_value=1)]
    if batch.HasField("dim_value"):
        raise LiquidLensError(f"{file}: {value.name} has no free first dimension, so Triton cannot form batches.")
    if tensor.elem_type not in _TYPES:
        raise LiquidLensError(f"{file}: {value.name} has a data type that Triton does not serve.")
    lengths = [d.dim_value if d.HasField("dim_value") else -1 for d in dimensions]
    entries = [
        f"name: {json.dumps(value.name)}",
        f"data_type: {_TYPES[tensor.elem_type]}",
        f"dims: {lengths or [1]}",
    ]
    if not lengths:  # one number per scan, which Triton's protocols have no shape for
        entries.append("reshape { shape: [ ] }")
    if value.name == "probabilities":
        entries.append('label_filename: "labels.txt"')
    return "\n".join([f"{kind} {{", *(f"  {entry}" for entry in entries), "}"])
