"""What another scanner, another exposure and another position would show: augmentation of grey values.

All of a batch at once and on its own device.  All draws are from torch's global generator of that device.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

#: At an intensity of 1, at most: the exponents of gamma and of contrast; the change of brightness; the exponent of a
#: shading over the scan; noise, a standard deviation.
GAMMA, CONTRAST, BRIGHTNESS, SHADING, NOISE = 0.4, 0.4, 0.15, 0.3, 0.05


def another_scanner(inputs: Tensor, shift: float, scale: float, turn: float, intensity: float) -> Tensor:
    """Scans (batch, channels, *size) in [0, 1] as another scanner might have given them, in [0, 1].

    shift: largest shift in pixels along each axis; scale: largest relative change of size, of images along each axis on
    its own; turn: largest angle in degrees, about each axis.  Images are mirrored left to right or not; volumes along
    all axes, and cubes turned by right angles.  intensity: how much grey values change, see the constants.
    """
    return other_grey_values(other_position(inputs, shift, scale, turn), intensity)


def other_position(inputs: Tensor, shift: float, scale: float, turn: float) -> Tensor:
    """Moved, scaled, turned and mirrored; what comes in from outside is 0."""
    batch, axes = len(inputs), inputs.dim() - 2
    size = torch.tensor(inputs.shape[2:]).flip(0)  # affine_grid counts the last axis first
    scales = 1 + scale * _uniform(inputs, batch, axes if axes == 2 else 1)
    matrix = _turned(inputs, turn) @ torch.diag_embed(scales.expand(batch, axes)) @ _mirrored(inputs)
    # Angles are of pixels, and affine_grid's units are halves of each axis.
    halves = (size / size.max()).to(inputs)
    matrix = matrix * halves / halves[:, None]
    move = _uniform(inputs, batch, axes) * (2 * shift / size).to(inputs)
    grid = F.affine_grid(torch.cat([matrix, move[..., None]], 2), list(inputs.shape), align_corners=False)
    return F.grid_sample(inputs, grid, align_corners=False)


def other_grey_values(inputs: Tensor, intensity: float) -> Tensor:
    """With other gamma, contrast, brightness, shading, sharpness and noise."""
    one = len(inputs), *[1] * (inputs.dim() - 1)
    coarse = SHADING * intensity * _uniform(inputs, len(inputs), 1, *[3] * (inputs.dim() - 2))
    mode = "bilinear" if inputs.dim() == 4 else "trilinear"
    shading = F.interpolate(coarse, inputs.shape[2:], mode=mode, align_corners=True)
    grey = inputs.clamp(0, 1) ** torch.exp(GAMMA * intensity * _uniform(inputs, *one))
    mean = grey.mean(tuple(range(1, grey.dim())), keepdim=True)
    grey = (grey - mean) * torch.exp(CONTRAST * intensity * _uniform(inputs, *one) + shading) + mean
    grey = grey + BRIGHTNESS * intensity * _uniform(inputs, *one)
    pool = F.avg_pool2d if inputs.dim() == 4 else F.avg_pool3d
    blurred = pool(grey, 3, 1, 1, count_include_pad=False)
    grey = torch.lerp(grey, blurred, intensity * _uniform(inputs, *one))  # below 0 it sharpens
    noise = NOISE * intensity * torch.rand(one, device=inputs.device, dtype=inputs.dtype)
    return (grey + noise * torch.randn_like(grey)).clamp(0, 1)


def _turned(inputs: Tensor, turn: float) -> Tensor:
    """Rotations (batch, axes, axes) by up to so many degrees about each axis."""
    axes = inputs.dim() - 2
    planes = [(0, 1)] if axes == 2 else [(0, 1), (0, 2), (1, 2)]
    angles = math.radians(turn) * _uniform(inputs, len(planes), len(inputs))
    turned = torch.eye(axes, device=inputs.device, dtype=inputs.dtype).expand(len(inputs), -1, -1)
    for (i, j), angle in zip(planes, angles, strict=True):
        rotation = torch.eye(axes, device=inputs.device, dtype=inputs.dtype).repeat(len(inputs), 1, 1)
        rotation[:, i, i] = rotation[:, j, j] = angle.cos()
        rotation[:, i, j], rotation[:, j, i] = -angle.sin(), angle.sin()
        turned = turned @ rotation
    return turned


def _mirrored(inputs: Tensor) -> Tensor:
    """Images: mirrored left to right or not.  Volumes: along each axis or not, and cubes with their axes exchanged."""
    batch, axes = len(inputs), inputs.dim() - 2
    signs = torch.where(torch.rand(batch, axes, device=inputs.device) < 0.5, -1.0, 1.0).to(inputs)
    if axes == 2:
        signs[:, 1] = 1.0  # affine_grid counts columns first
        return torch.diag_embed(signs)
    order = torch.arange(axes, device=inputs.device).expand(batch, axes)
    if len(set(inputs.shape[2:])) == 1:
        order = torch.rand(batch, axes, device=inputs.device).argsort(1)
    return signs[..., None] * F.one_hot(order, axes).to(inputs)


def _uniform(like: Tensor, *shape: int) -> Tensor:
    """Uniform in -1..1, on the device of `like`."""
    return 2 * torch.rand(*shape, device=like.device, dtype=like.dtype) - 1
