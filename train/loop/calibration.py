"""Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017)."""

import numpy as np
from numpy.typing import NDArray

FOLDS = 5


def negative_log_likelihood(logits: NDArray, labels: NDArray) -> float:
    """Mean cross entropy of logits (n, K) and labels: class numbers (n,), or (n, K) of 0 and 1 for multi-label data.
    One logit is that of class 1."""
    if labels.ndim == 1 and logits.shape[1] > 1:
        from scipy.special import log_softmax

        return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
    truth = labels if labels.ndim == 2 else labels[:, None]
    return float(np.mean(np.logaddexp(0.0, logits) - truth * logits))


def fit_temperature(logits: NDArray, labels: NDArray) -> float:
    """The temperature in [0.05, 20] by which dividing the logits lowers the loss most.

    1 if that does not help: if temperatures fitted to four fifths of the scans do not lower the loss of the others.
    """
    logits = np.asarray(logits, np.float64)
    if not np.isfinite(logits).all():
        return 1.0  # a training that has diverged
    fold_of = np.arange(len(logits)) % FOLDS
    held_out = 0.0
    for fold in set(fold_of):
        rest, fold_scans = fold_of != fold, fold_of == fold
        temperature = _best(logits[rest], labels[rest]) if rest.any() else 1.0
        held_out += fold_scans.mean() * negative_log_likelihood(logits[fold_scans] / temperature, labels[fold_scans])
    return _best(logits, labels) if held_out < negative_log_likelihood(logits, labels) else 1.0


def _best(logits: NDArray, labels: NDArray) -> float:
    from scipy.optimize import minimize_scalar  # here: the first batch need not wait for what comes after the last

    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits / np.exp(log_t), labels),
        bounds=np.log([0.05, 20]),
        method="bounded",
    )
    return float(np.exp(found.x))
