"""A fixed field of view in millimetres around a point of a scan: crop, resampling and padding in plain operators.

The triangle filter of `models.front`, with weights that are computed from position and spacing instead of from the size
alone.  A scan ends where its outer voxels end, half a voxel beyond their centres, whatever their size; a point of the
field of view, as large as the distance to the next, may lie in it with a share.  Only the voxels that the filter
reaches are touched: time and memory go with the field of view, not with the scan.
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
        offset = torch.arange(size[axis], dtype=scan.dtype, device=scan.device) - (size[axis] - 1) / 2
        points = middle + offset * step  # (batch, size), in voxels
        reach = torch.clamp(step, min=1.0)
        # As many voxels for each scan of a batch, whatever its point: the most that any of them needs.
        most = (torch.floor((size[axis] - 1) * step + 2 * reach).max() + 1).clamp(min=1)
        count = cast(int, torch.minimum(most, torch.full_like(most, length)).to(torch.int64).item())
        torch._check(count >= 1)
        torch._check(count <= length)
        first = torch.ceil(points[:, :1] - reach).clamp(min=0)
        first = torch.minimum(first, torch.full_like(first, length - count)).to(torch.int64)
        voxels = first + torch.arange(count, device=scan.device)  # (batch, count)
        near = torch.relu(1 - (voxels[:, None].to(scan.dtype) - points[..., None]).abs() / reach[..., None])
        # Where there is a share, the next voxel is within reach; there is none to divide by far outside.
        weights.append(near * (_share(points, step, length) / near.sum(2).clamp(min=1e-6))[..., None])
        place = place[..., None] * length + voxels.reshape(scan.shape[0], *[1] * axis, count)
    slices, rows, columns = weights
    voxels = scan.flatten().index_select(0, place.flatten()).reshape(place.shape)
    return Region(voxels, (slices, rows, columns))


def _share(points: Tensor, step: Tensor, length: int) -> Tensor:
    """How much of each point, `step` voxels wide, lies in a scan of so many voxels, 0..1."""
    below, above = points + 0.5, length - 0.5 - points  # from its middle to the ends of the scan
    return torch.relu(1 - torch.relu(0.5 - below / step) - torch.relu(0.5 - above / step))
