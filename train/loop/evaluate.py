"""The figures of a run: what is measured of outputs and targets, for classes, multi-label data and poses."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from liquidlens import metrics
from liquidlens.train.datasets import Task
from liquidlens.train.loop.calibration import fit_temperature
from liquidlens.train.loop.losses import Loss

Batches = list[tuple[Tensor, Tensor]]


def epoch_figures(task: Task, batches: Batches, loss: Loss) -> dict[str, float]:
    """Figures after an epoch, from (outputs, targets) per batch.

    ``loss``, ``accuracy`` and ``recall`` are unweighted means over the batches (a short last batch weighs as much as a
    full one, and one in which no label occurs has no recall), as hse-2024 and kth-2021 measure them; the others are of
    all scans together.
    """
    outputs, targets = _together(batches)
    by_batch = {"loss": [float(loss(*batch)) for batch in batches]}
    if task == "pose":
        return {"loss": float(np.mean(by_batch["loss"])), **pose_errors(outputs, targets)}
    for name, metric in (("accuracy", metrics.accuracy), ("recall", metrics.recall)):
        by_batch[name] = [
            metric(truth.numpy(), metrics.probabilities(raw.numpy(), task == "multi-label")) for raw, truth in batches
        ]
    by_batch["recall"] = [value for value in by_batch["recall"] if not np.isnan(value)] or [float("nan")]
    whole = metrics.probabilities(outputs, task == "multi-label")
    return {
        **{name: float(np.mean(values)) for name, values in by_batch.items()},
        **{metric.__name__: metric(targets, whole) for metric in (metrics.auc, metrics.f1, metrics.dice)},
    }


def final_figures(task: Task, batches: Batches, loss: Loss, temperature: float) -> dict[str, float]:
    """Figures of trained weights: like `epoch_figures`, but accuracy and recall are of all scans, those over batches
    are ``accuracy_batch_mean`` and ``recall_batch_mean``; with the accuracy on the most certain nine tenths, and the
    calibration error before and after the temperature.
    """
    figures = epoch_figures(task, batches, loss)
    if task == "pose":
        return figures
    outputs, targets = _together(batches)
    raw, calibrated = (metrics.probabilities(outputs / t, task == "multi-label") for t in (1.0, temperature))
    return {
        **figures,
        "accuracy": metrics.accuracy(targets, raw),
        "accuracy_batch_mean": figures["accuracy"],
        "selective_accuracy": metrics.selective_accuracy(targets, raw),
        "recall": metrics.recall(targets, raw),
        "recall_batch_mean": figures["recall"],
        "ece": metrics.expected_calibration_error(targets, raw),
        "ece_calibrated": metrics.expected_calibration_error(targets, calibrated),
    }


def temperature_of(task: Task, batches: Batches) -> float:
    """The temperature that calibrates these outputs; 1 for poses, which have no probabilities."""
    return 1.0 if task == "pose" else fit_temperature(*_together(batches))


def pose_errors(outputs: NDArray, targets: NDArray) -> dict[str, float]:
    """Median distance of positions in metres, and median angle between orientations in degrees (Kendall et al., ICCV
    2015)."""
    distance = np.linalg.norm(outputs[:, :3] - targets[:, :3], axis=1)
    overlap = np.abs((outputs[:, 3:] * targets[:, 3:]).sum(1))  # q and -q are the same rotation
    angle = np.degrees(2 * np.arccos(np.minimum(overlap, 1.0)))
    return {"position_error": float(np.median(distance)), "orientation_error": float(np.median(angle))}


def _together(batches: Batches) -> tuple[NDArray, NDArray]:
    outputs, targets = (torch.cat(column).numpy() for column in zip(*batches, strict=True))
    return outputs, targets
