"""A fixed field of view in millimetres around a point of a scan: crop, resampling and padding in plain operators.

Voxels are blocks of one value, and a point is the mean of what it covers, as far as to where the next one begins; what
lies beyond the scan counts as nothing.  A piece of a patient that is stored in more voxels of the same values is then
the same scan, and so is one that is stored within air.  Only the voxels that points cover are touched: time and memory
go with the field of view, not with the scan.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor


class Region(NamedTuple):
    """The part of each scan that its field of view reaches, and how it is resampled.

    voxels: (batch, n0, n1, n2); one scan of a batch may need fewer than are here.  weights: for each axis (batch, size,
    n).  A row of weights sums to the share of its point that lies inside the scan.
    """

    voxels: Tensor
    weights: tuple[Tensor, Tensor, Tensor]

    @property
    def reached(self) -> Tensor:
        """Which voxels have any weight, (batch, n0, n1, n2)."""
        slices, rows, columns = (weights.amax(1) > 0 for weights in self.weights)
        return slices[:, :, None, None] & rows[:, None, :, None] & columns[:, None, None, :]

    @property
    def inside(self) -> Tensor:
        """The share of each point of the field of view that lies inside the scan, 0..1: (batch, *size)."""
        slices, rows, columns = (weights.sum(2) for weights in self.weights)
        return slices[:, :, None, None] * rows[:, None, :, None] * columns[:, None, None, :]

    def resampled(self, voxels: Tensor) -> Tensor:
        """Voxels (batch, n0, n1, n2) as the field of view (batch, *size); what lies outside the scan counts as 0."""
        slices, rows, columns = self.weights
        voxels = (slices @ voxels.flatten(2)).unflatten(2, voxels.shape[2:])
        return rows.unsqueeze(1) @ voxels @ columns.transpose(1, 2).unsqueeze(1)


def region(scan: Tensor, spacing: Tensor, centre: Tensor, size: tuple[int, ...], own: tuple[float, ...]) -> Region:
    """What a field of view of `size` points, `own` millimetres apart, reaches.

    scan: (batch, slices, rows, columns).  spacing: (batch, 3), millimetres between its neighbours; NaN stands for
    `own`.  centre: (batch, 3), the voxel in the middle of the field of view, counted from 0 and in fractions, inside
    the scan or not; NaN stands for the middle of the scan.
    """
    # The exporter would take len(scan) for a constant.
    place, weights = torch.arange(scan.shape[0], device=scan.device), []  # place: of the voxels in the flattened scans
    for axis, length in enumerate(scan.shape[1:]):
        given, middle = spacing[:, axis : axis + 1], centre[:, axis : axis + 1]
        middle = torch.where(torch.isnan(middle), (length - 1) / 2, middle)
        step = torch.where(torch.isnan(given), 1.0, own[axis] / given)  # voxels from point to point
        extent = (size[axis] * step + 1) / 2  # from the middle to the last voxel that is touched
        # As many voxels for each scan of a batch, whatever its point: the most that any of them needs.
        most = (torch.floor(2 * extent).max() + 1).clamp(min=1)
        count = cast(int, torch.minimum(most, torch.full_like(most, length)).to(torch.int64).item())
        torch._check(count >= 1)
        torch._check(count <= length)
        first = torch.ceil(middle - extent).clamp(min=0)
        first = torch.minimum(first, torch.full_like(first, length - count))
        voxels = torch.arange(count, dtype=scan.dtype, device=scan.device)
        offset = torch.arange(size[axis], dtype=scan.dtype, device=scan.device) - (size[axis] - 1) / 2
        # Counted from the first voxel: the numbers are small, and as exact in any part of the scan.
        points, wide = (middle - first + offset * step)[..., None], step[..., None]
        covered = torch.minimum(voxels + 0.5, points + wide / 2) - torch.maximum(voxels - 0.5, points - wide / 2)
        weights.append(torch.relu(covered) / wide)
        voxel = first.to(torch.int64) + torch.arange(count, device=scan.device)  # (batch, count)
        place = place[..., None] * length + voxel.reshape(scan.shape[0], *[1] * axis, count)
    slices, rows, columns = weights
    voxels = scan.flatten().index_select(0, place.flatten()).reshape(place.shape)
    return Region(voxels, (slices, rows, columns))
