"""Augmentation of fields of view in millimetres: moved, turned and scaled in space, seen through other windows, noisy.

A whole batch at once, on the batch's device.  All draws are from torch's global generators.  MONAI's transforms, which
`loop.radiograph` uses, take one scan after the other.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from liquidlens.manifest import InputContract
from liquidlens.train.loop.augment import SURFACE, uniform
from liquidlens.train.recipes import Training


def wide(contract: InputContract, settings: Training) -> InputContract:
    """What has to be known of a scan, so that whatever `VolumeAugmentation` shows of it lies inside: a larger field of
    view around the same point, and a wider window.

    Of relative values that is no more than the field of view itself, by which their scale goes.
    """
    if contract.spacing is None or settings.augmentation != "jitter" or contract.values == "relative":
        return contract
    angle = math.radians(settings.rotation)
    half = [n * step / 2 for n, step in zip(contract.size, contract.spacing, strict=True)]
    size = []
    for axis, own in enumerate(half):
        turned = axis > 0 or settings.rotation_axes == "all"
        others = [h for i, h in enumerate(half) if i != axis and (i > 0 or settings.rotation_axes == "all")]
        across = math.hypot(*others) if turned else 0.0
        most = min(angle, math.atan2(across, own))  # a corner reaches furthest when it lies on the axis
        reach = (own * math.cos(most) + across * math.sin(most)) * (1 + settings.scale) + settings.shift_mm
        size.append(contract.size[axis] + 2 * math.ceil((reach - own) / contract.spacing[axis]))
    window = contract.window
    if window is not None:
        more = settings.window_jitter * (window[1] - window[0])
        window = (window[0] - more, window[1] + more)
    return replace(contract, size=tuple(size), window=window)


class VolumeAugmentation:
    """Maps batches (batch, 1, *size) of `wide`, in [0, 1], to inputs (batch, 1, *contract.size) of a network, in
    [0, 1]."""

    def __init__(self, contract: InputContract, settings: Training):
        self.contract, self.settings = contract, settings

    def __call__(self, inputs: Tensor) -> Tensor:
        batch, settings = len(inputs), self.settings
        matrix = (1 + settings.scale * uniform(batch, 1, 1)) * self._turns(batch)
        moved = self._shown(inputs, matrix, settings.shift_mm * uniform(batch, 3))
        one_each = (batch, 1, 1, 1, 1)
        if self.contract.values == "mask":
            cut = 0.5 + SURFACE * uniform(*one_each)
            return (moved > cut.to(moved)).to(moved.dtype)
        low, high = (settings.window_jitter * uniform(*one_each).to(moved) for _ in range(2))
        seen = (self._in_window(moved) - low) / (1 + high - low)
        noise = settings.noise * torch.rand(one_each).to(moved) * torch.randn_like(moved)
        return (seen + noise).clamp(0.0, 1.0)

    def _turns(self, batch: int) -> Tensor:
        """Rotations (batch, 3, 3) of (slice, row, column) in mm."""
        angle = math.radians(self.settings.rotation) * uniform(batch, 1, 1)
        if self.settings.rotation_axes == "all":
            axis = F.normalize(torch.randn(batch, 3), dim=1)
        else:
            axis = torch.tensor([1.0, 0.0, 0.0]).repeat(batch, 1)
        # Rodrigues: I + sin(a) K + (1 - cos(a)) K K, where K v is the cross product of the axis and v.
        cross = torch.linalg.cross(axis[:, None].expand(batch, 3, 3), torch.eye(3).expand(batch, 3, 3)).mT
        return torch.eye(3) + angle.sin() * cross + (1 - angle.cos()) * cross @ cross

    def _shown(self, inputs: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
        """What lies at matrix p + shift of each point p, in mm from the middle; air where nothing is known."""
        assert self.contract.spacing is not None
        spacing = torch.tensor(self.contract.spacing)
        half = torch.tensor(self.contract.size) / 2 * spacing  # affine_grid counts halves of the image
        given = torch.tensor(inputs.shape[2:]) / 2 * spacing
        theta = torch.cat([matrix * half / given[:, None], (shift / given)[..., None]], 2)
        theta = torch.cat([theta[..., :3].flip(1, 2), theta[..., 3:].flip(1)], 2)  # and the last axis first
        grid = F.affine_grid(theta.to(inputs), [len(inputs), 1, *self.contract.size], align_corners=False)
        return F.grid_sample(inputs, grid, align_corners=False)

    def _in_window(self, values: Tensor) -> Tensor:
        """From the wider window to the contract's own: 0 and 1 at its ends, and less and more outside of them."""
        if self.contract.window is None:
            return values
        jitter = self.settings.window_jitter
        return values * (1 + 2 * jitter) - jitter
