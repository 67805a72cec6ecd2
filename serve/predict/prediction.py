"""The prediction: a model's answer for one scan, concluded from the file's outputs and its manifest."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liquidlens import metrics
from liquidlens.errors import LiquidLensError
from liquidlens.manifest import Manifest, abstains


@dataclass(frozen=True)
class Prediction:
    """A model's answer for one scan.

    label: of a multi-label model all that are predicted, separated by commas, or ``none``.
    probabilities: calibrated, by label; they sum to 1, except those of multi-label models.
    threshold: a label is predicted if its probability is above; None where the likeliest of several classes is.
    abstained: whether the model is not sure: the scan lies within its abstain band.
    ood_score, ood_threshold, ood: how far from the training scans the scan is, the score above which it counts as
        out-of-distribution, and whether it does.
    slice_probabilities: of models that decide by slice, from the first resized slice to the last, the probability of
        the last label of a binary model, or of each label of another; else None.
    milliseconds: wall time of the stages ``prepare`` (checks, copies), ``run`` (ONNX Runtime, copies to the device and
        back included) and of both, ``total``; for a batch, its time divided by its scans.
    device: where it ran, as `Predictor.device`.
    notes: sentences about what had to be assumed, by the reader of the file and by the model.
    """

    label: str
    probabilities: dict[str, float]
    threshold: float | None
    abstained: bool
    ood_score: float
    ood_threshold: float
    ood: bool
    slice_probabilities: list[float] | list[list[float]] | None
    milliseconds: dict[str, float]
    device: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The same as plain values: what ``json.dumps`` takes."""
        return {**asdict(self), "notes": list(self.notes)}


def conclude(
    manifest: Manifest,
    outputs: Mapping[str, NDArray[np.float32]],
    milliseconds: dict[str, float],
    device: str,
    notes: tuple[str, ...] = (),
) -> Prediction:
    """The prediction for one scan; `outputs` are the file's, for this scan, without the axis of the batch.

    Raises LiquidLensError if they are not finite.
    """
    probabilities, score = outputs["probabilities"], float(outputs["ood"])
    if not np.isfinite([*probabilities, score]).all():
        raise LiquidLensError("the pixel values are too large, the model's answer is not a number.")
    says_yes_or_no = len(manifest.labels) == 2 or manifest.task == "multi-label"
    return Prediction(
        label=_label(manifest, probabilities),
        probabilities=dict(zip(manifest.labels, probabilities.tolist(), strict=True)),
        threshold=manifest.operating.threshold if says_yes_or_no else None,
        abstained=bool(abstains(manifest.operating, probabilities[None])[0]),
        ood_score=score,
        ood_threshold=manifest.out_of_distribution.threshold,
        ood=score > manifest.out_of_distribution.threshold,
        slice_probabilities=_by_slice(manifest, outputs["slice_logits"]) if "slice_logits" in outputs else None,
        milliseconds=milliseconds,
        device=device,
        notes=notes,
    )


def _label(manifest: Manifest, probabilities: NDArray[np.float32]) -> str:
    multi_label = manifest.task == "multi-label"
    (decided,) = metrics.decided(probabilities[None], manifest.operating.threshold, multi_label)
    return ", ".join(compress(manifest.labels, decided)) or "none" if multi_label else manifest.labels[decided]


def _by_slice(manifest: Manifest, logits: NDArray[np.float32]) -> list:
    """Probabilities of calibrated logits (slices, K): one per slice if K is 1, else K per slice."""
    probabilities = metrics.probabilities(logits, manifest.task == "multi-label")
    return (probabilities[:, 1] if logits.shape[1] == 1 else probabilities).tolist()
