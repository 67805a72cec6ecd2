"""The resizing front: raw pixels of any size in, the network's input out.  It becomes part of every exported file.

Resizing is one matrix product per axis with triangle weights that are computed from the input's size: the antialiased
bilinear filter of Pillow and of torch's ``interpolate(antialias=True)``, here also for volumes, and in plain ONNX
operators, so that every runtime computes the same numbers.
"""

import torch
from torch import Tensor, nn

from liquidlens.manifest import InputContract
from liquidlens.models.field_of_view import Region, region

#: Of "relative" values, so many standard deviations below and above the scan's mean become 0 and 1.
DEVIATIONS = 3.0
#: Where a resized mask is cut.  A hair above 0.5: edges that fall exactly between two points are common, and rounding
#: must not put them inside in one runtime and outside in another.
HALF = 0.5 + 1e-4


def triangle_weights(length: Tensor, size: int) -> Tensor:
    """Weights (size, n) that resample n points to `size` points, rows summing to 1.

    length: any tensor of n elements; only its length counts (a tensor, so that the exporter keeps n dynamic).
    """
    position = torch.cumsum(torch.ones_like(length), 0) - 0.5  # centres of the input points: 0.5, 1.5, ...
    scale = (position[-1:] + 0.5) / size  # input points per output point
    centre = (torch.arange(size, dtype=length.dtype, device=length.device) + 0.5)[:, None] * scale
    distance = (position - centre).abs() / torch.clamp(scale, min=1.0)
    weights = torch.relu(1.0 - distance)
    return weights / weights.sum(1, keepdim=True)


def resampled(pixels: Tensor, axis: int, size: int) -> Tensor:
    """Pixels (batch, ...) resampled to `size` points along an axis.

    As a product with the weights on the left, or of the last axis on the right: nothing is transposed, which would take
    longer than the product itself.
    """
    if not torch.compiler.is_exporting() and pixels.shape[axis] == size:  # a size that is compared is fixed
        return pixels  # which a product with ones on the diagonal would give
    after = pixels.shape[axis + 1 :]
    line = pixels[(0,) * axis + (slice(None),) + (0,) * len(after)]
    weights = triangle_weights(line, size)
    if not after:
        return pixels @ weights.T
    if len(after) == 1:
        return weights @ pixels
    return (weights @ pixels.flatten(axis + 1)).unflatten(-1, after)


class Front(nn.Module):
    """Maps raw pixels (batch, *any size), colour images (batch, rows, columns, 3), to the network's input
    (batch, channels, *contract.size).

    With a `contract.spacing` that is what a field of view of fixed extent around a point shows; spacing and centre are
    (batch, 3), as of `models.field_of_view.region`, and NaN where they are not given.  What lies outside the scan is 0,
    the low end of a window.
    """

    def __init__(self, contract: InputContract):
        super().__init__()
        self.contract = contract

    def forward(
        self,
        scan: Tensor,
        spacing: Tensor | None = None,
        centre: Tensor | None = None,
        largest: Tensor | None = None,
    ) -> Tensor:
        """largest: (batch,) the largest pixel of the whole scan, if `scan` is only a part of it."""
        return self.shown(self.look(scan, spacing, centre), largest)

    def look(self, scan: Tensor, spacing: Tensor | None = None, centre: Tensor | None = None) -> Tensor | Region:
        """What there is to see of the scans: all of them, or what the fields of view reach."""
        if self.contract.spacing is None:
            return scan
        default = torch.full((scan.shape[0], 3), torch.nan, dtype=scan.dtype, device=scan.device)
        spacing, centre = (default if given is None else given for given in (spacing, centre))
        return region(scan, spacing, centre, self.contract.size, self.contract.spacing)

    def shown(self, seen: Tensor | Region, largest: Tensor | None = None) -> Tensor:
        """`forward`, of what there is to see."""
        if self.contract.values == "features":
            assert isinstance(seen, Tensor)  # noqa: S101 (for mypy)
            return seen
        if isinstance(seen, Region):
            pixels = self._in_view(seen)
        else:
            pixels = self._to_unit_range(seen, largest)
            for axis, size in enumerate(self.contract.size, start=1):
                pixels = resampled(pixels, axis, size)
        if self.contract.values == "mask":
            pixels = (pixels > HALF).to(pixels.dtype)
        pixels = pixels.movedim(-1, 1) if self.contract.channels == 3 else pixels.unsqueeze(1)
        if (self.contract.mean, self.contract.std) == (0.0, 1.0):
            return pixels
        return (pixels - self.contract.mean) / self.contract.std

    def violation(self, seen: Tensor | Region) -> Tensor:
        """How far the raw pixels that there are to see are from what the contract allows, (batch,): 0 for legal ones.

        The mean distance to the nearest legal value, relative to the range: a mask holds 0 and its maximum; grey values
        are not negative; Hounsfield units and relative values may be anything.  A scan of one value shows nothing:
        violation 1.
        """
        if isinstance(seen, Region):
            pixels, reached = seen.voxels, seen.reached
            axes: tuple[int, ...] = (1, 2, 3)
            least = torch.where(reached, pixels, torch.inf).amin(axes)
            largest = torch.where(reached, pixels, -torch.inf).amax(axes, keepdim=True)
            share = reached.to(pixels.dtype) / reached.sum(axes, keepdim=True).clamp(min=1)
            mean = (self._distance(pixels, largest) * share).sum(axes)
        else:
            axes = tuple(range(1, seen.dim()))
            if self.contract.values == "features":
                return torch.zeros_like(seen.mean(axes))
            least, largest = seen.amin(axes), seen.amax(axes, keepdim=True)
            mean = self._distance(seen, largest).mean(axes)
        return torch.where(largest.flatten() > least, mean, 1.0)

    def _in_view(self, seen: Region) -> Tensor:
        """What fields of view show, in 0..1."""
        axes = (1, 2, 3)
        if self.contract.values != "relative":
            largest = None if self.contract.window else torch.where(seen.reached, seen.voxels, 0.0).amax(axes)
            return seen.resampled(self._to_unit_range(seen.voxels, largest))
        inside = seen.inside
        values, count = seen.resampled(seen.voxels), inside.sum(axes, keepdim=True).clamp(min=1e-6)
        centred = values - inside * values.sum(axes, keepdim=True) / count
        deviation = (centred.square().sum(axes, keepdim=True) / count).sqrt().clamp(min=1e-6)
        return (centred / (2 * DEVIATIONS * deviation) + 0.5 * inside).clamp(0.0, 1.0)

    def _distance(self, scan: Tensor, largest: Tensor) -> Tensor:
        """How far each pixel is from the nearest legal value."""
        if self.contract.values in ("hu", "relative"):
            return torch.zeros_like(scan)
        if self.contract.values == "grey":
            return torch.relu(-scan) / largest.clamp(min=255.0)
        return torch.minimum(scan.abs(), (scan - largest).abs()) / torch.where(largest > 0, largest, 1.0)

    def _to_unit_range(self, scan: Tensor, largest: Tensor | None) -> Tensor:
        axes = tuple(range(1, scan.dim()))
        if self.contract.window is not None:
            low, high = self.contract.window
            return ((scan - low) / (high - low)).clamp(0.0, 1.0)
        if self.contract.values == "relative":
            centred = scan - scan.mean(axes, keepdim=True)
            deviation = centred.square().mean(axes, keepdim=True).sqrt().clamp(min=1e-6)
            return (centred / (2 * DEVIATIONS * deviation) + 0.5).clamp(0.0, 1.0)
        largest = scan.amax(axes, keepdim=True) if largest is None else largest.reshape(-1, *[1] * len(axes))
        if self.contract.values == "mask":
            return (scan > 0.5 * largest).to(scan.dtype)
        return (scan / torch.where(largest > 255.0, 65535.0, 255.0)).clamp(0.0, 1.0)
