"""Parity: the exported file against the torch model it came from, on real scans."""

from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from export.complete import CompleteModel, output_names
from imaging import LiquidLensError

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


def check(content: bytes, model: CompleteModel, scans: NDArray) -> Parity:
    """Compare the file with the unfolded torch model on all of `scans` (n, *size), raw.

    Every scan goes through in batches of up to 64; batches of 1, 2 and 7 follow, and a batch of 2 enlarged to
    twice and reduced to half its size.  Raises AuditError if a logit differs by more than 1e-4, an
    out-of-distribution score by more than 1e-3 of itself, or a label changes.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    model.eval()
    raw = np.asarray(scans, np.float32)
    batches = [raw[i : i + 64] for i in range(0, len(raw), 64)] + [raw[:size] for size in BATCH_SIZES[:-1]]
    enlarged = raw[:2]
    for axis in range(1, raw.ndim):
        enlarged = enlarged.repeat(2, axis)
    batches += [enlarged, raw[(slice(0, 2), *[slice(None, None, 2)] * (raw.ndim - 1))]]

    worst: dict[str, float] = {}
    changed = 0
    for batch in batches:
        with torch.no_grad():
            expected = model(torch.from_numpy(batch))
        names = output_names(expected)
        for name, ours, theirs in zip(names, session.run(names, {"scan": batch}), expected, strict=True):
            difference = np.abs(ours - theirs.numpy())
            if name == "ood":  # unbounded above: a distance of 40 needs no four decimals
                difference /= np.maximum(1, theirs.numpy())
            worst[name] = max(worst.get(name, 0.0), float(difference.max()))
            if name == "logits":
                changed += int(((ours > 0) != (theirs.numpy() > 0)).sum())
    parity = Parity(
        scans=len(raw),
        sizes=tuple(sorted({batch.shape[1:] for batch in batches})),
        batch_sizes=BATCH_SIZES,
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
