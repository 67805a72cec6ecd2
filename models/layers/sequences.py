"""What passes a sequence in both directions: liquid layers, or as many parameters of something else in their place.

Whether liquid layers help shows only beside networks that differ in nothing else, so every kind is as large as the
:class:`BidirectionalLTC` that it stands in for, as closely as its steps of size allow.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable

import torch
from ncps.wirings import AutoNCP
from torch import Tensor, nn

from liquidlens.models.layers.bidirectional import BidirectionalLTC
from liquidlens.models.layers.cfc import CfC

#: The flags by which a network has something else where its liquid layers are.
TWINS = ("cfc", "gru", "rnn", "mean")
#: From a wiring that still has inter neurons on.
SIZES = range(6, 256)


class BidirectionalCfC(nn.Module):
    """A closed-form liquid layer from start to end and another one from end to start, of the same wiring."""

    def __init__(self, features: int, units: int):
        super().__init__()
        self.ahead, self.back = (CfC(features, AutoNCP(units, units // 2)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.ahead(x)[0], self.back(x.flip(1))[0].flip(1)], 2)


def both_ways(features: int, units: int, twin: str = "") -> tuple[nn.Module, int]:
    """A layer for sequences (batch, time, features), and how many outputs it has for each step; see `passed`.

    units: of the liquid layer in each direction, half of them motor neurons.  twin: "" for that layer itself, or one of
    `TWINS`, as large: closed-form liquid layers, a GRU, a simple recurrent network, or "mean", which sees each step
    alone, so that the mean over the steps is all that joins them.
    """
    motor = units // 2
    liquid = BidirectionalLTC(features, AutoNCP(units, motor))
    make: dict[str, Callable[[int], nn.Module]] = {
        "cfc": lambda size: BidirectionalCfC(features, size),
        "gru": lambda size: nn.GRU(features, size, batch_first=True, bidirectional=True),
        "rnn": lambda size: nn.RNN(features, size, batch_first=True, bidirectional=True),
        "mean": lambda size: nn.Sequential(nn.Linear(features, size), nn.ReLU(), nn.Linear(size, 2 * motor)),
    }
    if not twin:
        return liquid, 2 * motor
    size = _as_large(make[twin], liquid)
    return make[twin](size), {"cfc": 2 * (size // 2), "mean": 2 * motor}.get(twin, 2 * size)


def passed(layer: nn.Module, x: Tensor, timespans: Tensor | None = None) -> Tensor:
    """The outputs (batch, time, width) of a layer that `both_ways` made.  timespans: (batch, time, 2), which liquid
    layers alone take."""
    outputs = layer(x) if timespans is None else layer(x, timespans)
    return outputs[0] if isinstance(outputs, tuple) else outputs


def twin_of(flags: Iterable[str]) -> str:
    """The one twin that flags name, or "".  Raises ValueError if they name several."""
    named = [flag for flag in flags if flag in TWINS]
    if len(named) > 1:
        raise ValueError(f"{' and '.join(named)} stand in for the same layers: name one")
    return next(iter(named), "")


def _as_large(make: Callable[[int], nn.Module], other: nn.Module) -> int:
    """The size by which the parameters of what `make` makes come closest to those of `other`."""
    wanted = _count(other)
    with torch.device("meta"):  # nothing is allocated, or drawn
        above = bisect_left(SIZES, wanted, key=lambda size: _count(make(size)))
        nearest = SIZES[max(above - 1, 0) : above + 1]
        return min(nearest, key=lambda size: abs(_count(make(size)) - wanted))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
