"""Reading NumPy arrays: .npy files, and .npz archives, of which only the named array is unpacked."""

import io
import math
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from imaging.archives import open_zip
from imaging.budget import Budget, size_of
from imaging.errors import LiquidLensError
from imaging.request import Request, fill, index, to_float32
from imaging.scan import Scan

#: More than NumPy itself accepts as the header of an array (10,000 bytes and the magic string).
_HEADER = 16_384
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(file: BinaryIO, request: Request) -> Scan:
    """A scan from an .npy file, or item ``request.selection`` of a stack of scans."""
    return Scan(_read_array(file, size_of(file), request.selection, "", request.budget))


def read_npz(file: BinaryIO, request: Request) -> Scan:
    """A scan from an .npz archive: its one array, or what ``array`` or ``array/item`` names."""
    members = {member.name.removesuffix(".npy"): member for member in open_zip(file, request.budget)}
    names = list(members)
    if not names:
        raise LiquidLensError("the archive is empty.")
    name, _, item = request.selection.partition("/")
    if not request.selection and len(names) == 1:
        name = names[0]
    if name not in members:
        raise LiquidLensError(
            f"the archive holds {', '.join(names)}; name one scan, as in {request.name}#{names[0]}/0."
        )
    with members[name].stream() as array:
        return Scan(_read_array(array, members[name].size, item, f"{name}/", request.budget))


def _read_array(file: BinaryIO, size: int, item: str, prefix: str, budget: Budget) -> NDArray[np.float32]:
    """The array, or one item of it, from a file of `size` bytes.  Nothing is allocated that the budget forbids."""
    head = io.BytesIO(file.read(_HEADER))
    version = np.lib.format.read_magic(head)
    if version not in _HEADERS:
        raise LiquidLensError("pixels are numbers, this array holds records.")
    shape, by_columns, dtype = _HEADERS[version](head)
    if dtype.kind not in "biuf":
        raise LiquidLensError(f"pixels are numbers, this array holds {dtype}.")
    start = head.tell()
    if min(shape, default=0) < 0 or start + math.prod(shape) * dtype.itemsize > size:
        raise ValueError("the file ends before its array")
    at = None
    if item:
        if len(shape) < 3:
            raise LiquidLensError(f"this is no stack of scans, there is no item {item!r}.")
        at = index(item, shape[0])
        if not by_columns:  # the item lies in one piece: skip to it
            start += at * math.prod(shape[1:]) * dtype.itemsize
            shape, at = shape[1:], None
    elif len(shape) == 4:
        raise LiquidLensError(f"a stack of {shape[0]} volumes; name one of them, as in #{prefix}0.")
    budget.check_pixels(math.prod(shape))
    file.seek(start)
    flat = np.empty(math.prod(shape), dtype)
    if not fill(flat, file):
        raise ValueError("the file ends before its array")
    array = flat.reshape(shape, order="F" if by_columns else "C")
    return to_float32(array if at is None else array[at])
