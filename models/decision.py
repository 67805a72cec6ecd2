"""What a classifier is: a module that decides, and can say what led to its decision."""

from typing import NamedTuple

from torch import Tensor, nn


class Decision(NamedTuple):
    """Logits, and where they came from."""

    logits: Tensor  # (batch, K) before sigmoid (K = 1) or softmax
    slice_logits: Tensor | None  # (batch, slices, K) if the logits are the mean of one decision per slice
    activations: Tensor  # (batch, slices, channels) mean of each map of the last convolution, for each slice


class Classifier(nn.Module):
    """Base of every model in the zoo: maps (batch, *input shape) to logits (batch, K)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.decide(inputs).logits

    def decide(self, inputs: Tensor) -> Decision:
        """Like ``forward``, with what led to the logits."""
        raise NotImplementedError
