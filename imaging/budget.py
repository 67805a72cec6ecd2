"""Budgets: how much one scan may ask of the machine, checked in front of every decoder.

A file of a few kilobytes can claim to hold, or unpack to, more than any memory.  Every reader therefore looks at the
header first, asks the budget, and only then decodes.
"""

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, BinaryIO

from liquidlens.errors import LiquidLensError, unknown

#: Below this, unpacked bytes do no harm whatever their ratio: a mask of 256 slices is packed a thousand to one.
_HARMLESS = 64 * 2**20


@dataclass(frozen=True)
class Budget:
    """Limits for reading one scan.  The defaults hold the largest scans of a hospital; raise one for a file you trust.

    file_bytes: size of a file, or of all files of a series, also after unpacking.
    pixels: pixels (voxels) of the scan.  The default is 2,048 slices of 512 x 512, 2 GiB as float32.
    slices: slices of a volume, frames or pages of a file.  A folder or archive may hold ten times as many files.
    scans: scans in one file or archive of many.
    inflate_ratio: unpacked bytes per packed byte, looked at beyond 64 MiB.  Deflate ends at 1,032, and segmented
        volumes, nearly all background, come close to it.
    seconds: wall-clock time and processor time, kept by `imaging.read_safely` alone.
    memory_bytes: address space of the reading process, half a GiB of it for Python and its libraries; kept by
        `imaging.read_safely` alone.  The default is three times the largest scan: as read, turned, and room to decode.
    """

    file_bytes: int = 2 * 2**30
    pixels: int = 512 * 2**20
    slices: int = 2_048
    scans: int = 1_000_000
    inflate_ratio: float = 1_000
    seconds: float = 120
    memory_bytes: int = 6 * 2**30

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            most = threading.TIMEOUT_MAX if limit.name == "seconds" else math.inf
            if not 0 < value <= most:
                raise LiquidLensError(f"The limit {limit.name} is a number above 0 and at most {most:g}, not {value}.")

    def check_file(self, size: int) -> None:
        """Raise LiquidLensError if a file, or the files of a series, have too many bytes."""
        self._check("file_bytes", size, "bytes")

    def check_pixels(self, number: int) -> None:
        """Raise LiquidLensError if a scan has too many pixels."""
        self._check("pixels", number, "pixels")

    def check_slices(self, number: int) -> None:
        """Raise LiquidLensError if there are too many slices, frames or pages."""
        self._check("slices", number, "slices or frames")

    def check_scans(self, number: int) -> None:
        """Raise LiquidLensError if one file or archive has too many scans."""
        self._check("scans", number, "scans")

    def check_inflated(self, inflated: int, packed: int) -> None:
        """Raise LiquidLensError if `packed` bytes unpack to too many, or to suspiciously many."""
        self._check("file_bytes", inflated, "unpacked bytes")
        if inflated > _HARMLESS:
            self._check("inflate_ratio", inflated / max(packed, 1), "times the packed size")

    def _check(self, limit: str, value: float, what: str) -> None:
        allowed = getattr(self, limit)
        if value > allowed:
            raise LiquidLensError(
                f"{value:,.0f} {what} are over the budget of {allowed:,.0f}; raise {limit!r} if you trust the file."
            )


DEFAULT = Budget()
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def parse_budget(changes: Iterable[str], default: Budget = DEFAULT) -> Budget:
    """The default budget with changes such as ``seconds=600`` and ``file_bytes=8GiB``.

    Raises LiquidLensError for an unknown limit, and for what is no such number.
    """
    limits = {limit.name: limit.type for limit in fields(Budget)}
    for change in changes:
        name, _, text = change.partition("=")
        if name not in limits:
            raise unknown("limit", name, limits)
        unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
        try:
            value = float(text.removesuffix(unit)) * _UNITS.get(unit, 1)
            limit: Any = value if limits[name] is float else int(value)
            default = replace(default, **{name: limit})
        except (ValueError, OverflowError, LiquidLensError):
            raise LiquidLensError(
                f"A limit is a number above 0, of seconds one that a clock can wait for, as in seconds=600 or "
                f"file_bytes=8GiB, not {change!r}."
            ) from None
    return default


def size_of(file: BinaryIO) -> int:
    """The bytes of an open file, which is left at its start."""
    size = file.seek(0, 2)
    file.seek(0)
    return size
