"""The closed-form continuous-time cell (Hasani et al., Nature Machine Intelligence 2022), from ncps."""

import ncps.torch
import torch
from ncps.wirings import Wiring
from torch import Tensor

from liquidlens.models.layers.liquid import FoldedLayer


class CfC(ncps.torch.CfC):
    """``ncps.torch.CfC`` by a wiring, with the interface of :class:`models.layers.liquid.LTC`.

    ncps returns the whole last layer of neurons; of a fully connected wiring that is every neuron.  Here, as in an LTC,
    the output is that of the motor neurons, which come first.
    """

    def __init__(self, input_size: int, wiring: Wiring):
        super().__init__(input_size, wiring)

    def forward(self, input, hx=None, timespans=None) -> tuple[Tensor, Tensor]:  # noqa: A002 the name that ncps gives
        outputs, state = super().forward(input, hx, timespans)
        return outputs[..., : self.output_size], state


class FoldedCfC(FoldedLayer):
    """A :class:`CfC` for inference.

    The layers of a wiring (inter, command, motor neurons) follow each other within a time step.  Each computes

        h <- f + t * (g - f),  f = tanh(ff1(x, h)),  g = tanh(ff2(x, h)),  t = sigmoid(time_a(x, h) + time_b(x, h))

    where x is what the layer before says: three maps, written as one matrix product of x and one of h.
    """

    def __init__(self, layer: CfC):
        super().__init__()
        cells = [getattr(layer.rnn_cell, f"layer_{i}") for i in range(layer.rnn_cell.num_layers)]
        self.sizes = [cell.hidden_size for cell in cells]
        self.motor_size, self.units = layer.output_size, layer.state_size
        self.folding = {}
        for i, cell in enumerate(cells):
            with torch.no_grad():
                tables = _fold(cell)
            for name, table in zip(("input", "state", "bias"), tables, strict=True):
                self.register_buffer(f"{name}_{i}", table.clone())
                part = "bias" if name == "bias" else "weight"
                sources = [f"layer_{i}.{linear}.{part}" for linear in ("ff1", "ff2", "time_a", "time_b")]
                sources += [] if name == "bias" else [f"layer_{i}.sparsity_mask"]
                self.folding[f"{name}_{i}"] = tuple(sources), "ff1, ff2 and time_a + time_b side by side; masked"

    def drive(self, x: Tensor) -> Tensor:
        return torch.matmul(x.transpose(0, 1), self.get_buffer("input_0")) + self.get_buffer("bias_0")

    def step(self, state: Tensor, drive: Tensor) -> Tensor:
        states = list(self._by_layer(state))
        for i, before in enumerate(states):
            if i:
                drive = torch.addmm(self.get_buffer(f"bias_{i}"), states[i - 1], self.get_buffer(f"input_{i}"))
            first, second, time = torch.addmm(drive, before, self.get_buffer(f"state_{i}")).chunk(3, dim=-1)
            first, second = torch.tanh(first), torch.tanh(second)
            states[i] = first + torch.sigmoid(time) * (second - first)
        return torch.cat(states[::-1], 1)

    def read(self, states: Tensor) -> Tensor:
        return states[..., : self.motor_size]

    def _by_layer(self, state: Tensor) -> tuple[Tensor, ...]:
        """The state of each layer of neurons; the wiring numbers the last layer, the motor neurons, first."""
        return state.split(self.sizes[::-1], dim=1)[::-1]


def _fold(cell: ncps.torch.CfCCell) -> tuple[Tensor, Tensor, Tensor]:
    """(inputs, 3 * hidden), (hidden, 3 * hidden) and (3 * hidden,) of a cell that takes steps of one second."""
    mask = cell.sparsity_mask
    weight = torch.cat(
        [cell.ff1.weight * mask, cell.ff2.weight * mask, cell.time_a.weight + cell.time_b.weight]
    ).T.contiguous()
    bias = torch.cat([cell.ff1.bias, cell.ff2.bias, cell.time_a.bias + cell.time_b.bias])
    return weight[: -cell.hidden_size], weight[-cell.hidden_size :], bias
