"""The scans in a place that is open, by number and name, none of them read; those of arrays are found here."""

import bisect
import functools
import hashlib
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError, reading
from liquidlens.imaging.formats.archives import Member
from liquidlens.imaging.formats.arrays import Stored, stored
from liquidlens.imaging.formats.kinds import Kind
from liquidlens.imaging.request import Request, to_float32
from liquidlens.imaging.scan import Scan


class Item(NamedTuple):
    """One scan of a place that is open.  load: gives the SHA-256 of its bytes, and what decodes them."""

    name: str
    kind: Kind
    load: Callable[[], tuple[str, Callable[[], Scan]]]


class Collection(NamedTuple):
    """The scans of a place that is open.  item: takes their numbers, in rising order."""

    length: int
    item: Callable[[int], Item]


def in_arrays(arrays: dict[str, Member], request: Request, axes: int) -> Collection:
    """The scans in arrays of an archive; labels are left out: words, arrays of other sizes, and an array that could be
    one image but has a row for each image of a stack."""

    @functools.lru_cache(1)  # an archive may hold thousands, and each takes memory while it is open
    def opened(name: str) -> Stored:
        return stored(arrays[name].stream(), arrays[name].size, request.budget)

    def read(name: str) -> NDArray:
        return opened(name).read()

    shapes: dict[str, tuple[int, ...]] = {}
    for name in arrays:
        with reading(name, "NPY"):
            try:
                shapes[name] = opened(name).shape
            except LiquidLensError:  # no numbers
                if len(arrays) == 1:
                    raise
                continue
    of_one = axes + request.colour
    lengths = {shape[0] for shape in shapes.values() if len(shape) > of_one}
    parts = []
    for name, shape in shapes.items():
        if len(shape) == of_one + 1:
            parts.append(in_stack(f"{name}/", shape, functools.partial(opened, name)))
        elif len(shape) == of_one and not (of_one == 2 and shape[0] in lengths):
            parts.append(single(whole(name, functools.partial(read, name))))
    if not parts:
        raise LiquidLensError(f"its arrays hold no {'volumes' if axes == 3 else 'images'}.")
    ends = list(itertools.accumulate(part.length for part in parts))

    def item(number: int) -> Item:
        part = bisect.bisect_right(ends, number)
        return parts[part].item(number - ends[part] + parts[part].length)

    return Collection(ends[-1], item)


def single(item: Item) -> Collection:
    """One scan."""
    return Collection(1, lambda _: item)


def in_stack(prefix: str, shape: tuple[int, ...], opened: Callable[[], Stored]) -> Collection:
    """The items of a stack, named by their numbers."""
    length = shape[0] if all(shape) else 0  # a header can claim any number of items of nothing
    return Collection(length, lambda number: whole(f"{prefix}{number}", lambda: opened().item(number)))


def whole(name: str, read: Callable[[], NDArray]) -> Item:
    """A scan that is numbers and nothing else."""

    def load() -> tuple[str, Callable[[], Scan]]:
        pixels = read()
        return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest(), lambda: Scan(to_float32(pixels))

    return Item(name, "NPY", load)
