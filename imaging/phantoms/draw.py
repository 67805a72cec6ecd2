"""How every phantom is drawn: item by item, so that smaller splits are prefixes of larger ones."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def draw(
    item: Callable[[np.random.Generator], tuple[NDArray, NDArray]], splits: dict[str, int], seed: int
) -> dict[str, NDArray]:
    """A dataset under MedMNIST's keys: ``train_images``, ``train_labels``, ... of as many items as `splits` says.

    item: draws one scan and its label.  Item i of a split depends on the seed, the split and i alone.
    """
    arrays: dict[str, NDArray] = {}
    for which, (split, count) in enumerate(splits.items()):
        items = [item(np.random.default_rng([seed, which, i])) for i in range(count)]
        arrays[f"{split}_images"] = np.stack([scan for scan, _ in items])
        arrays[f"{split}_labels"] = np.stack([label for _, label in items])
    return arrays
