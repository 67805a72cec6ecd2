"""`export_onnx`: what cannot be written exactly is refused, with the layer and the reason, and nothing is written."""

import pytest
import torch
from ncps.torch import LTC, CfC, LTCCell
from ncps.wirings import AutoNCP
from torch import nn

from liquidlens import LiquidLensError, export_onnx
from tests.export.module_configurations import (
    CONFIGURATIONS,
    FEATURES,
    TIME,
    Beside,
    OwnLoop,
    Sequence,
    Stateful,
    make,
)


class Own(LTC):
    def forward(self, input, hx=None, timespans=None):  # noqa: A002
        return super().forward(2 * input, hx, timespans)


class OwnSolver(LTCCell):
    def _ode_solver(self, inputs, state, elapsed_time):
        return state


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = CfC(FEATURES, FEATURES)

    def forward(self, x):
        return self.layer(self.layer(x)[0])[0]


class Mean(Sequence):
    def forward(self, x):
        return super().forward(x - x.mean(1, keepdim=True))


class Branches(Sequence):
    def forward(self, x):
        return super().forward(-x if x.sum() > 0 else x)


class Fixed(Sequence):
    def forward(self, x):
        return super().forward(x.reshape(-1, TIME, FEATURES))


class Noisy(Sequence):
    def forward(self, x):
        return super().forward(x) + torch.randn(1)


def with_cell(layer, cell):
    layer.rnn_cell = cell
    return layer


def assigned():
    layer = LTC(FEATURES, 6)
    layer.load_state_dict(LTC(FEATURES, 6).state_dict(), assign=True)
    return layer


def spans_of_0():
    inputs = CONFIGURATIONS["ltc, time spans"].inputs(2, TIME)
    inputs["timespans"][1, 2] = 0
    return inputs


X = {"x": torch.randn(2, TIME, FEATURES)}


def _small():
    return Sequence(CfC(FEATURES, 6))


REFUSED = {
    "a layer of one's own": (
        lambda: Sequence(Own(FEATURES, 6)),
        X,
        {},
        r"The layer layer is a Own with forward of its own",
    ),
    "a cell of one's own": (
        lambda: Sequence(with_cell(LTC(FEATURES, 6), OwnSolver(AutoNCP(6, 2), FEATURES))),
        X,
        {},
        "OwnSolver with _ode_solver",
    ),
    "a patched layer": (lambda: _patched(Sequence(CfC(FEATURES, 6))), X, {}, "is a CfC with forward of its own"),
    "twice": (Twice, X, {}, r'The layer layer runs 2 times in forward, .* state="zeros"'),
    "twice, step": (Twice, X, {"state": "zeros", "step": True}, "The layer layer starts anew in every call"),
    "step, mixing": (
        lambda: Mean(CfC(FEATURES, 6)),
        X,
        {"step": True},
        "Mean.forward mixes steps outside of its layers",
    ),
    "step, both ways": (
        lambda: make("our bidirectional layer"),
        X,
        {"step": True},
        "The layer layer reads the sequence from its end",
    ),
    "branches": (
        lambda: Branches(CfC(FEATURES, 6)),
        X,
        {},
        r"Branches.forward does one thing or another .*test_module_refused.py, line \d+",
    ),
    "own loop": (
        lambda: OwnLoop(LTCCell(AutoNCP(6, 2), FEATURES)),
        X,
        {},
        rf"The layer cell is a cell in a loop .*\(unroll={TIME}\)",
    ),
    "fixed length": (lambda: Fixed(CfC(FEATURES, 6)), X, {}, "Fixed.forward fails with batch 2 and time"),
    "noise": (lambda: Noisy(CfC(FEATURES, 6)), X, {}, "The file disagrees with torch: outputs differ by"),
    "time spans of 0": (
        lambda: make("ltc, time spans"),
        spans_of_0(),
        {},
        "The layer layer is given time spans of 0 or less",
    ),
    "assigned weights": (
        lambda: Sequence(assigned()),
        X,
        {},
        "The layer layer computes with other parameters than it shows",
    ),
    "double": (lambda: Sequence(CfC(FEATURES, 6)).double(), X, {}, "The layer layer is not in float32"),
    "double inputs": (_small, {"x": X["x"].double()}, {}, "The example's x is torch.float64"),
    "no layer": (lambda: nn.Linear(FEATURES, 2), {"input": X["x"]}, {}, "Linear has no layer of ncps"),
    "another name": (_small, {"xs": X["x"]}, {}, "no parameter of Sequence.forward named 'xs'"),
    "too little": (lambda: Stateful(CfC(FEATURES, 6)), X, {}, "Stateful.forward takes hx, which the example lacks"),
    "another shape": (_small, {"x": torch.randn(2, TIME, 3)}, {}, "Sequence.forward fails with this"),
    "both forms": (_small, X, {"step": True, "unroll": 3}, "not both"),
    "no steps": (_small, X, {"unroll": 0}, "from 1, not 0"),
    "no time": (
        lambda: make("ltc cell"),
        CONFIGURATIONS["ltc cell"].inputs(2, 1),
        {"unroll": 3},
        "has no axis of time",
    ),
    "opset": (_small, X, {"opset": 9}, "Operator set 9 is too old"),
    "a fixed length": (
        lambda: Beside(nn.GRU(FEATURES, FEATURES, batch_first=True)),
        X,
        {},
        "The file fails with batch 1 and time 9, which the module takes: torch.export fixed a length",
    ),
    "axes of other names": (
        _small,
        X,
        {"dynamic": {"x": {0: "n", 1: "time"}}},
        "dynamic calls an axis of x 'n'; an axis is 'batch' or 'time'",
    ),
    "no such axis": (_small, X, {"dynamic": {"x": {3: "time"}}}, "dynamic names axis 3 of x, whose axes are 0 to 2"),
}


def _patched(module):
    layer = module.layer
    layer.forward = lambda *arguments: CfC.forward(layer, *arguments)
    return module


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exact_is_refused_with_the_reason_and_not_written(name, tmp_path):
    module, example, options, sentence = REFUSED[name]
    with pytest.raises(LiquidLensError, match=sentence):
        export_onnx(module(), example, tmp_path / "model.onnx", **options)
    assert list(tmp_path.iterdir()) == []
