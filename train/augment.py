"""Augmentation of a training batch."""

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
    Draws from torch's global generator.
    """
    batch, axes = len(inputs), inputs.dim() - 2
    size = torch.tensor(inputs.shape[2:]).flip(0)  # affine_grid counts the last axis first
    matrix = torch.diag_embed((1 + scale * _uniform(batch, 1)).expand(batch, axes))
    move = shift * _uniform(batch, axes) * 2 / size  # in units of half the image
    grid = F.affine_grid(torch.cat([matrix, move[..., None]], 2), list(inputs.shape), align_corners=False)
    moved = F.grid_sample(inputs, grid.to(inputs), align_corners=False)
    if not mask:
        return moved
    cut = 0.5 + SURFACE * _uniform(batch, *[1] * (axes + 1))
    return (moved > cut.to(moved)).to(moved.dtype)


def _uniform(*shape: int) -> Tensor:
    """Uniform in -1..1."""
    return 2 * torch.rand(*shape) - 1
