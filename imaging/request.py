"""What is asked of a reader, beside the open file."""

from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import Budget


def fill(array: NDArray, file: BinaryIO) -> bool:
    """Read a contiguous array's bytes from a file; False if the file ends before it."""
    buffer: Any = array  # NumPy's arrays are buffers, which their types do not say before Python 3.12
    return array.size == 0 or file.readinto(memoryview(buffer).cast("B")) == array.nbytes  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Request:
    """name: what the file is called, for hints such as ``scan.npy#0``.  selection: what stood after the ``#``, or ''.
    colour: colour images are wanted as (rows, columns, 3), and not as grey ones."""

    name: str
    selection: str
    budget: Budget
    colour: bool


def index(item: str, length: int) -> int:
    """The item that a selection names, 0 to length - 1.  Raises LiquidLensError for everything else."""
    if not (item.isascii() and item.isdecimal()) or len(item) > 18 or int(item) >= length:
        raise LiquidLensError(f"there is no item {item!r}; items are 0 to {length - 1}.")
    return int(item)


def check_page(request: Request, pages: int) -> int:
    """Which of so many pages of an image is asked for.  Raises LiquidLensError if it is not said, or is not there."""
    if pages > 1 and not request.selection:
        raise LiquidLensError(f"an image of {pages} pages; name one of them, as in {request.name}#0.")
    if pages == 1 and request.selection:
        raise LiquidLensError(f"this is one image, there is no item {request.selection!r}.")
    return index(request.selection or "0", pages)


def to_float32(array: ArrayLike) -> NDArray[np.float32]:
    """Values as float32; what overflows becomes infinite, which `Scan` refuses with a sentence."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def to_grey(colour: NDArray) -> NDArray[np.float32]:
    """Luminance of (..., 3) colours in whole numbers, by the weights of ITU-R BT.601 that Pillow takes as well."""
    return np.rint(colour.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))
