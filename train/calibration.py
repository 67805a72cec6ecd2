"""Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017)."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar


def negative_log_likelihood(logits: NDArray, labels: NDArray) -> float:
    """Mean binary cross entropy of logits (n,) and labels (n,) of 0 and 1."""
    return float(np.mean(np.logaddexp(0.0, logits) - labels * logits))


def fit_temperature(logits: NDArray, labels: NDArray) -> float:
    """The temperature in [0.05, 20] by which dividing the logits lowers the loss most; 1 if nothing lowers it."""
    logits = np.asarray(logits, np.float64)
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits / np.exp(log_t), labels),
        bounds=np.log([0.05, 20]),
        method="bounded",
    )
    return float(np.exp(found.x)) if found.fun < negative_log_likelihood(logits, labels) else 1.0
