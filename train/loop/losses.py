"""The papers' loss functions: outputs (batch, K) and targets to the mean loss of the batch.

Targets are class numbers (batch,), or rows (batch, K): of 0 and 1 for multi-label data, poses for pose data.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from liquidlens.train.recipes import Training

Loss = Callable[[Tensor, Tensor], Tensor]


def loss_of(settings: Training, targets: Tensor, classes: int) -> Loss:
    """The loss function that a recipe names, with its weights of the classes for training on these targets."""
    weights = class_weights(targets, classes) if settings.class_weights == "balanced" else None
    if settings.loss == "cross-entropy":
        return lambda outputs, targets: cross_entropy(outputs, targets, weights, settings.label_smoothing)
    if settings.loss == "pose":
        return lambda outputs, targets: pose([outputs], targets, settings.beta, weights=[1.0])
    return {
        "double-softmax": double_softmax,
        "bce-dice": bce_dice,
        "mse": mean_squared_error,
    }[settings.loss]


def class_weights(targets: Tensor, classes: int) -> Tensor:
    """(classes,) weights by which every class counts as much as any other: of classes n / (classes * n of it), whose
    mean over the scans is 1; of several labels at once, how many scans have it not for each that has."""
    if targets.dim() == 2:
        have = targets.sum(0).clamp(min=1)
        return (len(targets) - have).clamp(min=1) / have
    return len(targets) / (classes * torch.bincount(targets, minlength=classes).clamp(min=1).float())


def cross_entropy(
    outputs: Tensor, targets: Tensor, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Cross entropy of what the outputs stand for: one sigmoid, a softmax, or independent sigmoids.  weights: of the
    classes, see `class_weights`; label_smoothing: so much of each target is shared out among all classes, of sigmoids
    those of yes and no."""
    if weights is not None:
        weights = weights.to(outputs)
    if targets.dim() == 1 and outputs.shape[1] > 1:
        return F.cross_entropy(outputs, targets, weights, label_smoothing=label_smoothing)
    soft = _one_hot(outputs, targets) * (1 - label_smoothing) + label_smoothing / 2
    if targets.dim() == 2:
        return F.binary_cross_entropy_with_logits(outputs, soft, pos_weight=weights)
    of_each = None if weights is None else weights[targets][:, None]
    return F.binary_cross_entropy_with_logits(outputs, soft, of_each)


def soft_cross_entropy(outputs: Tensor, probabilities: Tensor, independent: bool = False) -> Tensor:
    """Cross entropy of outputs (batch, K) with what teachers say, (batch, K): of one sigmoid, or of `independent` ones,
    else of a softmax."""
    if independent or outputs.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(outputs, probabilities)
    return F.cross_entropy(outputs, probabilities)


def double_softmax(outputs: Tensor, targets: Tensor) -> Tensor:
    """kth-2021's loss: softmaxed outputs are given to a cross entropy that applies a softmax of its own.

    A certain, right answer of 10 classes still costs ln(1 + 9/e) = 1.461, so the loss never falls below that.
    """
    return F.cross_entropy(outputs.softmax(1), targets)


def bce_dice(outputs: Tensor, targets: Tensor) -> Tensor:
    """truong-2022, setting 1: 0.4 times binary cross entropy plus 1.0 times Dice loss, on sigmoid outputs."""
    one_hot = _one_hot(outputs, targets)
    return 0.4 * F.binary_cross_entropy_with_logits(outputs, one_hot) + dice_loss(outputs.sigmoid(), one_hot)


def dice_loss(probabilities: Tensor, one_hot: Tensor) -> Tensor:
    """1 - 2 sum(p y) / (sum(p) + sum(y)), over the whole batch."""
    overlap = (probabilities * one_hot).sum()
    return 1 - 2 * overlap / (probabilities.sum() + one_hot.sum() + 1e-6)


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """truong-2022, setting 2: squared distance of sigmoid outputs to one-hot targets."""
    return F.mse_loss(outputs.sigmoid(), _one_hot(outputs, targets))


def pose(heads: list[Tensor], targets: Tensor, beta: float, weights: list[float]) -> Tensor:
    """PoseNet's loss: the weighted sum, over its heads, of the squared errors of position and, `beta` times,
    orientation (Kendall et al., ICCV 2015; in PoseNet-LSTM, Walch et al., ICCV 2017, the two auxiliary heads weigh 0.3
    each and the final one 1).

    heads: each (batch, 7), position in metres and unit quaternion; targets: (batch, 7).
    """
    total = targets.new_zeros(())
    for head, weight in zip(heads, weights, strict=True):
        position, orientation = F.mse_loss(head[:, :3], targets[:, :3]), F.mse_loss(head[:, 3:], targets[:, 3:])
        total = total + weight * (position + beta * orientation)
    return total


def _one_hot(outputs: Tensor, targets: Tensor) -> Tensor:
    if targets.dim() == 2:
        return targets
    if outputs.shape[1] == 1:
        return targets[:, None].to(outputs.dtype)
    return F.one_hot(targets, outputs.shape[1]).to(outputs.dtype)
