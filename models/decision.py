"""What a classifier is: a module that decides, and shows what led to its decision."""

from typing import NamedTuple

from torch import Tensor, nn


class Decision(NamedTuple):
    """Logits, and where they came from."""

    logits: Tensor  # (batch, K) before sigmoid (K = 1) or softmax
    slice_logits: Tensor | None  # (batch, slices, K) if the logits are the mean of one decision per slice
    #: (batch, slices, channels): the mean of each map of the last convolution, for each slice of a volume; an image is
    #: one slice.  Networks without convolutions, and our own, give their last layer of features.
    activations: Tensor


class Classifier(nn.Module):
    """Base of every model in the zoo: maps (batch, *input shape) to logits (batch, K)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.decide(inputs).logits

    def decide(self, inputs: Tensor) -> Decision:
        """Like ``forward``, with what led to the logits."""
        raise NotImplementedError


class ImageClassifier(Classifier):
    """Two modules in a row: `features` turns images (batch, channels, rows, columns) into maps (batch, channels, rows,
    columns) or a vector (batch, features), `head` turns those into logits (batch, K)."""

    def __init__(self, features: nn.Module, head: nn.Module):
        super().__init__()
        self.features, self.head = features, head

    def decide(self, inputs: Tensor) -> Decision:
        features = self.features(inputs)
        activations = features.mean((2, 3)) if features.dim() == 4 else features
        return Decision(self.head(features), None, activations.unsqueeze(1))
