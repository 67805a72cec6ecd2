"""Augmentation of a training batch.  All draws are from torch's global generator."""

import torch
from torch import Tensor
from torch.nn import functional as F

#: The surface of a mask is cut at 0.5, give or take this.
SURFACE = 0.2


def jitter(inputs: Tensor, mask: bool, shift: float, scale: float) -> Tensor:
    """Move and scale every scan of a batch at random, by fractions of a pixel too: what another crop or another
    resampling of the same structure would look like.

    inputs: (batch, channels, *size) in [0, 1]; mask: cut afterwards, somewhere around 0.5, as another segmentation
    would draw the surface; shift: largest shift in pixels along each axis; scale: largest relative change of size.
    """
    batch, axes = len(inputs), inputs.dim() - 2
    size = torch.tensor(inputs.shape[2:]).flip(0)  # affine_grid counts the last axis first
    matrix = torch.diag_embed((1 + scale * uniform(batch, 1)).expand(batch, axes))
    move = shift * uniform(batch, axes) * 2 / size  # in units of half the image
    grid = F.affine_grid(torch.cat([matrix, move[..., None]], 2), list(inputs.shape), align_corners=False)
    moved = F.grid_sample(inputs, grid.to(inputs), align_corners=False)
    if not mask:
        return moved
    cut = 0.5 + SURFACE * uniform(batch, *[1] * (axes + 1))
    return (moved > cut.to(moved)).to(moved.dtype)


def mirror(inputs: Tensor, shift: int) -> Tensor:
    """Mirror every scan of a batch along each axis or not, and move it by up to `shift` whole pixels, at random.

    inputs: (batch, channels, *size); what comes in from outside is the scan's darkest value.  Unlike `jitter` this
    draws no surface anew: how thick a structure is, and how large, stays exactly as it is.
    """
    return torch.stack([_mirrored(scan, shift) for scan in inputs])


def _mirrored(scan: Tensor, shift: int) -> Tensor:
    axes = torch.arange(1, scan.dim())
    scan = scan.flip(axes[torch.rand(len(axes)) < 0.5].tolist())
    padded = F.pad(scan, [shift] * 2 * len(axes), value=float(scan.amin()))
    for axis in axes.tolist():
        padded = padded.narrow(axis, int(torch.randint(2 * shift + 1, ())), scan.shape[axis])
    return padded


def uniform(*shape: int) -> Tensor:
    """Uniform in -1..1."""
    return 2 * torch.rand(*shape) - 1
