"""The out-of-distribution score: how unlike the training scans a scan looks to the network's own convolutions.

Mahalanobis distance (Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
Attacks", NeurIPS 2018) of a short description of the scan: mean and standard deviation, over the slices, of the mean
activation of every channel.
"""

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor, nn

from liquidlens.errors import LiquidLensError

QUANTILE = 0.99


def describe(activations: Tensor) -> Tensor:
    """(batch, slices, channels) mean activations to (batch, 2 * channels) descriptions."""
    mean = activations.mean(1)
    variance = (activations - mean.unsqueeze(1)).square().mean(1)
    return torch.cat([mean, variance.sqrt()], 1)


class OodScore(nn.Module):
    """The root mean square of the whitened description; about 1 for training scans."""

    center: Tensor
    whitening: Tensor

    def __init__(self, center: Tensor, whitening: Tensor):
        super().__init__()
        self.register_buffer("center", center)
        self.register_buffer("whitening", whitening)

    def forward(self, activations: Tensor) -> Tensor:
        """(batch, slices, channels) to (batch,)."""
        return ((describe(activations) - self.center) @ self.whitening).square().mean(1).sqrt()


def fit(activations: Tensor) -> OodScore:
    """Fit the score to the activations (n, slices, channels) of the training scans.

    Raises LiquidLensError if they are not numbers, or the same for all scans.
    """
    descriptions = describe(activations).double().numpy()
    if not np.isfinite(descriptions).all():
        raise LiquidLensError("The network's activations are not numbers: its training diverged. Train it anew.")
    if not descriptions.std(0).any():
        raise LiquidLensError("The network sees no difference between the training scans: it has learned nothing.")
    # A channel that is silent on all training scans has no variance; the shared floor keeps its score finite.
    floor = 1e-3 * descriptions.std(0).mean() + 1e-9
    scale = descriptions.std(0) + floor
    fitted = LedoitWolf().fit(descriptions / scale)
    precision = np.linalg.cholesky(fitted.precision_) / scale[:, None]
    return OodScore(
        torch.tensor(descriptions.mean(0), dtype=torch.float32), torch.tensor(precision, dtype=torch.float32)
    )
