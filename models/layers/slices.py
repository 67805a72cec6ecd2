"""What networks share that read a volume slice by slice."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def of_distinct(images: Tensor, encode: Callable[[Tensor], Tensor], shown: Tensor | None = None) -> Tensor:
    """``encode(images)`` for an `encode` that does not mix the images (n, ...), but all empty ones share one pass.

    shown: (n,) which images are not empty, where that is known; by default those that hold more than the least value.

    In MedMNIST3D's masks more than half of the slices are empty, and encoding takes most of the time.
    """
    if shown is None:
        shown = images.flatten(1).amax(1) != images.min()
    first_empty = shown.int().argmin(0, keepdim=True)  # if none is empty, any
    distinct = images.index_select(0, torch.cat([first_empty, shown.nonzero()[:, 0]]))
    return encode(distinct).index_select(0, torch.where(shown, shown.cumsum(0), 0))


def without_empty(volumes: Tensor) -> tuple[Tensor, Tensor]:
    """Volumes (batch, 1, slices, rows, columns) of values from 0 on, without the slices that are empty in all of them
    and lie between empty ones; and where each slice is found among those that are left, (slices,).

    What is left keeps its neighbours, and one of the slices that are gone stands for all.
    """
    empty = volumes.amax((0, 1, 3, 4)) == 0
    first = empty & (empty.cumsum(0) == 1)
    kept = first | (F.max_pool1d((~empty).to(volumes)[None, None], 3, 1, 1)[0, 0] > 0)
    place = kept.cumsum(0) - 1
    return volumes.index_select(2, kept.nonzero()[:, 0]), torch.where(kept, place, (place * first).sum())
