"""Initialisation of liquid models from the labels.

A liquid model starts with motor neurons near 0, that is with equal probabilities, and its logits hardly spread.  Where
one class is rare, it then sits at "always the frequent class" for dozens of epochs.  The affine output map of its last
liquid layer can put both right; no parameter is added.
"""

import torch
from torch import Tensor, nn

from liquidlens.models.layers.liquid import LTC
from liquidlens.models.papers.hse2024 import MeanOverSlices, Outputs

OUTPUT_GAIN = 2.0  # logits per unit of motor state, whose range is about -1 to 1


@torch.no_grad()
def from_labels(model: nn.Module, labels: Tensor, outputs: int) -> None:
    """Make a model whose logits come out of a liquid layer start at the share of each class in `labels` (n,).

    outputs: number of logits.  Other models, and multi-label data, stay as they are.
    """
    head = getattr(model, "head", None)
    last = head.steps[-1] if isinstance(head, MeanOverSlices) else None
    if not (isinstance(last, Outputs) and isinstance(last.layer, LTC)) or labels.dim() != 1:
        return
    shares = (torch.bincount(labels, minlength=max(outputs, 2)) / len(labels)).clamp(1e-3, 1 - 1e-3)
    last.layer.rnn_cell.output_w.fill_(OUTPUT_GAIN)
    last.layer.rnn_cell.output_b.copy_(torch.logit(shares[1:]) if outputs == 1 else shares.log())
