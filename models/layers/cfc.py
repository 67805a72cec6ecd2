"""The closed-form continuous-time cell (Hasani et al., Nature Machine Intelligence 2022), from ncps."""

import copy
from typing import Any, NamedTuple

import ncps.torch
import torch
from ncps.torch.cfc_cell import LeCun
from ncps.wirings import Wiring
from torch import Tensor, nn

from liquidlens.models.layers.calls import in_float32
from liquidlens.models.layers.folded import Carry, FoldedLayer


class CfC(ncps.torch.CfC):
    """``ncps.torch.CfC`` by a wiring, with the interface of :class:`models.layers.liquid.LTC`.

    ncps returns the whole last layer of neurons; of a fully connected wiring that is every neuron.  Here, as in an LTC,
    the output is that of the motor neurons, which come first.
    """

    def __init__(self, input_size: int, wiring: Wiring):
        super().__init__(input_size, wiring)

    @in_float32
    def forward(self, input, hx=None, timespans=None) -> tuple[Tensor, Tensor]:  # noqa: A002 the name that ncps gives
        outputs, state = super().forward(input, hx, timespans)
        return outputs[..., : self.output_size], state


class FoldedCfC(FoldedLayer):
    """A CfC, CfCCell or WiredCfCCell for inference, in any of ncps's modes.

    The layers of a wiring (inter, command, motor neurons) follow each other within a time step; without one there is
    one.  Each computes, of what the layer before says and of its own state, perhaps through a backbone, the maps ff1,
    ff2, a and b, and with them and the time span dt

        f = tanh(ff1), g = tanh(ff2), t = sigmoid(a * dt + b);   h <- f + t * (g - f), or f + t * g   ("no_gate")
        h <- A - A * exp(-dt * (abs(w_tau) + abs(ff1))) * ff1                                         ("pure")

    All maps are one matrix product.  Since tanh(x) = 2 * sigmoid(2 * x) - 1, they go through one sigmoid, and what is
    carried from step to step is (h + 1) / 2; "pure" carries h.
    """

    def __init__(self, layer: Any, span: float | None = 1.0):
        cell = getattr(layer, "rnn_cell", layer)
        wired = isinstance(cell, ncps.torch.WiredCfCCell)
        cells = [cell.get_submodule(f"layer_{i}") for i in range(cell.num_layers)] if wired else [cell]
        mode = cells[0].mode
        super().__init__(layer, span, *((1.0, 0.0) if mode == "pure" else (2.0, -1.0)))
        self.mode, self.sizes = mode, [one.hidden_size for one in cells]
        self.outputs = self.output_size if isinstance(layer, CfC) else self.sizes[-1]
        self.fc = copy.deepcopy(getattr(layer, "fc", nn.Identity()))
        self.activations = nn.ModuleList(nn.ModuleList(_activations(one)) for one in cells)
        for i, one in enumerate(cells):
            self._hold(one, i, ("" if self.is_cell else "rnn_cell.") + (f"layer_{i}." if wired else ""))

    @torch.no_grad()
    def _hold(self, cell: ncps.torch.CfCCell, i: int, prefix: str) -> None:
        """Register the tables of cell `i`, whose tensors stand at `prefix` in the replaced layer, as buffers."""
        first, *others = _maps(cell, self.span)
        from_inputs, from_state = first.weight.T.split([cell.input_size, cell.hidden_size])
        # The first cell reads inputs, with mixed memory the LSTM's output, alone the state itself: not what is carried.
        coded_inputs, coded_state = i > 0, self.memory is None and not self.is_cell
        bias = first.bias + self.shift * (from_inputs.sum(0) * coded_inputs + from_state.sum(0) * coded_state)
        tables = {
            f"input_{i}": (first, "weight", from_inputs * (self.scale if coded_inputs else 1.0)),
            f"state_{i}": (first, "weight", from_state * (self.scale if coded_state else 1.0)),
            f"bias_{i}": (first, "bias", bias),
        }
        for k, one in enumerate(others, start=1):
            tables[f"weight_{i}_{k}"] = one, "weight", one.weight.T
            tables[f"bias_{i}_{k}"] = one, "bias", one.bias
        for name, (one, part, table) in tables.items():
            self.register_buffer(name, table.contiguous().clone())
            sources = [f"{linear}.{part}" for linear in one.linears]
            if one.masked and part == "weight":
                sources.append("sparsity_mask")
            self.folding[name] = tuple(prefix + source for source in sources), one.how
        if self.mode == "pure":
            decay = cell.w_tau.abs()
            decay = decay if self.span is None else cell.A * torch.exp(-self.span * decay)
            for name, table, parts in (("level", cell.A, ("A",)), ("decay", decay, ("w_tau", "A"))):
                self.register_buffer(f"{name}_{i}", table.clone())
                self.folding[f"{name}_{i}"] = tuple(prefix + part for part in parts), "A, and how fast it is reached"

    def drive(self, steps: Tensor, spans: Tensor | None) -> Carry:
        drive = torch.matmul(steps, self.get_buffer("input_0")) + self.get_buffer("bias_0")
        return (drive,) if spans is None else (drive, spans)

    def drive_of_one(self, step: Tensor, span: Tensor | None) -> Carry:
        return self.drive(step, span)  # without the axis of time it is one product, with the bias in it

    def step(self, state: Tensor, drive: Tensor, span: Tensor | None = None) -> Tensor:
        states = list(state.split(self.sizes, dim=1))
        for i, before in enumerate(states):
            if i:
                drive = torch.addmm(self.get_buffer(f"bias_{i}"), states[i - 1], self.get_buffer(f"input_{i}"))
            maps = torch.addmm(drive, before, self.get_buffer(f"state_{i}"))
            activations: Any = self.activations[i]
            for k, activation in enumerate(activations, start=1):
                weight, bias = self.get_buffer(f"weight_{i}_{k}"), self.get_buffer(f"bias_{i}_{k}")
                maps = torch.addmm(bias, activation(maps), weight)
            states[i] = self._pure(maps, i, span) if self.mode == "pure" else self._gated(maps, span)
        return torch.cat(states, 1) if len(states) > 1 else states[0]

    def _pure(self, ff1: Tensor, i: int, span: Any) -> Tensor:
        level, decay = self.get_buffer(f"level_{i}"), self.get_buffer(f"decay_{i}")
        if self.span is not None:
            return level - decay * (torch.exp(-self.span * ff1.abs()) * ff1)
        return level - level * (torch.exp(-span * (decay + ff1.abs())) * ff1)

    def _gated(self, maps: Tensor, span: Tensor | None) -> Tensor:
        """(h + 1) / 2, where f = 2 * first - 1 and g = 2 * second - 1."""
        if span is None:
            first, second, time = torch.sigmoid(maps).chunk(3, dim=-1)
        else:
            both, a, b = maps.split([maps.shape[-1] // 2, maps.shape[-1] // 4, maps.shape[-1] // 4], dim=-1)
            first, second = torch.sigmoid(both).chunk(2, dim=-1)
            time = torch.sigmoid(a * span + b)
        return first + time * (second - (0.5 if self.mode == "no_gate" else first))

    def read(self, states: Tensor) -> Tensor:
        last = states[..., states.shape[-1] - self.sizes[-1] :]
        return self.fc(last[..., : self.outputs])

    def numbered(self, states: Tensor) -> Tensor:
        # ncps puts the layers one after the other; the wiring numbers the last one, the motor neurons, first.
        return torch.cat(states.split(self.sizes, dim=-1)[::-1], -1)


class _Map(NamedTuple):
    """A linear map of a CfCCell: one of its backbone, or all that follow it, as one."""

    weight: Tensor  # (outputs, inputs)
    bias: Tensor
    linears: tuple[str, ...]
    masked: bool
    how: str


def _maps(cell: ncps.torch.CfCCell, span: float | None) -> list[_Map]:
    """The maps of a cell in their order.  LeCun's activation, 1.7159 * tanh(0.666 * x), leaves its factors to them."""
    backbone = {name: module for name, module in cell.named_modules() if name.startswith("backbone.")}
    linears = {name: module for name, module in backbone.items() if isinstance(module, nn.Linear)}
    maps = [_Map(one.weight, one.bias, (name,), False, "as trained") for name, one in linears.items()]
    maps.append(_heads(cell, span))
    if any(isinstance(module, LeCun) for module in backbone.values()):
        before, after = 0.666, 1.7159
        for k in range(len(maps) - 1):
            how = "with the factors of LeCun's activation"
            maps[k] = maps[k]._replace(weight=before * maps[k].weight, bias=before * maps[k].bias, how=how)
            maps[k + 1] = maps[k + 1]._replace(weight=after * maps[k + 1].weight)
    return maps


def _heads(cell: ncps.torch.CfCCell, span: float | None) -> _Map:
    """ff1, or side by side ff1 and ff2, both doubled, and a * span + b or, for given spans, a and b."""
    masked = cell.sparsity_mask is not None
    mask = cell.sparsity_mask if masked else 1.0
    if cell.mode == "pure":
        return _Map(cell.ff1.weight * mask, cell.ff1.bias, ("ff1",), masked, "as trained")
    a, b = cell.time_a, cell.time_b
    times = [(a.weight, a.bias), (b.weight, b.bias)]
    if span is not None:
        times = [(a.weight * span + b.weight, a.bias * span + b.bias)]
    both = [(2 * ff.weight * mask, 2 * ff.bias) for ff in (cell.ff1, cell.ff2)]
    weight, bias = (torch.cat(tables) for tables in zip(*both, *times, strict=True))
    time = "time_a and time_b" if span is None else "time_a * dt + time_b"
    how = f"ff1 and ff2, doubled, and {time} side by side{'; masked' * masked}"
    return _Map(weight, bias, ("ff1", "ff2", "time_a", "time_b"), masked, how)


def _activations(cell: ncps.torch.CfCCell) -> list[nn.Module]:
    modules = [] if cell.backbone is None else list(cell.backbone)
    kept = [module for module in modules if not isinstance(module, nn.Linear | nn.Dropout)]
    return [nn.Tanh() if isinstance(module, LeCun) else copy.deepcopy(module) for module in kept]
