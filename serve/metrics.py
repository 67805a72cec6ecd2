"""Metrics of binary classifiers, in one place for training, export, serving and studies.  Numpy and scikit-learn."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score


def sigmoid(logits: NDArray) -> NDArray[np.float64]:
    """Probabilities of logits, in float64 and without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, np.float64)))


def auc(labels: NDArray, scores: NDArray) -> float:
    """Area under the ROC curve.  labels: (n,) of 0 and 1; scores: (n,), any monotone score of class 1.

    NaN if only one class is present, where the area is not defined.
    """
    if len(np.unique(labels)) < 2:
        return float("nan")
    return float(roc_auc_score(labels, scores))


def accuracy(labels: NDArray, probabilities: NDArray, threshold: float = 0.5) -> float:
    """Share of scans on the right side of the threshold; a probability equal to it counts as class 0."""
    return float(np.mean((probabilities > threshold) == (labels == 1)))


def expected_calibration_error(labels: NDArray, probabilities: NDArray, bins: int = 10) -> float:
    """Expected calibration error of the probability of class 1 (Naeini et al., AAAI 2015), equally wide bins.

    The gap between mean probability and share of class 1 in each bin, averaged with the bins' sizes as weights.
    """
    bin_of = np.minimum((probabilities * bins).astype(int), bins - 1)
    gap = np.bincount(bin_of, probabilities - labels, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))
