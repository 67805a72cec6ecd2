"""What is found in the files: of each scan its size, values and storage, read once before anything is trained."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError, reading
from liquidlens.imaging.display import display_window, displayed
from liquidlens.imaging.scan import Scan
from liquidlens.imaging.storage import Storage, storage
from liquidlens.train.datasets.cache import content_of
from liquidlens.train.datasets.readers import BUDGET, read
from liquidlens.train.datasets.table.rows import Row


@dataclass(frozen=True)
class MaskFacts:
    """A segmentation: its volume (mm3, of images mm2; voxels where the scan has no spacing), the longest side of the
    box around it (mm, or voxels), and its centroid, a place in the scan (voxels from 0, in fractions)."""

    volume: float
    diameter: float
    centroid: tuple[float, ...]


@dataclass(frozen=True)
class Facts:
    """One scan that was read.

    shape, spacing, modality, units: as of `imaging.Scan`.  low, high, mean: of its values.  whole: whether all are
    whole numbers; binary: whether they are 0 and one other number alone; coloured: whether it is shown in colours.
    windowed: whether the file says, or its kind, which values are to be seen as black and white.
    digest: the SHA-256 of its pixels.  content: a digest of its file or files.
    point: the place (voxels from 0) that its row names, in either way.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    modality: str | None
    units: str | None
    low: float
    high: float
    mean: float
    whole: bool
    binary: bool
    coloured: bool
    windowed: bool
    digest: str
    content: str
    storage: Storage
    mask: MaskFacts | None = None
    point: tuple[float, ...] | None = None

    @property
    def centre(self) -> tuple[float, ...] | None:
        """Where in the scan to look (slice, row, column): at the point, or else at the mask; None: in its middle."""
        return self.point or (self.mask.centroid if self.mask else None)


def facts_of(row: Row) -> Facts:
    """Read one scan, and its mask.  Raises LiquidLensError, naming the row, if it cannot be read, if the mask is of
    another size or empty, and if the point lies outside."""
    try:
        scan = read(row.source)
        stored = storage(row.source, BUDGET)
        with reading(row.source, "folder" if row.source.is_dir() else None):
            content = content_of(row.source)
        mask = read(row.mask) if row.mask is not None else None
    except LiquidLensError as error:
        raise LiquidLensError(f"{row.where}: {error}" if row.where else str(error)) from error
    pixels = scan.pixels
    low, high = float(pixels.min()), float(pixels.max())
    return Facts(
        shape=pixels.shape,
        spacing=scan.spacing,
        modality=scan.modality,
        units=scan.units,
        low=low,
        high=high,
        mean=float(pixels.mean()),
        whole=not (pixels % 1).any(),
        binary=low == 0 < high and bool(((pixels == low) | (pixels == high)).all()),
        coloured=any("Colour was turned to grey" in note for note in scan.notes),
        windowed=display_window(scan) is not None,
        digest=hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest(),
        content=content,
        storage=stored,
        mask=None if mask is None else _mask_facts(row, scan, mask),
        point=_point(row, scan),
    )


def _point(row: Row, scan: Scan) -> tuple[float, ...] | None:
    """The voxel that a row names, or the one at its point in the patient."""
    shape = scan.pixels.shape
    point = row.point and row.point[-len(shape) :]
    said = ""
    if row.point_mm is not None:
        try:
            there = scan.voxel_at(row.point_mm)
        except LiquidLensError as error:
            raise LiquidLensError(f"{row.where}: {row.source}: {error}") from error
        said = f", {_numbers(row.point_mm, ', ')} mm in the patient,"
        if point is not None and max(abs(a - b) for a, b in zip(point, there, strict=True)) > 1:
            raise LiquidLensError(
                f"{row.where}: slice, row, column say {_numbers(point)}, and x, y, z {_numbers(there)}: leave one out."
            )
        point = point or there
    if point is not None and not all(-0.5 <= at < length - 0.5 for at, length in zip(point, shape, strict=True)):
        raise LiquidLensError(
            f"{row.where}: the point {_numbers(point)}{said} lies outside of the scan of {_numbers(shape)} "
            f"({'slices, ' if len(shape) == 3 else ''}rows, columns, counted from 0)."
        )
    return point


def _mask_facts(row: Row, scan: Scan, mask: Scan) -> MaskFacts:
    if mask.pixels.shape != scan.pixels.shape:
        raise LiquidLensError(
            f"{row.where}: the mask {row.mask} is of {_numbers(mask.pixels.shape)}, and its scan of "
            f"{_numbers(scan.pixels.shape)}; a mask lies in the space of its scan."
        )
    inside: NDArray[np.bool_] = mask.pixels > 0.5 * mask.pixels.max()
    if not inside.any():
        raise LiquidLensError(f"{row.where}: the mask {row.mask} is empty.")
    spacing = np.array(scan.spacing or (1.0,) * inside.ndim)
    places = np.nonzero(inside)
    sides = np.array([np.ptp(where) + 1 for where in places])
    return MaskFacts(
        volume=float(inside.sum() * spacing.prod()),
        diameter=float((sides * spacing).max()),
        centroid=tuple(float(where.mean()) for where in places),
    )


def pixels_of(source: Path) -> NDArray[np.float32]:
    """The pixels of a scan: (rows, columns) or (slices, rows, columns)."""
    return read(source).pixels


def greys_of(source: Path) -> NDArray[np.float32]:
    """The same as grey values 0..255 or 0..65535, through the window that the file wants, if any."""
    return displayed(read(source))


def colours_of(source: Path) -> NDArray[np.float32]:
    """The pixels of a colour image, (rows, columns, 3)."""
    return read(source, colour=True).pixels


def where_of(each: Facts) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Spacing of a volume, and where in it to look, for `train.datasets.Placed`."""
    return np.array(each.spacing, np.float32), np.array(each.centre or (np.nan,) * 3, np.float32)


def _numbers(numbers: tuple[float, ...], between: str = " x ") -> str:
    return between.join(f"{round(number, 1):g}" for number in numbers)
