"""One inference request of the Open Inference Protocol: its bytes, the tensor in them, and the bytes of the answer.

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
from liquidlens.serve.predict.predictor import Predictor

VERSION = "1"
HEADER_LENGTH = "Inference-Header-Content-Length"

#: JSON of a request.  Numbers as text take up to forty times their size while they are read, and lists as much time as
#: many numbers, while all other requests wait; large tensors come as binary ones.
JSON_BYTES, JSON_LISTS = 4 * 2**20, 100_000

#: Scans in one request, and pixels at any stage of resizing them: a few bytes must not ask for all memory.
MAX_BATCH = 64
MAX_PIXELS = 2**28

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


def inflated(body: bytes | bytearray, encoding: str | None, limit: int) -> bytes | bytearray:
    """The body without the compression that a client may put on it; never more than `limit` bytes."""
    if encoding in (None, "", "identity"):
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
    scans = _scans(name, predictor, inference, binary)
    wanted = _wanted(name, predictor, inference)
    try:
        outputs = predictor.run(scans)
    except LiquidLensError as error:
        logger.exception("inference failed")
        shape = " x ".join(map(str, scans.shape))
        raise HTTPException(500, f"{name} cannot compute an answer for a tensor of {shape}.") from error
    if not all(np.isfinite(values).all() for values in outputs.values()):
        raise HTTPException(400, "The values are too large, the model's answer is not a number.")
    return _encoded(name, inference.id, outputs, wanted)


def _scans(name: str, predictor: Predictor, inference: _Inference, binary: memoryview) -> NDArray[np.float32]:
    """The input ``scan`` of a request, checked against the model."""
    if [tensor.name for tensor in inference.inputs] != ["scan"]:
        raise HTTPException(400, f"{name} has one input, scan.")
    tensor, expects = inference.inputs[0], predictor.manifest.input
    if tensor.datatype != "FP32":
        raise HTTPException(400, f"The input scan is FP32, not {tensor.datatype}.")
    axes = ("batch", *("slices", "rows", "columns")[-len(expects.size) :])
    fits = len(tensor.shape) == len(axes) + (expects.channels == 3) and min(tensor.shape) > 0
    if not fits or (expects.channels == 3 and tensor.shape[-1] != 3):
        colour = ", 3" if expects.channels == 3 else ""
        raise HTTPException(400, f"The input scan is ({', '.join(axes)}{colour}), not {list(tensor.shape)}.")
    if tensor.shape[0] > MAX_BATCH:
        raise HTTPException(400, f"A request holds up to {MAX_BATCH} scans, not {tensor.shape[0]}.")
    if _pixels_at_most(tensor.shape, expects.size) > MAX_PIXELS:
        raise HTTPException(413, f"A tensor of {list(tensor.shape)} takes too much memory to resize.")
    values = _from_binary(tensor, binary) if "binary_data_size" in tensor.parameters else _from_json(tensor, binary)
    if values.size != math.prod(tensor.shape):
        raise HTTPException(400, f"The shape {list(tensor.shape)} does not have {values.size} values.")
    if not np.isfinite(values).all():
        raise HTTPException(400, "Values of the input scan are not finite, or beyond what FP32 holds.")
    return values.reshape(tensor.shape)


def _from_binary(tensor: _Tensor, binary: memoryview) -> NDArray[np.float32]:
    size = tensor.parameters["binary_data_size"]
    if size != len(binary):
        raise HTTPException(400, f"binary_data_size is {size!r}, and {len(binary)} bytes follow the JSON.")
    if size % 4:
        raise HTTPException(400, f"binary_data_size is {size}, and a value of FP32 has 4 bytes.")
    return np.frombuffer(binary, "<f4")


def _from_json(tensor: _Tensor, binary: memoryview) -> NDArray[np.float32]:
    if tensor.data is None or len(binary):
        raise HTTPException(400, "The input scan needs its values, in `data` or as binary data, not both.")
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
