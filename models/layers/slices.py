"""What networks share that read a volume slice by slice."""

from collections.abc import Callable

import torch
from torch import Tensor


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
