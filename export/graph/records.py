"""What is recorded of the tensors of a file; reading a file needs no torch."""

import hashlib
from collections.abc import Sequence

import onnx
from numpy.typing import NDArray
from onnx.numpy_helper import to_array

from liquidlens.export.facts import Initializer, Kind

#: Hexadecimal digits of a digest.
DIGITS = 32


def record(tensor: onnx.TensorProto, kind: Kind, how: str, sources: Sequence[str] = ()) -> Initializer:
    """What is known of a tensor of a file."""
    value = to_array(tensor)
    return Initializer(
        name=tensor.name,
        digest=digest(value),
        kind=kind,
        dtype=value.dtype.name,
        shape=value.shape,
        bytes=value.nbytes,
        sources=tuple(dict.fromkeys(sources)),
        how=how,
    )


def digest(value: NDArray) -> str:
    """SHA-256 of an initializer, 128 bits of it: data type, shape, and the values in little-endian order."""
    described = f"{value.dtype.name} {value.shape} ".encode()
    return hashlib.sha256(described + value.astype(value.dtype.newbyteorder("<")).tobytes()).hexdigest()[:DIGITS]
