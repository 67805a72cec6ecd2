"""Layers of ncps for inference: tables folded once, the loop over time as one ``scan``.

Every layer that is exported becomes one of these, whether it stands in a model of the zoo or in anyone's module.  What
does not depend on the state (the *drive*) is computed for all time steps before the loop, and the outputs are read from
all states after it, so that the loop holds only what must be in it.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from ncps.torch.lstm import LSTMCell
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from liquidlens.models.layers.calls import Call, in_order

#: The state, and with mixed memory the LSTM's cell.
Carry = tuple[Tensor, ...]
#: Buffer -> the tensors of the replaced layer that were folded into it, and how.
Folding = dict[str, tuple[tuple[str, ...], str]]


#: What users of ncps ask its layers for.
ASKED = (
    "state_size", "sensory_size", "motor_size", "output_size", "input_size", "hidden_size",
    "batch_first", "return_sequences", "use_mixed",
)  # fmt: skip


def show_as(module: nn.Module, layer: nn.Module) -> None:
    """Let a module answer what users ask the `layer` that it stands for; a CfCCell calls its state hidden."""
    for name in ASKED:
        if hasattr(layer, name):
            setattr(module, name, getattr(layer, name))
    if not hasattr(layer, "state_size") and hasattr(layer, "hidden_size"):
        module.state_size = layer.hidden_size


class FoldedLayer(nn.Module):
    """Called like the layer, or the cell, of ncps that it replaces, with the same results.

    span: seconds between all steps; None: the calls give them, one for each sample and step.
    scale, shift: the loop carries ``(state - shift) / scale``; a cell, which has no loop, reads the state itself.
    """

    #: Buffers that say which synapses exist; the others are weights.
    STRUCTURE: ClassVar[frozenset[str]] = frozenset()
    state_size: int
    output_size: int
    motor_size: int

    def __init__(self, layer: Any, span: float | None = 1.0, scale: float = 1.0, shift: float = 0.0):
        super().__init__()
        self.scale, self.shift = scale, shift
        show_as(self, layer)
        self.is_cell, self.span = not hasattr(layer, "rnn_cell"), span
        self.folding: Folding = {}
        self.memory: FoldedMemory | None = None
        if getattr(layer, "use_mixed", False):
            self.memory = FoldedMemory(layer.lstm, scale, shift)
            self.folding |= {f"memory.{name}": folding for name, folding in self.memory.folding.items()}
        #: Is told the states (batch, time, neurons) of each sequence, neurons numbered as in the wiring.
        self.on_states: Callable[[Tensor], Any] | None = None

    def drive(self, steps: Tensor, spans: Tensor | None) -> Carry:
        """What does not depend on the state, of steps (time, batch, features) and spans (time, batch, 1): tensors
        (time, batch, any)."""
        raise NotImplementedError

    def drive_of_one(self, step: Tensor, span: Tensor | None) -> Carry:
        """`drive` of a single step (batch, features) and span (batch, 1): tensors (batch, any)."""
        return tuple(part[0] for part in self.drive(step[None], None if span is None else span[None]))

    def step(self, state: Tensor, *drive: Any) -> Tensor:
        """What is carried of a state (batch, neurons) after one time step, of what was carried before it; with mixed
        memory, of the LSTM's output."""
        raise NotImplementedError

    def read(self, states: Tensor) -> Tensor:
        """Outputs (..., any) of states (..., neurons)."""
        raise NotImplementedError

    def numbered(self, states: Tensor) -> Tensor:
        """States (..., neurons) in the order in which the wiring numbers neurons, which is not always ncps's."""
        return states

    def forward(self, *args, **named):
        """As the replaced layer's: see `models.layers.liquid.LTC`; or as the replaced cell's, for one step."""
        input, hx, timespans = in_order(args, named)  # noqa: A001 (the name in ncps)
        if self.is_cell:
            return self.advance(input, hx, timespans)
        call = Call.of(self, input, self.memory is not None)
        carry, states = self.run(call.steps, call.state(hx), call.spans(timespans))
        states = call.by_input(states)
        if self.on_states is not None:
            self.on_states(self.numbered(states))
        return self.read(states) if self.return_sequences else call.last(self.read(carry[0])), call.final(carry)

    def advance(self, x, state, timespans=None) -> tuple[Tensor, Tensor]:
        """One time step: inputs (batch, features), state (batch, neurons), time spans (batch,), (batch, 1), one for
        all, or a number that is `span`; returns the outputs and the next state."""
        span = None if self.span is not None else torch.as_tensor(timespans).reshape(-1, 1).expand(x.shape[0], 1)
        (state,), _ = self._once((self._coded(state),), x, span)
        state = self._decoded(state)
        return self.read(state), state

    def run(self, steps: Tensor, states: Carry, spans: Tensor | None) -> tuple[Carry, Tensor]:
        """Steps (time, batch, features) from initial states (batch, neurons): the final ones, and the first of them
        after every step, (time, batch, neurons)."""
        if (self.span is None) != (spans is not None):
            raise RuntimeError("a layer is folded either with time spans or without")
        state, *memory = states
        carry = (self._coded(state), *memory)
        if steps.shape[0] == 1:
            carry, state = self._once(carry, steps[0], None if spans is None else spans[0])
            carried = state[None]
        else:
            drive = self.drive(steps, spans)
            if self.memory is not None:
                drive = (*drive, self.memory.drive(steps))
            if torch.compiler.is_compiling():
                carry, carried = scan(self._step, carry, drive)
            else:  # outside of an export `scan` would compile the step anew in each call
                seen = []
                for parts in zip(*(part.unbind() for part in drive), strict=True):
                    carry, state = self._step(carry, parts)
                    seen.append(state)
                carried = torch.stack(seen)
        state, *memory = carry
        return (self._decoded(state), *memory), self._decoded(carried)

    def _once(self, carry: Carry, step: Tensor, span: Tensor | None) -> tuple[Carry, Tensor]:
        """A single step (batch, features), span (batch, 1), without the operations that a sequence of them takes."""
        drive = self.drive_of_one(step, span)
        return self._step(carry, drive if self.memory is None else (*drive, self.memory.drive(step)))

    def _step(self, carry: Carry, drive: Carry) -> tuple[Carry, Tensor]:
        if self.memory is None:
            state = self.step(carry[0], *drive)
            return (state,), state.clone()  # scan refuses a carry that is also its output
        state, cell = carry
        output, cell = self.memory.step(state, cell, drive[-1])
        state = self.step(output, *drive[:-1])
        return (state, cell), state.clone()

    def _coded(self, state: Tensor) -> Tensor:
        return (state - self.shift) / self.scale if self.scale != 1 and not self.is_cell else state

    def _decoded(self, carried: Tensor) -> Tensor:
        return carried * self.scale + self.shift if self.scale != 1 else carried


class FoldedMemory(nn.Module):
    """The LSTM of a layer with mixed memory.

    All four gates come out of one matrix product of the state and go through one sigmoid: tanh(x) is
    2 * sigmoid(2 * x) - 1.  scale, shift: of what is carried of the state.
    """

    def __init__(self, lstm: LSTMCell, scale: float, shift: float):
        super().__init__()
        units = lstm.hidden_size
        gates = torch.tensor([2.0, 1.0, 1.0, 1.0]).repeat_interleave(units)
        with torch.no_grad():
            recurrent = lstm.recurrent_map.weight.T * gates
            bias = lstm.input_map.bias * gates + shift * recurrent.sum(0)
            bias[2 * units : 3 * units] += 1  # ncps adds it to the forget gate
            self.register_buffer("input", (lstm.input_map.weight.T * gates).contiguous())
            self.register_buffer("state", (scale * recurrent).contiguous())
            self.register_buffer("bias", bias)
        how = "input, input gate, forget gate and output gate side by side, the first doubled"
        self.folding: Folding = {
            "input": (("lstm.input_map.weight",), how),
            "state": (("lstm.recurrent_map.weight",), how),
            "bias": (("lstm.input_map.bias", "lstm.recurrent_map.weight"), f"{how}; 1 added to the third"),
        }

    def drive(self, steps: Tensor) -> Tensor:
        return torch.matmul(steps, self.get_buffer("input")) + self.get_buffer("bias")

    def step(self, state: Tensor, cell: Tensor, drive: Tensor) -> Carry:
        """Output and cell (batch, units) after one step."""
        gates = torch.sigmoid(torch.addmm(drive, state, self.get_buffer("state")))
        new, write, keep, show = gates.chunk(4, dim=-1)
        cell = cell * keep + (2 * new - 1) * write
        return torch.tanh(cell) * show, cell
