"""From raw scans to what a network reads: the front of `models.front`, chunk by chunk."""

import math
import os
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from liquidlens.errors import LiquidLensError
from liquidlens.manifest import InputContract
from liquidlens.models.front import Front
from liquidlens.train.datasets import Scans

CHUNK = 64


def chunks(scans: Scans, size: int = CHUNK) -> Iterator[NDArray[np.float32]]:
    """Scans in order as float32 batches (n, ...) of up to `size` neighbours; neighbours of different sizes part."""
    if isinstance(scans, np.ndarray):
        for i in range(0, len(scans), size):
            yield scans[i : i + size].astype(np.float32)
        return
    batch: list[NDArray] = []
    for i in range(len(scans)):
        scan = scans[i]
        if batch and (len(batch) == size or scan.shape != batch[0].shape):
            yield np.stack(batch).astype(np.float32)
            batch = []
        batch.append(scan)
    yield np.stack(batch).astype(np.float32)


def prepare(scans: Scans, contract: InputContract) -> Tensor:
    """Raw scans through an input contract: (n, channels, *size) float32.

    Raises LiquidLensError if they do not fit into the machine's memory.
    """
    needed = 4 * len(scans) * math.prod(contract.input_shape)
    if needed > (memory := _memory()):
        raise LiquidLensError(
            f"{len(scans):,} scans of {contract.input_shape} take {needed / 1e9:.0f} GB, this machine has "
            f"{memory / 1e9:.0f} GB: choose a smaller --size, or fewer scans with --set subset=1000."
        )
    front = Front(contract)
    return torch.cat([front(torch.from_numpy(chunk)) for chunk in chunks(scans)])


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
