"""Parity: the exported file against the torch model it came from, on real scans."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from export.complete import CompleteModel, output_names
from imaging import LiquidLensError
from train.datasets import Scans
from train.prepare import chunks

TOLERANCE = 1e-4
OOD_TOLERANCE = 1e-3
BATCH_SIZES = (1, 2, 7, 64)


class AuditError(LiquidLensError):
    """The exported file is not what it should be."""

    exit_code = 1


@dataclass(frozen=True)
class Parity:
    """The largest differences between the ONNX file and torch.

    scans: how many different scans were compared; sizes and batch_sizes: in which sizes and batches.
    max_difference: by output; that of ``ood`` is relative.
    """

    scans: int
    sizes: tuple[tuple[int, ...], ...]
    batch_sizes: tuple[int, ...]
    max_logit_difference: float
    max_difference: dict[str, float]
    changed_labels: int


def check(content: bytes, model: CompleteModel, scans: Scans) -> Parity:
    """Compare the file with the unfolded torch model on all of `scans`, raw.

    Every scan goes through in batches of up to 64; batches of 1, 2 and 7 follow, and a batch of 2 enlarged to
    twice and reduced to half its size.  Raises AuditError if a logit differs by more than 1e-4, an
    out-of-distribution score by more than 1e-3 of itself, or a label changes.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    model.eval()
    worst: dict[str, float] = {}
    changed = 0
    sizes: set[tuple[int, ...]] = set()
    batch_sizes: set[int] = set()
    for batch in itertools.chain(chunks(scans, BATCH_SIZES[-1]), _other_batches(scans, len(model.front.contract.size))):
        sizes.add(batch.shape[1:])
        batch_sizes.add(len(batch))
        with torch.no_grad():
            expected = model(torch.from_numpy(batch))
        names = output_names(expected)
        for name, ours, theirs in zip(names, session.run(names, {"scan": batch}), expected, strict=True):
            difference = np.abs(ours - theirs.numpy())
            if name == "ood":  # unbounded above: a distance of 40 needs no four decimals
                difference /= np.maximum(1, theirs.numpy())
            worst[name] = max(worst.get(name, 0.0), float(difference.max()))
            if name == "logits":
                changed += int((_decided(ours, model) != _decided(theirs.numpy(), model)).sum())
    parity = Parity(
        scans=len(scans),
        sizes=tuple(sorted(sizes)),
        batch_sizes=tuple(sorted(batch_sizes)),
        max_logit_difference=worst["logits"],
        max_difference=worst,
        changed_labels=changed,
    )
    if not parity.max_logit_difference <= TOLERANCE or not worst["ood"] <= OOD_TOLERANCE or changed:
        raise AuditError(
            f"The exported file disagrees with torch: logits differ by up to {parity.max_logit_difference:.2g} "
            f"(allowed: {TOLERANCE:.0e}), ood by {worst['ood']:.2g} (allowed: {OOD_TOLERANCE:.0e}), {changed} labels "
            "change. Nothing was written."
        )
    return parity


def _other_batches(scans: Scans, axes: int) -> Iterator[NDArray[np.float32]]:
    """Batches of 1, 2 and 7, and a batch of 2 enlarged to twice and reduced to half its size."""
    first = next(chunks(scans, BATCH_SIZES[2]))
    if len(first) < BATCH_SIZES[2]:
        first = np.repeat(first[:1], BATCH_SIZES[2], 0)
    for size in BATCH_SIZES[:-1]:
        yield first[:size]
    enlarged = first[:2]
    for axis in range(1, 1 + axes):
        enlarged = enlarged.repeat(2, axis)
    yield enlarged
    yield first[(slice(0, 2), *[slice(None, None, 2)] * axes)]


def _decided(logits: NDArray, model: CompleteModel) -> NDArray:
    """What the logits decide: the class, or of a multi-label model each label."""
    return logits.argmax(1) if logits.shape[1] > 1 and not model.multi_label else logits > 0
