"""The scan: what a person brings, as pixels and geometry, and nothing about the patient."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError

Line = tuple[float, float, float, float]
Affine = tuple[Line, Line, Line]


@dataclass(frozen=True, eq=False)
class Scan:
    """Pixels of one scan.

    pixels: float32, as stored after the file's own rescaling (grey values, Hounsfield units, or a mask).
        A volume is (slices, rows, columns): slices from inferior to superior, rows from anterior to posterior, columns
        from the patient's right to left.  An image is (rows, columns).  Arrays without geometry are taken as they are.
        A colour image that was read as such is (rows, columns, 3).
    spacing: millimetres between neighbours along each axis of `pixels` (of a colour image: its first two); None if the
        file does not say.
    modality: DICOM's modality code such as ``CT``; None if the file does not say.
    units: ``HU`` if the pixels are Hounsfield units by the file's own words; None otherwise.
    window: the grey values that the file wants shown as black and as white; None if it has no wish.
    oriented: whether the file says how the patient lies in a volume, so that its sides may be named.
    affine: of such a volume the 3 x 4 matrix from (slice, row, column, 1) to the patient's coordinates (x, y, z) in
        millimetres, DICOM's: to the left, to the back, to the head (LPS); None otherwise.
    centre: of a volume the place to look at (slice, row, column), counted from 0 and in fractions, for models that see
        a part of it; None: its middle.  `pointed` gives one.
    notes: sentences for the person who reads the scan: what was changed, chosen or assumed.

    Raises LiquidLensError if the pixels are empty, not 2D or 3D, or not finite.
    """

    pixels: NDArray[np.float32]
    spacing: tuple[float, ...] | None = None
    modality: str | None = None
    units: Literal["HU"] | None = None
    window: tuple[float, float] | None = None
    oriented: bool = False
    affine: Affine | None = None
    centre: tuple[float, float, float] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = " x ".join(map(str, self.pixels.shape))
        if self.pixels.ndim not in (2, 3):
            raise LiquidLensError(f"A scan has 2 or 3 axes, this array has {self.pixels.ndim} ({shape}).")
        if self.pixels.size == 0:
            raise LiquidLensError(f"The scan is empty ({shape} pixels).")
        bad = int(self.pixels.size - np.isfinite(self.pixels).sum())
        if bad:
            raise LiquidLensError(
                f"{bad} of {self.pixels.size} pixels are not finite (NaN or infinite): give them the background value."
            )

    def voxel_at(self, point: Sequence[float]) -> tuple[float, float, float]:
        """The place (slice, row, column) of a point (x, y, z) of the patient's coordinates, in fractions of voxels and
        inside of the volume or not.  Raises LiquidLensError if nothing is known of such coordinates."""
        if self.affine is None:
            raise LiquidLensError(
                "it does not tell the patient's coordinates, in which x, y, z are; say where by slice, row, column."
            )
        matrix = np.array(self.affine)
        slice_, row, column = np.linalg.solve(matrix[:, :3], np.asarray(point, float) - matrix[:, 3])
        return float(slice_), float(row), float(column)

    def pointed(self, place: Sequence[float]) -> "Scan":
        """The same scan, to be looked at around a place (slice, row, column).  Raises LiquidLensError if this is no
        volume, or the place lies outside of it."""
        shape = self.pixels.shape
        if len(shape) != 3 or len(place) != 3:
            raise LiquidLensError("a place has a slice, a row and a column, and lies in a volume.")
        if not all(-0.5 <= at < length - 0.5 for at, length in zip(place, shape, strict=True)):
            point, size = (" x ".join(f"{number:g}" for number in numbers) for numbers in (place, shape))
            raise LiquidLensError(
                f"the point {point} lies outside of the scan of {size} (slices, rows, columns, counted from 0)."
            )
        return replace(self, centre=(float(place[0]), float(place[1]), float(place[2])))

    def middle_of(self, mask: "Scan") -> tuple[float, ...]:
        """The centroid of a segmentation of this scan, what is above half of its maximum, in voxels.  Raises
        LiquidLensError if it is of another size, or empty."""
        if mask.pixels.shape != self.pixels.shape:
            sizes = (" x ".join(map(str, each.pixels.shape)) for each in (mask, self))
            raise LiquidLensError(
                f"the mask is of {next(sizes)}, and its scan of {next(sizes)}; a mask lies in the space of its scan."
            )
        inside = mask.pixels > 0.5 * mask.pixels.max()
        if not inside.any():
            raise LiquidLensError("the mask is empty.")
        return tuple(float(where.mean()) for where in np.nonzero(inside))
