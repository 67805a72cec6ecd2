"""What goes wrong with scans between scanner and model, in five severities: for tests, not for training.

Names and kinds follow MedMNIST-C (Di Salvo et al., 2024) where it has them; volumes, which it does not corrupt, lose
slices, have thick ones, or end early, along their first spatial axis.  The same scans are always corrupted alike.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

#: Severities.
SEVERITIES = (1, 2, 3, 4, 5)


def corrupted(scans: Tensor, name: str, severity: int, mask: bool = False) -> Tensor:
    """Network inputs (n, channels, *size) in [0, 1] with one of `names` of corruptions, in [0, 1].

    severity: 1 to 5.  mask: segmented shapes, which stay 0 or 1: cut at 0.5, and of noise the voxels at the surface
    that it carries across.
    """
    generator = torch.Generator().manual_seed(1000 * severity + len(scans))
    if mask:
        shapes = (scans > 0.5).to(scans.dtype)  # which are not quite 0 and 1 after a normalisation was undone
        corruption = _noise_at_surfaces if name == "noise" else _ALL[name]
        return (corruption(shapes, severity - 1, generator) > 0.5).to(scans.dtype)
    return _ALL[name](scans, severity - 1, generator).clamp(0, 1)


def names(volumes: bool, mask: bool) -> tuple[str, ...]:
    """The corruptions that a kind of scans has: masks have no contrast, and images no slices."""
    left_out = (_OF_GREY if mask else set()) | (set() if volumes else _OF_VOLUMES)
    return tuple(name for name in _ALL if name not in left_out)


def _noise(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    return x + (0.03, 0.06, 0.1, 0.15, 0.25)[level] * torch.randn(x.shape, generator=generator).to(x)


def _noise_at_surfaces(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    return _noise(_averaged(x) / 4, level, generator) * 4


def _blur(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    for _ in range((1, 2, 3, 5, 8)[level]):
        x = _averaged(x)
    return x


def _down_sampling(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    factor = (1.5, 2.0, 2.5, 3.0, 4.0)[level]
    small = [max(round(length / factor), 1) for length in x.shape[2:]]
    return _resized(_resized(x, small), list(x.shape[2:]))


def _motion(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Columns smeared over their neighbours, the less the farther they are, and over a share of the width."""
    columns = torch.arange(x.shape[-1]).to(x)
    reach = 2 + x.shape[-1] * (0.01, 0.02, 0.04, 0.06, 0.09)[level]
    weights = torch.relu(1 - (columns - columns[:, None]).abs() / reach)
    return x @ (weights / weights.sum(1, keepdim=True)).T


def _contrast(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    mean = x.mean(tuple(range(1, x.dim())), keepdim=True)
    return mean + (0.75, 0.6, 0.45, 0.3, 0.2)[level] * (x - mean)


def _brightness(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    return x + (0.05, 0.1, 0.15, 0.2, 0.3)[level]


def _gamma(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    return x ** (1.2, 1.4, 1.7, 2.0, 2.5)[level]


def _bias_field(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    coarse = 2 * torch.rand(len(x), 1, *[3] * (x.dim() - 2), generator=generator).to(x) - 1
    mode = "bilinear" if x.dim() == 4 else "trilinear"
    field = F.interpolate(coarse, x.shape[2:], mode=mode, align_corners=True)
    return x * torch.exp((0.1, 0.2, 0.35, 0.5, 0.7)[level] * field)


def _missing_slices(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Slices that are empty, drawn for each scan."""
    kept = torch.rand(len(x), x.shape[2], generator=generator) >= (0.1, 0.2, 0.3, 0.45, 0.6)[level]
    return x * kept.to(x)[:, None, :, None, None]


def _thick_slices(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    count = max(round(x.shape[2] / (1.5, 2.0, 3.0, 4.0, 6.0)[level]), 1)
    return _resized(_resized(x, [count, *x.shape[3:]]), list(x.shape[2:]))


def _ends_early(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """The last slices are not there yet."""
    kept = round(x.shape[2] * (1 - (0.1, 0.2, 0.3, 0.4, 0.5)[level]))
    return torch.cat([x[:, :, :kept], torch.zeros_like(x[:, :, kept:])], 2)


def _averaged(x: Tensor) -> Tensor:
    pool = F.avg_pool2d if x.dim() == 4 else F.avg_pool3d
    return pool(x, 3, 1, 1, count_include_pad=False)


def _resized(x: Tensor, size: list[int]) -> Tensor:
    if x.dim() == 4:
        return F.interpolate(x, size, mode="bilinear", antialias=True)
    smaller = all(new <= old for new, old in zip(size, x.shape[2:], strict=True))
    return (
        F.adaptive_avg_pool3d(x, (size[0], size[1], size[2])) if smaller else F.interpolate(x, size, mode="trilinear")
    )


_ALL: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "noise": _noise,
    "blur": _blur,
    "down-sampling": _down_sampling,
    "motion": _motion,
    "contrast": _contrast,
    "brightness": _brightness,
    "gamma": _gamma,
    "bias field": _bias_field,
    "missing slices": _missing_slices,
    "thick slices": _thick_slices,
    "ends early": _ends_early,
}
_OF_GREY = {"contrast", "brightness", "gamma", "bias field"}
_OF_VOLUMES = {"missing slices", "thick slices", "ends early"}
