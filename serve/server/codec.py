"""One inference request of the Open Inference Protocol: its bytes, the tensors in them, and the bytes of the answer.

Whatever is wrong with a request is an HTTPException with one sentence.
"""

import logging
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pydantic
import pydantic_core
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.responses import Response

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.field_of_view import FieldOfView
from liquidlens.manifest import InputContract
from liquidlens.serve.predict.bounded_run import Inputs
from liquidlens.serve.predict.prediction import conclude
from liquidlens.serve.predict.predictor import Predictor

VERSION = "1"
HEADER_LENGTH = "Inference-Header-Content-Length"

#: JSON of a request.  Numbers as text take up to forty times their size while they are read, and lists as much time as
#: many numbers, while all other requests wait; large tensors come as binary ones.
JSON_BYTES, JSON_LISTS = 4 * 2**20, 100_000

#: Scans in one request, and pixels at any stage of resizing them: a few bytes must not ask for all memory.
MAX_BATCH = 64
MAX_PIXELS = 2**28
#: Voxels that the fields of view of one request reach, each of which takes some 50 bytes on the way.
MAX_REACHED = 2**25

logger = logging.getLogger(__name__)


class _Tensor(pydantic.BaseModel):
    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Any = None


class _Wanted(pydantic.BaseModel):
    name: str
    parameters: dict[str, Any] = {}


class _Inference(pydantic.BaseModel):
    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: tuple[_Tensor, ...]
    outputs: tuple[_Wanted, ...] = ()


def inflated(body: bytes | bytearray, encoding: str, limit: int) -> bytes | bytearray:
    """The body without the compression that a client may put on it; never more than `limit` bytes."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise HTTPException(415, f"A request may be compressed with gzip or deflate, not {encoding}.")
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # of either kind
    try:
        content = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise HTTPException(400, f"The request is not what {encoding} makes ({error}).") from error
    if len(content) > limit:
        raise HTTPException(413, f"The request is larger than this server takes ({limit:,} bytes) when inflated.")
    if not inflater.eof or inflater.unused_data:
        raise HTTPException(400, f"The request is not one whole {encoding} stream.")
    return content


def answer(name: str, predictor: Predictor, content: bytes | bytearray, header_length: str | None) -> Response:
    """Run one inference request and encode its answer.

    content: the request's JSON, of `header_length` bytes, followed by the bytes of binary tensors, if there are any.
    """
    if header_length is None:
        header_length = str(len(content))
    # Python does not read numbers of thousands of digits.
    if not header_length.isdecimal() or len(header_length) > 18 or int(header_length) > len(content):
        given = header_length[:20]
        raise HTTPException(400, f"{HEADER_LENGTH} is {given!r}, and the request has {len(content)} bytes.")
    header, binary = content[: int(header_length)], memoryview(content)[int(header_length) :]
    if len(header) > JSON_BYTES or header.count(b"[") + header.count(b"{") > JSON_LISTS:
        limits = f"{JSON_BYTES:,} bytes and {JSON_LISTS:,} lists"
        raise HTTPException(413, f"JSON is read up to {limits}; send the tensor as a binary one.")
    try:
        inference = _Inference.model_validate_json(header)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise HTTPException(400, f"The request is not understood: {where or 'JSON'}: {first['msg']}.") from error
    inputs = _inputs(name, predictor, inference, binary)
    wanted = _wanted(name, predictor, inference)
    try:
        outputs = predictor.run(inputs["scan"], inputs.get("spacing"), inputs.get("centre"))
    except LiquidLensError as error:
        logger.exception("inference failed")
        shape = " x ".join(map(str, inputs["scan"].shape))
        raise HTTPException(500, f"{name} cannot compute an answer for a tensor of {shape}.") from error
    if not all(np.isfinite(values).all() for values in outputs.values()):
        raise HTTPException(400, "The values are too large, the model's answer is not a number.")
    if predictor.on_answer is not None:
        for own in (dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)):
            predictor.on_answer(conclude(predictor.manifest, own, {}, predictor.device))
    return _encoded(name, inference.id, outputs, wanted)


def _inputs(name: str, predictor: Predictor, inference: _Inference, binary: memoryview) -> Inputs:
    """The inputs of a request, checked against the model: ``scan``, and of one that looks at a field of view also
    ``spacing`` and ``centre`` where they are given."""
    expects, given = predictor.manifest.input, [tensor.name for tensor in inference.inputs]
    known = ("scan",) if expects.spacing is None else ("scan", "spacing", "centre")
    if "scan" not in given or len(set(given)) < len(given) or not set(given) <= set(known):
        also = "one input, scan" if len(known) == 1 else "the input scan, and if wanted spacing and centre"
        raise HTTPException(400, f"{name} has {also}.")
    inputs = {}
    for tensor in inference.inputs:
        if tensor.datatype != "FP32":
            raise HTTPException(400, f"The input {tensor.name} is FP32, not {tensor.datatype}.")
        (_check_scan if tensor.name == "scan" else _check_place)(tensor, expects)
        is_binary = "binary_data_size" in tensor.parameters
        values, binary = _from_binary(tensor, binary) if is_binary else (_from_json(tensor), binary)
        if values.size != math.prod(tensor.shape):
            raise HTTPException(400, f"The shape {list(tensor.shape)} does not have {values.size} values.")
        inputs[tensor.name] = values.reshape(tensor.shape)
    if len(binary):
        raise HTTPException(400, f"{len(binary)} bytes follow the JSON that no binary_data_size tells of.")
    _check_values(inputs, expects)
    return inputs


def _check_scan(tensor: _Tensor, expects: InputContract) -> None:
    axes = ("batch", *("slices", "rows", "columns")[-len(expects.size) :])
    fits = len(tensor.shape) == len(axes) + (expects.channels == 3) and min(tensor.shape) > 0
    if not fits or (expects.channels == 3 and tensor.shape[-1] != 3):
        colour = ", 3" if expects.channels == 3 else ""
        raise HTTPException(400, f"The input scan is ({', '.join(axes)}{colour}), not {list(tensor.shape)}.")
    if tensor.shape[0] > MAX_BATCH:
        raise HTTPException(400, f"A request holds up to {MAX_BATCH} scans, not {tensor.shape[0]}.")
    if _pixels_at_most(tensor.shape, expects.size) > MAX_PIXELS:
        raise HTTPException(413, f"A tensor of {list(tensor.shape)} takes too much memory to resize.")


def _check_place(tensor: _Tensor, expects: InputContract) -> None:
    if len(tensor.shape) != 2 or tensor.shape[1] != 3 or not 0 < tensor.shape[0] <= MAX_BATCH:
        raise HTTPException(400, f"The input {tensor.name} is (batch, 3), not {list(tensor.shape)}.")


def _check_values(inputs: Inputs, expects: InputContract) -> None:
    """What a scan holds, and where in it the model is to look; NaN stands for what is not known."""
    scans, spacing, centre = inputs["scan"], inputs.get("spacing"), inputs.get("centre")
    if not np.isfinite(scans).all():
        raise HTTPException(400, "Values of the input scan are not finite, or beyond what FP32 holds.")
    for name, values in (("spacing", spacing), ("centre", centre)):
        if values is not None and len(values) != len(scans):
            raise HTTPException(400, f"There are {len(scans)} scans, and the input {name} is of {len(values)}.")
    # NaN is neither below nor above anything.
    if spacing is not None and ((spacing <= 0).any() or np.isinf(spacing).any()):
        raise HTTPException(400, "The input spacing is millimetres, above 0.")
    shape = scans.shape[1:]
    if centre is not None and ((centre < -0.5).any() or (centre >= np.array(shape) - 0.5).any()):
        raise HTTPException(400, f"The input centre lies in the scan of {list(shape)}: slices, rows, columns from 0.")
    if spacing is not None and len(spacing) * max(_reached(scans, mm, expects) for mm in spacing) > MAX_REACHED:
        raise HTTPException(413, "The voxels are so close to each other that a field of view takes too much memory.")


def _reached(scans: NDArray[np.float32], spacing: NDArray[np.float32], expects: InputContract) -> int:
    """How many voxels of a scan a field of view is computed from."""
    reached = FieldOfView.of(expects, scans.shape[1:], spacing, None).reached
    return math.prod(part.stop - part.start for part in reached)


def _from_binary(tensor: _Tensor, binary: memoryview) -> tuple[NDArray[np.float32], memoryview]:
    """The values of a tensor, and the bytes behind them."""
    size = tensor.parameters["binary_data_size"]
    if type(size) is not int or not 0 <= size <= len(binary):
        raise HTTPException(400, f"binary_data_size is {size!r}, and {len(binary)} bytes follow the JSON.")
    if size % 4:
        raise HTTPException(400, f"binary_data_size is {size}, and a value of FP32 has 4 bytes.")
    return np.frombuffer(binary[:size], "<f4"), binary[size:]


def _from_json(tensor: _Tensor) -> NDArray[np.float32]:
    if tensor.data is None:
        raise HTTPException(400, f"The input {tensor.name} needs its values, in `data` or as binary data.")
    try:
        values = np.asarray(tensor.data)
    except ValueError as error:  # lists of unequal lengths
        raise HTTPException(400, "The values in `data` are not a regular array.") from error
    if values.dtype.kind not in "iuf":
        raise HTTPException(400, "The values in `data` are not all numbers.")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which is refused
        return values.astype(np.float32)


def _pixels_at_most(shape: Sequence[int], size: Sequence[int]) -> int:
    """How many numbers the graph holds at once at most while it resizes axis after axis, weights included."""
    stage = list(shape)
    largest = math.prod(stage)
    for axis, target in enumerate(size, start=1):
        weights, stage[axis] = target * stage[axis], target
        largest = max(largest, weights, math.prod(stage))
    return largest


def _wanted(name: str, predictor: Predictor, inference: _Inference) -> dict[str, bool]:
    """The outputs that a request asks for, all by default, and whether each is to come as binary data."""
    names = [output.name for output in predictor.session.get_outputs()]
    binary = inference.parameters.get("binary_data_output", False)
    for output in inference.outputs:
        if output.name not in names:
            raise HTTPException(400, f"{name} has no output {output.name!r}; it has {', '.join(names)}.")
        if "classification" in output.parameters:
            raise HTTPException(400, "Classification is not offered; the output probabilities says it all.")
    wanted = inference.outputs or [_Wanted(name=name) for name in names]
    return {output.name: bool(output.parameters.get("binary_data", binary)) for output in wanted}


def _encoded(
    name: str, identifier: str | None, outputs: Mapping[str, NDArray[np.float32]], wanted: Mapping[str, bool]
) -> Response:
    described, binary = [], []
    for output, as_binary in wanted.items():
        values = outputs[output]
        tensor: dict[str, Any] = {"name": output, "datatype": "FP32", "shape": values.shape}
        if as_binary:
            binary.append(values.astype("<f4").tobytes())
            tensor["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            tensor["data"] = values.ravel().tolist()
        described.append(tensor)
    answered = {"model_name": name, "model_version": VERSION, "outputs": described}
    header = pydantic_core.to_json(answered if identifier is None else {**answered, "id": identifier})
    if not binary:
        return Response(header, media_type="application/json")
    length = {HEADER_LENGTH: str(len(header))}
    return Response(b"".join((header, *binary)), media_type="application/octet-stream", headers=length)
