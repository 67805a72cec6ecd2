"""From raw scans to what a network reads: the front of `models.front`, batch by batch."""

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.field_of_view import FieldOfView
from liquidlens.manifest import InputContract
from liquidlens.models.front import Front
from liquidlens.train.datasets import Scans
from liquidlens.train.datasets.cache import key_of, opened
from liquidlens.train.datasets.dataset import Placed, keys_of
from liquidlens.train.datasets.readers import each

CHUNK = 64
#: The inputs of a file, by name: ``scan``, and of a model with a spacing ``spacing`` and ``centre``.
Feed = dict[str, NDArray[np.float32]]


def feeds(scans: Scans, contract: InputContract, size: int = CHUNK) -> Iterator[Feed]:
    """Scans in order as batches of up to `size` neighbours; neighbours of different sizes part.

    Of a volume with its place, only the part is here that the contract's field of view reaches: the network's input is
    the same, and a whole CT would take the memory of thousands of such parts.
    """
    if isinstance(scans, np.ndarray):
        for i in range(0, len(scans), size):
            yield {"scan": scans[i : i + size].astype(np.float32)}
        return
    batch: list[Feed] = []
    for i in range(len(scans)):
        feed = _feed(scans[i], contract)
        if batch and (len(batch) == size or feed["scan"].shape != batch[0]["scan"].shape):
            yield _stacked(batch)
            batch = []
        batch.append(feed)
    yield _stacked(batch)


def _feed(scan: NDArray | Placed, contract: InputContract) -> Feed:
    """The inputs for one scan, without the axis of the batch."""
    if not isinstance(scan, Placed):
        return {"scan": scan}
    view = FieldOfView.of(contract, scan.pixels.shape, scan.spacing, scan.centre)
    return {
        "scan": scan.pixels[view.reached],
        "spacing": scan.spacing,
        "centre": np.array([at - part.start for at, part in zip(view.centre, view.reached, strict=True)], np.float32),
    }


def _stacked(batch: list[Feed]) -> Feed:
    return {name: np.stack([feed[name] for feed in batch]).astype(np.float32) for name in batch[0]}


def tensors(feed: Mapping[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    """The same inputs for torch."""
    return {name: torch.from_numpy(values) for name, values in feed.items()}


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
    if keys_of(scans):
        return _prepared_and_kept(scans, contract, front)
    return torch.cat([front(**tensors(feed)) for feed in feeds(scans, contract)])


def _prepared_and_kept(scans: Scans, contract: InputContract, front: Front) -> Tensor:
    """One's own scans, one by one: read are those alone that were not prepared like this before."""
    cache = opened()
    keys = [key_of("prepared", key, dataclasses.asdict(contract)) for key in keys_of(scans)]
    inputs = torch.empty(len(scans), *contract.input_shape)
    missing = []
    for i, key in enumerate(keys):
        known = _array(cache.get(key), contract.input_shape) if cache else None
        if known is None:
            missing.append(i)
        else:
            inputs[i] = torch.from_numpy(known)

    def prepared(i: int) -> Tensor:
        return front(**tensors(_stacked([_feed(scans[i], contract)])))[0]

    for i, made in zip(missing, each(missing, prepared, "reading scans"), strict=True):
        inputs[i] = made
        if cache:
            cache.put(keys[i], made.numpy().astype("<f4").tobytes())
    return inputs


def _array(content: bytes | None, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    if content is None or len(content) != 4 * math.prod(shape):
        return None
    return np.frombuffer(content, "<f4").reshape(shape).astype(np.float32)


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
