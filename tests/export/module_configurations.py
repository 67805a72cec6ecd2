"""What people build with ncps: twenty-eight small modules, with the inputs that they take."""

import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from ncps.torch import LTC, CfC, CfCCell, LTCCell, WiredCfCCell
from ncps.wirings import NCP, AutoNCP, Random
from torch import nn

from liquidlens.models.layers.bidirectional import BidirectionalLTC

FEATURES, TIME = 5, 9
#: Fewer ODE unfolds than ncps's 6: nodes, not another path, and half of the time that an export takes.
QUICK = {"ode_unfolds": 2}


class Sequence(nn.Module):
    """The layer's states stay inside."""

    def __init__(self, layer: nn.Module, head: nn.Module | None = None):
        super().__init__()
        self.layer, self.head = layer, head or nn.Identity()

    def forward(self, x):
        return self.head(self.layer(x)[0])


class Stateful(Sequence):
    def forward(self, x, hx):
        y, hx = self.layer(x, hx)
        return self.head(y), hx


class Mixed(Sequence):
    def forward(self, x, h, c):
        y, (h, c) = self.layer(x, (h, c))
        return self.head(y), h, c


class Timed(Sequence):
    def forward(self, x, hx, timespans):
        y, hx = self.layer(x, hx, timespans)
        return self.head(y), hx


class TimedMixed(Sequence):
    def forward(self, x, hx, timespans):
        return self.layer(x, hx, timespans)


class OneCell(nn.Module):
    """A cell that steps by another second."""

    def __init__(self, cell: nn.Module, seconds: float = 1.0):
        super().__init__()
        self.cell, self.seconds = cell, seconds

    def forward(self, x, hx):
        return self.cell(x, hx, self.seconds)


class OwnLoop(nn.Module):
    """A cell in a loop of the user's."""

    def __init__(self, cell: nn.Module):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        h = torch.zeros(x.shape[0], self.cell.state_size)
        outputs = []
        for t in range(x.shape[1]):
            y, h = self.cell(x[:, t], h)
            outputs.append(y)
        return torch.stack(outputs, 1)


class Convolutions(nn.Module):
    """Images, one by one, into a CfC."""

    def __init__(self, outputs: int):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3, 2, 1))
        self.layer = CfC(8, 12, proj_size=outputs)

    def forward(self, x, hx):
        batch, time = x.size(0), x.size(1)
        features = self.maps(x.view(batch * time, *x.shape[2:])).mean((-1, -2))
        return self.layer(features.view(batch, time, 8), hx)


class Stacked(nn.Module):
    """Two layers with hidden states, the second with an LSTM's memory."""

    def __init__(self):
        super().__init__()
        self.first = LTC(FEATURES, AutoNCP(8, 4), **QUICK)
        self.second = CfC(4, 6, mixed_memory=True)

    def forward(self, x):
        return {"answer": self.second(torch.relu(self.first(x)[0]))[0].softmax(-1)}


class BothWays(nn.Module):
    """Bidirectional by hand."""

    def __init__(self):
        super().__init__()
        self.ahead, self.back = (CfC(FEATURES, 8, backbone_units=8) for _ in range(2))

    def forward(self, x):
        return torch.cat([self.ahead(x)[0], self.back(x.flip(1))[0].flip(1)], -1)


class Configuration(NamedTuple):
    make: Callable[[], nn.Module]
    #: Inputs for a batch and a number of steps.
    inputs: Callable[[int, int], dict]
    #: Options of `export_onnx`.
    state: str = "auto"
    unroll: int | None = None
    #: ``forward`` has an axis of time.
    sequence: bool = True
    batched: bool = True


def inputs(**shapes: tuple) -> Callable[[int, int], dict]:
    """Random inputs of shapes in which "b" and "t" stand for the batch and the number of steps: features normal, states
    and time spans positive."""

    def one(name: str, shape, sizes: dict[str, int]):
        if isinstance(shape, list):
            return tuple(one(name, part, sizes) for part in shape)
        lengths = [sizes.get(n, n) for n in shape]
        return torch.randn(lengths) if name in ("x", "input") else 0.1 + torch.rand(lengths) / 2

    return lambda b, t: {name: one(name, shape, {"b": b, "t": t}) for name, shape in shapes.items()}


X = inputs(x=("b", "t", FEATURES))


def with_state(units: int, **more: tuple) -> Callable[[int, int], dict]:
    return inputs(x=("b", "t", FEATURES), hx=("b", units), **more)


def wiring() -> AutoNCP:
    return AutoNCP(10, 3, seed=22222)


SPANS = {"timespans": ("b", "t")}
STEP = {"x": ("b", FEATURES)}

CONFIGURATIONS = {
    "ltc, sparse": Configuration(lambda: Sequence(LTC(FEATURES, wiring())), X),
    "ltc, full": Configuration(lambda: Sequence(LTC(FEATURES, 8, **QUICK)), X),
    "ltc, many synapses": Configuration(lambda: Sequence(LTC(FEATURES, 34, **QUICK)), X),
    "ltc, many synapses, time spans": Configuration(
        lambda: Timed(LTC(FEATURES, Random(52, 3, sparsity_level=0.3), **QUICK)), with_state(52, **SPANS)
    ),
    "ltc, ncp, time first": Configuration(
        lambda: Stateful(LTC(FEATURES, NCP(5, 4, 2, 3, 2, 4, 3), batch_first=False, **QUICK)),
        inputs(x=("t", "b", FEATURES), hx=("b", 11)),
    ),
    "ltc, mixed": Configuration(
        lambda: Mixed(LTC(FEATURES, wiring(), mixed_memory=True, **QUICK)),
        inputs(x=("b", "t", FEATURES), h=("b", 10), c=("b", 10)),
    ),
    "ltc, last output": Configuration(
        lambda: Sequence(LTC(FEATURES, wiring(), return_sequences=False, **QUICK), nn.Linear(3, 2)), X
    ),
    "ltc, time spans": Configuration(lambda: Timed(LTC(FEATURES, wiring(), **QUICK)), with_state(10, **SPANS)),
    "ltc, random, explicit": Configuration(
        lambda: Stateful(LTC(FEATURES, Random(10, 3, sparsity_level=0.5), implicit_param_constraints=False, **QUICK)),
        with_state(10),
    ),
    "ltc cell": Configuration(
        lambda: OneCell(LTCCell(wiring(), FEATURES)), inputs(**STEP, hx=("b", 10)), sequence=False
    ),
    "cfc, projected": Configuration(lambda: Stateful(CfC(FEATURES, 12, proj_size=4)), with_state(12)),
    "cfc, wired": Configuration(lambda: Stateful(CfC(FEATURES, wiring())), with_state(10)),
    "cfc, pure": Configuration(lambda: Sequence(CfC(FEATURES, 12, mode="pure")), X),
    "cfc, no gate, dropout": Configuration(
        lambda: Sequence(CfC(FEATURES, 12, mode="no_gate", activation="silu", backbone_layers=2, backbone_dropout=0.5)),
        X,
    ),
    "cfc, mixed, last output": Configuration(
        lambda: Mixed(CfC(FEATURES, 12, mixed_memory=True, return_sequences=False), nn.Linear(12, 3)),
        inputs(x=("b", "t", FEATURES), h=("b", 12), c=("b", 12)),
    ),
    "cfc, time spans": Configuration(lambda: Timed(CfC(FEATURES, 12), nn.Linear(12, 7)), with_state(12, **SPANS)),
    "images into cfc": Configuration(lambda: Convolutions(4), inputs(x=("b", "t", 3, 12, 12), hx=("b", 12))),
    "wired cfc cell": Configuration(
        lambda: OneCell(WiredCfCCell(FEATURES, wiring()), 0.5), inputs(**STEP, hx=("b", 10)), sequence=False
    ),
    "two layers, hidden states": Configuration(Stacked, X),
    "both ways by hand": Configuration(BothWays, X, "zeros"),
    "wired, pure": Configuration(lambda: Sequence(CfC(FEATURES, wiring(), mode="pure")), X),
    "wired, no gate, time spans": Configuration(
        lambda: Timed(CfC(FEATURES, wiring(), mode="no_gate")), with_state(10, **SPANS)
    ),
    "mixed with time spans": Configuration(
        lambda: TimedMixed(CfC(FEATURES, 8, mixed_memory=True)),
        inputs(x=("b", "t", FEATURES), hx=[("b", 8), ("b", 8)], **SPANS),
    ),
    "no backbone": Configuration(lambda: Sequence(CfC(FEATURES, 12, backbone_layers=0)), X),
    "backbone of three, gelu": Configuration(
        lambda: Sequence(CfC(FEATURES, 12, activation="gelu", backbone_units=16, backbone_layers=3)), X
    ),
    "no batch axis": Configuration(
        lambda: Stateful(CfC(FEATURES, wiring())), inputs(x=("t", FEATURES), hx=(10,)), batched=False
    ),
    "layer by itself": Configuration(
        lambda: LTC(FEATURES, wiring(), mixed_memory=True, **QUICK), inputs(input=("b", "t", FEATURES))
    ),
    "own loop, fixed length": Configuration(
        lambda: OwnLoop(LTCCell(wiring(), FEATURES, ode_unfolds=2)), X, unroll=TIME
    ),
    "our bidirectional layer": Configuration(lambda: Sequence(BidirectionalLTC(FEATURES, AutoNCP(8, 2))), X),
    "cfc cell": Configuration(
        lambda: OneCell(CfCCell(FEATURES, 12, "pure"), 2.0), inputs(**STEP, hx=("b", 12)), sequence=False
    ),
}


def make(name: str) -> nn.Module:
    """The module, its parameters away from their special initial values."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    module = CONFIGURATIONS[name].make()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.rand_like(parameter)
    return module.eval()


class Beside(nn.Module):
    """A layer of ncps behind what else there may be in a module."""

    def __init__(self, *others, scale=None):
        super().__init__()
        self.others = nn.Sequential(*others)
        self.layer = CfC(FEATURES, 6)
        self.scale = scale

    def forward(self, x):
        for other in self.others:
            x = other(x.transpose(1, 2)[..., None])[..., 0].transpose(1, 2) if _is_2d(other) else other(x)
            x = x[0] if isinstance(x, tuple) else x
        if self.scale is not None:
            x = x @ self.scale if self.scale.dim() == 2 else x * self.scale
        return self.layer(x)[0]


def _is_2d(module):
    return isinstance(module, nn.Conv2d | nn.BatchNorm2d)
