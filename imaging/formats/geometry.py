"""Where pixels lie in the patient: slices in order, and every volume turned to one convention.

World coordinates here are DICOM's, in millimetres: x to the patient's left, y to the back, z to the head (LPS).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.request import to_float32
from liquidlens.imaging.scan import Affine

#: Two direction cosines that differ by less are the same: files round them to 4 or 5 digits.
_SAME_DIRECTION = 1e-3
#: Two lengths that differ by a smaller part are the same.
_SAME_SPACING = 1e-3
#: Neighbours whose distance differs from the usual one by a larger part are not evenly spaced.
_EVEN = 0.05
#: Two slices that are nearer to each other lie at the same place (mm).
_SAME_PLACE = 1e-3
#: Volumes that lie more degrees off the patient's axes are noted.
_OBLIQUE = 5


@dataclass(frozen=True)
class Plane:
    """Where one slice lies.

    name: the file or frame, for errors.  size: rows, columns.  spacing: mm between rows, between columns.
    position: the centre of the first pixel.  orientation: the unit vector along a row (towards higher columns), then
    the one along a column (towards higher rows); (0020,0037) Image Orientation (Patient).
    """

    name: str
    size: tuple[int, int]
    spacing: tuple[float, float]
    position: tuple[float, float, float]
    orientation: tuple[float, ...]


def arrange(planes: Sequence[Plane]) -> tuple[list[int], NDArray[np.float64]]:
    """Order two or more parallel slices along their normal.

    Returns the order (indices of `planes`) and the 4 x 4 matrix from (slice, row, column) to world coordinates.
    Raises LiquidLensError if the slices are no even stack: mixed, duplicate, missing, uneven or tilted slices.
    """
    first = planes[0]
    for plane in planes[1:]:
        _check_same(first, plane)
    along_row, along_column = np.reshape(first.orientation, (2, 3))
    lengths = np.linalg.norm([along_row, along_column], axis=1)
    if not np.allclose(lengths, 1, atol=0.01) or abs(along_row @ along_column) > 0.01 or min(first.spacing) <= 0:
        raise LiquidLensError("broken geometry: the rows and columns of the slices are not at right angles.")
    normal = np.cross(along_row, along_column)
    positions = np.array([plane.position for plane in planes])
    places = positions @ normal
    order = [int(i) for i in np.argsort(places, kind="stable")]
    step = _even_step([planes[i].name for i in order], places[order])
    steps = (positions - positions[order[0]]) - np.outer(places - places[order[0]], normal)
    shift = np.linalg.norm(steps, axis=1).max()
    if shift > min(first.spacing) / 2:  # less is not visible
        raise _tilted(shift, places.max() - places.min())
    affine = np.eye(4)
    affine[:3, 0] = normal * step
    affine[:3, 1] = along_column * first.spacing[0]
    affine[:3, 2] = along_row * first.spacing[1]
    affine[:3, 3] = positions[order[0]]
    return order, affine


def _check_same(first: Plane, other: Plane) -> None:
    def mixed(what: str, one: str, two: str) -> LiquidLensError:
        return LiquidLensError(
            f"mixed slices: {first.name} and {other.name} differ in {what} ({one} and {two}); give one stack alone."
        )

    if first.size != other.size:
        raise mixed("size", *(f"{rows} x {columns}" for rows, columns in (first.size, other.size)))
    if not np.allclose(first.orientation, other.orientation, rtol=0, atol=_SAME_DIRECTION):
        raise mixed("orientation", *(" ".join(f"{x:.3g}" for x in plane.orientation) for plane in (first, other)))
    if not np.allclose(first.spacing, other.spacing, rtol=_SAME_SPACING):
        raise mixed(
            "pixel spacing", *(f"{rows:g} x {columns:g} mm" for rows, columns in (first.spacing, other.spacing))
        )


def _even_step(names: Sequence[str], places: NDArray[np.float64]) -> float:
    """The distance between neighbours, which is the same for all of them."""
    distances = np.diff(places)
    same = np.flatnonzero(distances < _SAME_PLACE)
    if same.size:
        at = int(same[0])
        raise LiquidLensError(
            f"duplicate slices: {names[at]} and {names[at + 1]} lie at the same place ({same.size} such pairs); "
            "a series over time or of several contrasts is to be split first."
        )
    usual = statistics.median_low(distances.tolist())
    odd = np.flatnonzero(abs(distances - usual) > _EVEN * usual)
    if odd.size:
        at = int(odd[0])
        name = "missing slice" if distances[at] > 1.5 * usual else "uneven slices"
        raise LiquidLensError(
            f"{name}: between {names[at]} and {names[at + 1]} the distance is {distances[at]:.1f} mm instead of "
            f"{usual:.1f}; give the whole series, evenly spaced."
        )
    return float(places[-1] - places[0]) / len(distances)


def check_straight(affine: NDArray[np.float64], shape: Sequence[int]) -> None:
    """Judge a matrix as the positions of a series are: the third axis of `shape` counts slices.

    Raises LiquidLensError if slices are shifted against each other by more than half a pixel, or if a slice is sheared
    so much that no way of laying it straight has all pixels within half a pixel.
    """
    one, two, three = affine[:3, :3].T
    normal = np.cross(one, two)
    if not np.isfinite(affine).all() or not normal.any():  # no volume: `to_lps` says so
        return
    normal /= np.linalg.norm(normal)
    height = (shape[2] - 1) * float(three @ normal)
    shift = float(np.linalg.norm((shape[2] - 1) * three - height * normal))
    lengths = np.linalg.norm(one), np.linalg.norm(two)
    if shift > min(lengths) / 2:
        raise _tilted(shift, abs(height))
    along_one, along_two = abs(one @ two) / np.square(lengths)
    if min((shape[0] - 1) * along_two, (shape[1] - 1) * along_one) > 0.5:
        raise LiquidLensError("broken geometry: the rows and columns of the slices are not at right angles.")


def _tilted(shift: float, height: float) -> LiquidLensError:
    degrees = np.degrees(np.arctan2(shift, height))
    return LiquidLensError(
        f"tilted slices: they do not lie straight above each other, but shifted by up to {shift:.1f} mm "
        f"({degrees:.1f} degrees, a tilted gantry?); resample the series to a straight stack."
    )


def to_lps(
    pixels: NDArray, affine: NDArray[np.float64]
) -> tuple[NDArray[np.float32], tuple[float, ...], Affine, list[str]]:
    """Turn a volume to (slices, rows, columns) from inferior to superior, anterior to posterior, right to left.

    pixels: three axes in any order and direction.  affine: 4 x 4, from their indices to world coordinates (LPS).
    Oblique volumes go to the nearest axes and are not resampled.  Returns pixels, spacing in mm, the
    matrix of the turned volume (see `Scan.affine`), and notes.
    Raises LiquidLensError if the matrix names no three axes.
    """
    vectors = affine[:3, :3]
    spacing = np.linalg.norm(vectors, axis=0)
    if not np.isfinite(affine).all() or not spacing.all() or abs(np.linalg.det(vectors / spacing)) < 0.01:
        raise LiquidLensError("broken geometry: the file's matrix does not span a volume.")
    orientation = orientations.io_orientation(affine)
    turned = orientations.apply_orientation(pixels, orientation).transpose(2, 1, 0)
    axes = [int(axis) for axis in orientation[:, 0]]
    off = [np.degrees(np.arccos(min(1.0, abs(vectors[axis, i]) / spacing[i]))) for i, axis in enumerate(axes)]
    notes = []
    if max(off) > _OBLIQUE:
        notes.append(f"The volume lies {max(off):.0f} degrees off the patient's axes; its sides are the nearest ones.")
    of_turned = (affine @ orientations.inv_ornt_aff(orientation, pixels.shape))[:3, [2, 1, 0, 3]]
    x, y, z = (tuple(line) for line in of_turned.tolist())
    return to_float32(turned), tuple(float(spacing[axes.index(axis)]) for axis in (2, 1, 0)), (x, y, z), notes
