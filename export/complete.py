"""The complete model: raw pixels in, calibrated probabilities out, as one torch module."""

import copy

import torch
from torch import Tensor, nn

from export.ood import OodScore
from models import Classifier
from models.front import Front
from models.liquid import LTC, FoldedLTC

#: Pixels that break the input contract by 5 % of the range on average double the usual score of about 1.
VIOLATION_WEIGHT = 20.0


class CompleteModel(nn.Module):
    """Front, network, temperature and out-of-distribution score: everything the exported file does.

    Maps scans (batch, *any size) to logits (batch, K), probabilities (batch, classes), the out-of-distribution score
    (batch,) and, where the model decides per slice, slice logits (batch, slices, K).  All logits are divided by the
    temperature, so that probabilities are their sigmoid (of K = 1 that of the second class; of multi-label models one
    each) or their softmax.
    """

    def __init__(self, front: Front, network: Classifier, temperature: float, ood: OodScore, multi_label: bool = False):
        super().__init__()
        self.front, self.network, self.ood = front, network, ood
        self.temperature, self.multi_label = temperature, multi_label

    def forward(self, scan: Tensor) -> tuple[Tensor, ...]:
        decision = self.network.decide(self.front(scan))
        logits = decision.logits / self.temperature
        ood = self.ood(decision.activations) + VIOLATION_WEIGHT * self.front.violation(scan)
        outputs = logits, self._probabilities(logits), ood
        if decision.slice_logits is None:
            return outputs
        return *outputs, decision.slice_logits / self.temperature

    def _probabilities(self, logits: Tensor) -> Tensor:
        if self.multi_label:
            return torch.sigmoid(logits)
        if logits.shape[1] > 1:
            return torch.softmax(logits, 1)
        positive = torch.sigmoid(logits)
        return torch.cat([1 - positive, positive], 1)

    def folded(self) -> "CompleteModel":
        """A copy whose liquid layers are folded: what is traced to ONNX."""
        twin = copy.deepcopy(self)
        for module in list(twin.modules()):
            for name, child in module.named_children():
                if isinstance(child, LTC):
                    setattr(module, name, FoldedLTC(child))
        return twin


def output_names(outputs: tuple[Tensor, ...]) -> list[str]:
    return ["logits", "probabilities", "ood", "slice_logits"][: len(outputs)]
