"""The complete model: raw pixels in, calibrated probabilities out, as one torch module."""

import contextlib
import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from liquidlens.export.complete.ood import OodScore
from liquidlens.models import Classifier
from liquidlens.models.front import Front
from liquidlens.models.layers.bidirectional import BidirectionalLTC, FoldedBidirectionalLTC
from liquidlens.models.layers.cfc import CfC, FoldedCfC
from liquidlens.models.layers.erosions import Erosions, PooledErosions
from liquidlens.models.layers.folded import FoldedLayer
from liquidlens.models.layers.folded_ltc import FoldedLTC
from liquidlens.models.layers.liquid import LTC

#: Pixels that break the input contract by 5 % of the range on average double the usual score of about 1.
VIOLATION_WEIGHT = 20.0


class CompleteModel(nn.Module):
    """Front, network, temperature and out-of-distribution score: everything the exported file does.

    Maps scans (batch, *any size) to logits (batch, K), probabilities (batch, classes), the out-of-distribution score
    (batch,), where the model decides per slice slice logits (batch, slices, K), and, once folded, the states
    (batch, steps, neurons) of each liquid layer.  All logits are divided by the temperature, so that probabilities are
    their sigmoid (of K = 1 that of the second class; of multi-label models one each) or their softmax.

    With a spacing in the input contract there are two more inputs, ``spacing`` and ``centre`` (batch, 3), as of
    `models.front.Front`; NaN stands for the model's own spacing, and for the middle of the scan.
    """

    temperature: Tensor

    def __init__(self, front: Front, network: Classifier, temperature: float, ood: OodScore, multi_label: bool = False):
        super().__init__()
        self.front, self.network, self.ood = front, network, ood
        self.multi_label = multi_label
        self.register_buffer("temperature", torch.tensor(temperature))  # a buffer, so that the file names it

    def forward(self, scan: Tensor, spacing: Tensor | None = None, centre: Tensor | None = None) -> dict[str, Tensor]:
        seen = self.front.look(scan, spacing, centre)
        with _recorded_states(self.network) as states:
            decision = self.network.decide(self.front.shown(seen))
        logits = decision.logits / self.temperature
        outputs = {
            "logits": logits,
            "probabilities": self.probabilities(logits),
            "ood": self.ood(decision.activations) + VIOLATION_WEIGHT * self.front.violation(seen),
        }
        if decision.slice_logits is not None:
            outputs["slice_logits"] = decision.slice_logits / self.temperature
        # A head may pass several tracks of a scan each alone; they stand one after the other.
        batch = scan.shape[0]
        states = [one if one.shape[0] == batch else one.reshape(batch, -1, one.shape[2]) for one in states]
        return outputs | dict(zip(state_names(len(states)), states, strict=True))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities (batch, classes) of logits (batch, K) that were divided by the temperature."""
        if self.multi_label:
            return torch.sigmoid(logits)
        if logits.shape[1] > 1:
            return torch.softmax(logits, 1)
        positive = torch.sigmoid(logits)
        return torch.cat([1 - positive, positive], 1)

    def folded(self) -> "CompleteModel":
        """A copy in the form that is traced to ONNX: liquid layers are folded, adaptive max-pooling, which has no ONNX
        operator, gathers its windows, and erosions are written as pooling.  The same answers to rounding."""
        twin = copy.deepcopy(self).eval()
        pools = _adaptive_pools(twin)
        for module in list(twin.modules()):
            for name, child in module.named_children():
                if child in pools:
                    setattr(module, name, pools[child])
                elif type(child) in _FORMS:
                    setattr(module, name, _FORMS[type(child)](child))
        return twin.eval()


def state_names(layers: int) -> list[str]:
    """Names of the outputs with the states of so many liquid layers."""
    return ["states"] if layers == 1 else [f"states_{i}" for i in range(1, layers + 1)]


@contextlib.contextmanager
def _recorded_states(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the states of all folded liquid layers that run meanwhile, in the order in which they run."""
    states: list[Tensor] = []
    layers = [module for module in network.modules() if isinstance(module, FoldedLayer)]
    for layer in layers:
        layer.on_states = states.append
    try:
        yield states
    finally:
        for layer in layers:
            layer.on_states = None


@torch.no_grad()
def _adaptive_pools(model: CompleteModel) -> "dict[nn.Module, WindowMax]":
    """What stands in for each adaptive max-pooling; how large its maps are follows from the input contract."""
    forms: dict[nn.Module, WindowMax] = {}

    def note(pool: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        forms[pool] = WindowMax(int(pool.output_size), *inputs[0].shape[2:])  # type: ignore[arg-type]  # all are square

    hooks = [
        module.register_forward_pre_hook(note) for module in model.modules() if isinstance(module, nn.AdaptiveMaxPool2d)
    ]
    if hooks:
        model.network(torch.zeros(1, *model.front.contract.input_shape))
    for hook in hooks:
        hook.remove()
    return forms


class WindowMax(nn.Module):
    """``nn.AdaptiveMaxPool2d`` over maps of one size (rows, columns), as a gather of each window and its maximum."""

    rows: Tensor
    columns: Tensor

    def __init__(self, size: int, rows: int, columns: int):
        super().__init__()
        self.register_buffer("rows", _windows(rows, size))
        self.register_buffer("columns", _windows(columns, size))

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, rows, columns) to (batch, channels, size, size)."""
        for axis, windows in ((2, self.rows), (3, self.columns)):
            gathered = maps.index_select(axis, windows.flatten()).unflatten(axis, windows.shape)
            maps = gathered.amax(axis + 1)
        return maps


def _windows(length: int, size: int) -> Tensor:
    """(size, widest window) positions out of `length`; narrow windows repeat their last position."""
    starts = [i * length // size for i in range(size)]
    ends = [-(-(i + 1) * length // size) for i in range(size)]
    widest = max(end - start for start, end in zip(starts, ends, strict=True))
    return torch.tensor(
        [[min(start + k, end - 1) for k in range(widest)] for start, end in zip(starts, ends, strict=True)]
    )


#: What is replaced, and by what.
_FORMS: dict[type[nn.Module], Callable[..., nn.Module]] = {
    LTC: FoldedLTC,
    BidirectionalLTC: FoldedBidirectionalLTC,
    CfC: FoldedCfC,
    Erosions: PooledErosions,
}
