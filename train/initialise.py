"""Initialisation of liquid models from the labels.

A liquid model starts with a motor neuron near 0, that is with probability 1/2, and its logits hardly spread.  Where one
class is rare, it then sits at "always the frequent class" for dozens of epochs.  The affine output map of its last
liquid layer can put both right; no parameter is added.
"""

import torch
from torch import Tensor, nn

from models.liquid import LTC

OUTPUT_GAIN = 2.0  # logits per unit of motor state, whose range is about -1 to 1


@torch.no_grad()
def from_labels(model: nn.Module, labels: Tensor) -> None:
    """Make the last liquid layer start at the share of class 1 in `labels` (n,).  Models without liquid layers stay."""
    layers = [module for module in model.modules() if isinstance(module, LTC)]
    if layers:
        layers[-1].rnn_cell.output_w.fill_(OUTPUT_GAIN)
        layers[-1].rnn_cell.output_b.fill_(torch.logit(labels.float().mean()).item())
