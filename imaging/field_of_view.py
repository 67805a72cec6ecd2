"""Where a model's field of view lies in a scan: for whoever cuts it out, draws it, or explains what is in it.

What the model's file does with it stands in the graph (and in ``models/field_of_view.py``); a test compares the two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from liquidlens.manifest import InputContract


@dataclass(frozen=True)
class FieldOfView:
    """A field of view of `size` points around a voxel of a volume.

    shape: of the volume.  centre: the voxel in its middle, counted from 0, in fractions.  step: voxels from one of its
    points to the next, along each axis.
    """

    size: tuple[int, ...]
    shape: tuple[int, ...]
    centre: tuple[float, ...]
    step: tuple[float, ...]

    @classmethod
    def of(
        cls,
        contract: "InputContract",
        shape: Sequence[int],
        spacing: Sequence[float] | NDArray[np.float32] | None,
        centre: Sequence[float] | NDArray[np.float32] | None,
    ) -> "FieldOfView":
        """The field of view of a model with a spacing.  spacing, centre: of the volume, in the order of its axes; what
        is None or NaN is the model's own spacing, and the middle."""
        own = contract.spacing
        assert own is not None  # noqa: S101 (for mypy)
        given = [math.nan] * 3 if spacing is None else list(map(float, spacing))
        point = [math.nan] * 3 if centre is None else list(map(float, centre))
        return cls(
            contract.size,
            tuple(shape),
            tuple((n - 1) / 2 if math.isnan(at) else at for n, at in zip(shape, point, strict=True)),
            tuple(1.0 if math.isnan(mm) else ours / mm for ours, mm in zip(own, given, strict=True)),
        )

    @property
    def positions(self) -> tuple[NDArray[np.float64], ...]:
        """Where its points lie along each axis, in voxels; they may lie outside of the volume."""
        return tuple(
            at + (np.arange(points, dtype=np.float64) - (points - 1) / 2) * step
            for points, at, step in zip(self.size, self.centre, self.step, strict=True)
        )

    def seen(self, part: NDArray[np.float32], outside: float = 0.0) -> NDArray[np.float32]:
        """What it shows, of the size of its points.  part: the volume's pixels that are `reached`; what lies outside of
        the volume counts as `outside`."""
        shown = part - np.float32(outside)
        for axis, (points, step) in enumerate(zip(self.positions, self.step, strict=True)):
            voxels, points = np.arange(self.reached[axis].start, self.reached[axis].stop), points[:, None]
            covered = np.minimum(voxels + 0.5, points + step / 2) - np.maximum(voxels - 0.5, points - step / 2)
            shown = _product(covered.clip(0) / step, shown, axis)
        return shown + np.float32(outside)

    def laid_back(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of its points as values of the volume's voxels, 0 beyond its box."""
        laid = np.zeros(self.shape, np.float32)
        inside = tuple(
            slice(min(max(math.ceil(low), 0), length), min(max(math.floor(high) + 1, 0), length))
            for (low, high), length in zip(self.box, self.shape, strict=True)
        )
        for axis, (part, at, step) in enumerate(zip(inside, self.centre, self.step, strict=True)):
            points = self.size[axis]
            places = (np.arange(part.start, part.stop) - at) / step + (points - 1) / 2
            distances = np.abs(np.arange(points) - places.clip(0, points - 1)[:, None])
            near = np.maximum(0, 1 - distances / max(1 / step, 1.0))  # a triangle: a map is smooth
            values = _product(near / near.sum(1, keepdims=True), values, axis)
        laid[inside] = values
        return laid

    @property
    def box(self) -> tuple[tuple[float, float], ...]:
        """Its first and last edge along each axis, in voxels, whose own edges lie half a voxel beside them: what is to
        be drawn.  It may reach beyond the volume."""
        return tuple(
            (at - points * step / 2, at + points * step / 2)
            for points, at, step in zip(self.size, self.centre, self.step, strict=True)
        )

    @property
    def reached(self) -> tuple[slice, ...]:
        """The part of the volume that its points are computed from; one voxel where all of it lies outside."""
        parts = []
        for points, length, at, step in zip(self.size, self.shape, self.centre, self.step, strict=True):
            extent = (points * step + 1) / 2
            start = min(max(math.floor(at - extent) + 1, 0), length - 1)  # what only touches it has no weight
            parts.append(slice(start, max(min(math.ceil(at + extent) - 1, length - 1), start) + 1))
        return tuple(parts)


def _product(weights: NDArray, values: NDArray, axis: int) -> NDArray[np.float32]:
    """Weights (to, from) times the values along an axis."""
    return np.moveaxis(np.tensordot(weights.astype(np.float32), values, (1, axis)), 0, axis)
