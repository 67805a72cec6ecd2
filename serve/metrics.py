"""Metrics of classifiers, in one place for training, export, serving and studies.  Numpy and scikit-learn.

labels: (n,) class numbers from 0; multi-label data has (n, classes) of 0 and 1.
probabilities: (n, classes) in [0, 1], as `probabilities` makes them.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score


def sigmoid(logits: NDArray) -> NDArray[np.float64]:
    """Probabilities of logits, in float64 and without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, np.float64)))


def probabilities(logits: NDArray, multi_label: bool = False) -> NDArray[np.float64]:
    """Logits (n, K) as probabilities: one logit is that of the second of two classes, more go through a softmax;
    multi-label ones are independent."""
    logits = np.asarray(logits, np.float64)
    if multi_label:
        return sigmoid(logits)
    if logits.shape[1] == 1:
        positive = sigmoid(logits)
        return np.concatenate([1 - positive, positive], 1)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def one_hot(labels: NDArray, classes: int) -> NDArray[np.float64]:
    """(n, classes) of 0 and 1; multi-label data is that already."""
    return labels.astype(np.float64) if labels.ndim == 2 else np.eye(classes)[labels]


def auc(labels: NDArray, probabilities: NDArray) -> float:
    """Area under the ROC curve of the second of two classes; of more classes, the mean of one-against-the-rest.

    Classes without scans, or without others, have no area and do not count; NaN if that leaves none, or if a
    probability is not a number.
    """
    if np.isnan(probabilities).any():
        return float("nan")
    truth = one_hot(labels, probabilities.shape[1])
    columns = [1] if _binary(labels, probabilities) else range(truth.shape[1])
    areas = [roc_auc_score(truth[:, k], probabilities[:, k]) for k in columns if 0 < truth[:, k].sum() < len(truth)]
    return float(np.mean(areas)) if areas else float("nan")


def accuracy(labels: NDArray, probabilities: NDArray) -> float:
    """Share of scans whose most probable class is right (of two equal ones the first); of multi-label data, share of
    labels on the right side of 0.5."""
    if labels.ndim == 2:
        return float(np.mean((probabilities > 0.5) == (labels == 1)))
    return float(np.mean(probabilities.argmax(1) == labels))


def recall(labels: NDArray, probabilities: NDArray) -> float:
    """Macro recall of the most probable class: its mean over all classes that occur or are predicted.

    Of multi-label data, the mean over labels of the share of their scans with a probability above 0.5.
    """
    hits, actual, predicted = _counts(labels, probabilities)
    occurs = (actual > 0) | (predicted > 0)
    return float(np.mean(hits[occurs] / np.maximum(actual[occurs], 1)))


def f1(labels: NDArray, probabilities: NDArray) -> float:
    """F1 score of the second of two classes; of more, the mean over all classes that occur or are predicted."""
    hits, actual, predicted = _counts(labels, probabilities)
    scores = 2 * hits / np.maximum(actual + predicted, 1)
    if _binary(labels, probabilities):
        return float(scores[1])
    return float(np.mean(scores[(actual > 0) | (predicted > 0)]))


def dice(labels: NDArray, probabilities: NDArray) -> float:
    """Soft Dice coefficient 2 sum(p y) / (sum(p) + sum(y)) over all scans: of the second of two classes; of more, over
    all classes with y one-hot, which is the mean probability of the right class."""
    truth = one_hot(labels, probabilities.shape[1])
    if _binary(labels, probabilities):
        probabilities, truth = probabilities[:, 1], truth[:, 1]
    return float(2 * (probabilities * truth).sum() / max(probabilities.sum() + truth.sum(), 1e-12))


def expected_calibration_error(labels: NDArray, probabilities: NDArray, bins: int = 10) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015), equally wide bins: of the probability of the second of two
    classes, of the most probable one of several (Guo et al., ICML 2017), of all of multi-label data.

    The gap between mean probability and share in each bin, averaged with the bins' sizes as weights; NaN if a
    probability is not a number.
    """
    if np.isnan(probabilities).any():
        return float("nan")
    if _binary(labels, probabilities):
        confidence, right = probabilities[:, 1], labels == 1
    elif labels.ndim == 2:
        confidence, right = probabilities.ravel(), labels.ravel() == 1
    else:
        confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(bin_of, confidence - right, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def _binary(labels: NDArray, probabilities: NDArray) -> bool:
    return labels.ndim == 1 and probabilities.shape[1] == 2


def _counts(labels: NDArray, probabilities: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Per class: scans of it that are found, scans of it, scans taken for it."""
    classes = probabilities.shape[1]
    if labels.ndim == 2:
        taken, truth = probabilities > 0.5, labels == 1
        return (taken & truth).sum(0), truth.sum(0), taken.sum(0)
    taken = probabilities.argmax(1)
    hits = np.bincount(labels[taken == labels], minlength=classes)
    return hits, np.bincount(labels, minlength=classes), np.bincount(taken, minlength=classes)
