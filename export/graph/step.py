"""The profile ``step``: a liquid model that reads a stream of slices, one at a time, and answers after each.

Inputs: ``slice`` (batch, rows, columns), raw pixels of any size; ``largest`` (batch,), the largest pixel of the whole
scan (absent for Hounsfield units, whose window is fixed); and the memory, which starts from zeros: ``state`` (batch,
neurons of all liquid layers), ``sum`` (batch, K) of the slice logits so far, ``count`` (batch,) of the slices so far.

Outputs: ``next_state``, ``next_sum`` and ``next_count``, to be given with the next slice; ``slice_logits`` (batch, K)
of this slice; ``logits`` and ``probabilities`` of the scan so far.  Slices are taken as they come, not resized along
the depth: after as many slices as the model was trained on, the answer is that of the other profiles.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from liquidlens.errors import LiquidLensError
from liquidlens.export.complete.deployed import CompleteModel
from liquidlens.export.facts import OPSET
from liquidlens.export.graph.trace import Traced, trace_module
from liquidlens.models.front import Front
from liquidlens.models.layers.folded import FoldedLayer
from liquidlens.models.papers.hse2024 import MeanOverSlices, Outputs, SliceClassifier


class StepModel(nn.Module):
    """One slice through a folded model.  Raises LiquidLensError if there is no stream of slices in it."""

    def __init__(self, twin: CompleteModel):
        super().__init__()
        network = twin.network
        layers = [module for module in network.modules() if isinstance(module, FoldedLayer)]
        if not layers:
            raise LiquidLensError("The profile step is for liquid models: this one keeps no state from slice to slice.")
        if not isinstance(network, SliceClassifier) or not isinstance(network.head, MeanOverSlices):
            raise LiquidLensError(
                "The profile step is for volumes that are read slice by slice, in one direction: this model reads none."
            )
        contract = twin.front.contract
        if contract.spacing is not None:
            raise LiquidLensError(
                "The profile step reads one slice at a time, and this model a field of view in millimetres, which lies "
                "in several slices at once: export it without this profile."
            )
        if contract.values == "relative":
            raise LiquidLensError(
                "The profile step reads one slice at a time, and relative values go by the mean of the whole scan."
            )
        self.front = Front(replace(contract, size=contract.size[1:]))
        self.twin, self.steps = twin, list(network.head.steps)
        self.trunk: nn.Module = network.trunk
        self.units = [layer.state_size for layer in layers]
        last = self.steps[-1]
        self.logits = last.out_features if isinstance(last, nn.Linear) else layers[-1].output_size

    @property
    def takes_largest(self) -> bool:
        return self.front.contract.window is None

    def forward(
        self, pixels: Tensor, state: Tensor, sums: Tensor, count: Tensor, largest: Tensor | None = None
    ) -> dict[str, Tensor]:
        maps = self.trunk(self.front(pixels, largest=largest))
        features = maps.flatten(1)
        states = list(state.split(self.units, dim=1))
        new_states: list[Tensor] = []
        for module in self.steps:
            if isinstance(module, Outputs) and isinstance(module.layer, FoldedLayer):
                features, new_state = module.layer.advance(features, states[len(new_states)])
                new_states.append(new_state)
            else:
                features = module(features[:, None])[:, 0]  # other modules expect an axis of slices
        sums, count = sums + features, count + 1
        logits = sums / count[:, None] / self.twin.temperature
        return {
            "logits": logits,
            "probabilities": self.twin.probabilities(logits),
            "slice_logits": features / self.twin.temperature,
            "next_state": torch.cat(new_states, 1),
            "next_sum": sums,
            "next_count": count,
        }

    def start(self, batch: int) -> dict[str, Tensor]:
        """The inputs besides the pixels, before the first slice."""
        return {
            "state": torch.zeros(batch, sum(self.units)),
            "sum": torch.zeros(batch, self.logits),
            "count": torch.zeros(batch),
        }


def trace_step(model: CompleteModel, opset: int = OPSET) -> Traced:
    """Trace the step of a model.  Raises LiquidLensError if it has none."""
    twin = model.folded()
    module = StepModel(twin)
    example = {"slice": torch.rand(2, 33, 36), **module.start(2)}
    dynamic = {name: {0: "batch"} for name in example} | {"slice": {0: "batch", 1: "height", 2: "width"}}
    if module.takes_largest:
        example["largest"], dynamic["largest"] = torch.rand(2) + 1, {0: "batch"}
    return trace_module(module, example, dynamic, twin, opset)
