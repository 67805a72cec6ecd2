"""Reading NumPy arrays: .npy files, and .npz archives, of which only the named array is unpacked."""

import functools
import io
import math
from collections.abc import Container
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import Budget, size_of
from liquidlens.imaging.formats.archives import Member, open_zip
from liquidlens.imaging.request import Request, fill, index, to_float32
from liquidlens.imaging.scan import Scan

#: More than NumPy itself accepts as the header of an array (10,000 bytes and the magic string).
_HEADER = 16_384
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
#: Where its length stands.
_LENGTHS = {(1, 0): slice(8, 10), (2, 0): slice(8, 12)}


@dataclass(frozen=True)
class Stored:
    """An array in a file, of which nothing but the header was read.

    by_columns: the last item's numbers do not lie together, as in Fortran.  start: where the numbers begin.
    """

    file: BinaryIO
    shape: tuple[int, ...]
    dtype: np.dtype
    by_columns: bool
    start: int
    budget: Budget

    def read(self) -> NDArray:
        """The whole array."""
        return self._numbers(self.start, self.shape)

    def item(self, at: int) -> NDArray:
        """Item `at` of its first axis.  Items that are read in their order are read without going back."""
        if self.by_columns:
            return self._whole[at]
        shape = self.shape[1:]  # the item lies in one piece: skip to it
        return self._numbers(self.start + at * math.prod(shape) * self.dtype.itemsize, shape)

    @functools.cached_property
    def _whole(self) -> NDArray:
        return self.read()

    def _numbers(self, start: int, shape: tuple[int, ...]) -> NDArray:
        """Nothing is allocated that the budget forbids."""
        self.budget.check_pixels(math.prod(shape))
        self.file.seek(start)
        flat = np.empty(math.prod(shape), self.dtype)
        if not fill(flat, self.file):
            raise ValueError("the file ends before its array")
        return flat.reshape(shape, order="F" if self.by_columns else "C")


def stored(file: BinaryIO, size: int, budget: Budget) -> Stored:
    """The array of an .npy file of `size` bytes.  Raises LiquidLensError if it holds no numbers."""
    head = file.read(_HEADER)
    version = np.lib.format.read_magic(io.BytesIO(head))
    if version not in _HEADERS:
        raise LiquidLensError("pixels are numbers, this array holds records.")
    length = _LENGTHS[version]
    start = length.stop + int.from_bytes(head[length], "little")
    shape, by_columns, dtype = _parsed(version, head[length.start : start])
    if dtype.kind not in "biuf":
        raise LiquidLensError(f"pixels are numbers, this array holds {dtype}.")
    if min(shape, default=0) < 0 or start + math.prod(shape) * dtype.itemsize > size:
        raise ValueError("the file ends before its array")
    return Stored(file, shape, dtype, by_columns, start, budget)


@functools.lru_cache(64)  # thousands of files have the same one, and reading it takes longer than their pixels
def _parsed(version: tuple[int, int], header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    return _HEADERS[version](io.BytesIO(header))


def read_npy(file: BinaryIO, request: Request) -> Scan:
    """A scan from an .npy file, or item ``request.selection`` of a stack of scans."""
    return _scan(stored(file, size_of(file), request.budget), request.selection, "")


def members(file: BinaryIO, budget: Budget) -> dict[str, Member]:
    """The arrays of an .npz archive by name.  Raises LiquidLensError if there are none."""
    found = {member.name.removesuffix(".npy"): member for member in open_zip(file, budget)}
    if not found:
        raise LiquidLensError("the archive is empty.")
    return found


def read_npz(file: BinaryIO, request: Request) -> Scan:
    """A scan from an .npz archive: its one array, or what ``array`` or ``array/item`` names."""
    arrays = members(file, request.budget)
    names = list(arrays)
    name, item = chosen(request.selection, arrays)
    if not name and len(names) == 1:
        name = names[0]
    if name not in arrays:
        raise LiquidLensError(
            f"the archive holds {', '.join(names)}; name one scan, as in {request.name}#{names[0]}/0."
        )
    with arrays[name].stream() as array:
        return _scan(stored(array, arrays[name].size, request.budget), item, f"{name}/")


def chosen(selection: str, arrays: Container[str]) -> tuple[str, str]:
    """The array and the item that ``array`` or ``array/item`` names; names of arrays may hold slashes as well."""
    if selection in arrays:
        return selection, ""
    name, _, item = selection.rpartition("/")
    return (name, item) if name else (item, "")


def item_of(array: Stored, item: str) -> NDArray:
    """The item of a stack that a selection names.  Raises LiquidLensError if there is none."""
    if len(array.shape) < 3:
        raise LiquidLensError(f"this is no stack of scans, there is no item {item!r}.")
    return array.item(index(item, array.shape[0]))


def _scan(array: Stored, item: str, prefix: str) -> Scan:
    """The array as a scan, or one item of it."""
    if item:
        return Scan(to_float32(item_of(array, item)))
    if len(array.shape) == 4:
        raise LiquidLensError(f"a stack of {array.shape[0]} volumes; name one of them, as in #{prefix}0.")
    return Scan(to_float32(array.read()))
