"""What is left of a volume when it is eroded again and again: how thick a structure is, voxel by voxel."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: The neighbourhoods within 1, sqrt(2) and sqrt(3) of a voxel, each as a union of boxes.
_LINES = (3, 1, 1), (1, 3, 1), (1, 1, 3)
_PLANES = (3, 3, 1), (3, 1, 3), (1, 3, 3)


class Erosions(nn.Module):
    """A volume (batch, 1, slices, rows, columns) and what is left of it after erosions, as channels of its slices:
    (batch, slices, 1 + 3 * rounds, rows, columns).

    Each round erodes by the 6, 18 and 26 neighbours of a voxel, that is by what lies within distances of 1, sqrt(2) and
    sqrt(3); the next one starts with the last of them.  A voxel becomes the least of its neighbours, so grey volumes
    may be eroded, too; beyond the border there are none.
    """

    def __init__(self, rounds: int):
        super().__init__()
        self.rounds = rounds

    def forward(self, volumes: Tensor) -> Tensor:
        # A few volumes stay in the cache meanwhile: three times faster than all at once.
        return torch.cat([self._eroded(few) for few in volumes.split(8)])

    def _eroded(self, volumes: Tensor) -> Tensor:
        left = [volumes]
        for _ in range(self.rounds):
            along = [_least(left[-1], axis) for axis in (2, 3, 4)]
            planes = [_least(along[0], 3), _least(along[0], 4), _least(along[1], 4)]
            left += [_least_of(along), _least_of(planes), _least(planes[0], 4)]
        return _by_slice(left)


class PooledErosions(nn.Module):
    """The same by max-pooling the negative: a third of the time in ONNX Runtime, four times as long in torch."""

    def __init__(self, erosions: Erosions):
        super().__init__()
        self.rounds = erosions.rounds

    def forward(self, volumes: Tensor) -> Tensor:
        left = [-volumes]
        for _ in range(self.rounds):
            last = left[-1]
            lines, planes = ([_most(last, box) for box in boxes] for boxes in (_LINES, _PLANES))
            left += [_most_of(lines), _most_of(planes), _most(last, (3, 3, 3))]
        return -_by_slice(left)


def _by_slice(volumes: list[Tensor]) -> Tensor:
    return torch.cat([volume.transpose(1, 2) for volume in volumes], 2)


def _least(volumes: Tensor, axis: int) -> Tensor:
    """Of each voxel and its two neighbours along an axis."""
    size = volumes.shape[axis]
    pairs = torch.minimum(volumes.narrow(axis, 0, size - 1), volumes.narrow(axis, 1, size - 1))
    with_next = torch.cat([pairs, volumes.narrow(axis, size - 1, 1)], axis)
    with_last = torch.cat([volumes.narrow(axis, 0, 1), pairs], axis)
    return torch.minimum(with_next, with_last)


def _least_of(volumes: list[Tensor]) -> Tensor:
    return torch.minimum(torch.minimum(volumes[0], volumes[1]), volumes[2])


def _most(volumes: Tensor, box: tuple[int, int, int]) -> Tensor:
    """Of each voxel and those around it in a box."""
    return F.max_pool3d(volumes, box, 1, tuple(length // 2 for length in box))


def _most_of(volumes: list[Tensor]) -> Tensor:
    return torch.maximum(torch.maximum(volumes[0], volumes[1]), volumes[2])
