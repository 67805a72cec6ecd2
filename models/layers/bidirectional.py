"""Two liquid layers that pass a sequence in opposite directions, evaluated side by side in one loop.

Each keeps its own neurons and no synapse joins them, so the two are one layer of twice as many neurons whose tables are
block-diagonal, and the loop over time runs once instead of twice.  That loop is most of what a liquid layer costs:
its steps are many and small.
"""

import copy

import torch
from ncps.wirings import Wiring
from torch import Tensor, nn
from torch.nn import functional as F

from liquidlens.models.layers import synapses
from liquidlens.models.layers.calls import in_float32
from liquidlens.models.layers.folded import Carry, FoldedLayer
from liquidlens.models.layers.folded_ltc import FoldedLTC, by_pairs
from liquidlens.models.layers.liquid import LTC, Folded, Live, drive_of, fold, live
from liquidlens.models.layers.synapses import Synapses


class BidirectionalLTC(nn.Module):
    """An :class:`LTC` from start to end and another one from end to start, of the same wiring.

    Takes (batch, time, features) and returns the outputs (batch, time, 2 * motor neurons) and the states
    (batch, time, 2 * neurons), those of the layer that reads ahead first, all in the order of the sequence.
    """

    def __init__(self, input_size: int, wiring: Wiring):
        super().__init__()
        # A wiring of its own for each: building one twice adds synapses to it.
        self.ahead, self.back = (LTC(input_size, copy.deepcopy(wiring)) for _ in range(2))

    def folded(self) -> Folded:
        """The tables of both layers as those of one, for inference."""
        pairs = by_pairs(2 * len(self.ahead.wires().source), 2 * self.ahead.state_size)
        return side_by_side(*(fold(layer.rnn_cell, layer.wires(), pairs) for layer in (self.ahead, self.back)))

    @in_float32
    def forward(self, x: Tensor, timespans: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """timespans: (batch, time, 2), how far each step is from the one before it and from the one after it; 1 if not
        given."""
        if timespans is not None and timespans.shape != (*x.shape[:2], 2):
            raise ValueError(f"time spans of shape {tuple(timespans.shape)} do not fit {tuple(x.shape)}")
        units, unfolds = self.ahead.state_size, self.ahead.rnn_cell._ode_unfolds
        tables = one_layer(*(live(layer.rnn_cell, layer.wires()) for layer in (self.ahead, self.back)))
        ahead, back = drive_of(x.transpose(0, 1), tables).split(units)
        capacity = tables.capacity[None, :, None]
        if timespans is not None:  # in the order in which each layer reads
            spans = turned(timespans.transpose(0, 1), 1).repeat_interleave(units, 2)
            capacity = capacity / spans.transpose(1, 2)
        state = x.new_zeros(2 * units, x.shape[0])
        states = synapses.steps(state, torch.cat([ahead, back.flip(2)]), capacity, tables.recurrent, unfolds)
        in_order = turned(states.transpose(1, 2), units).transpose(0, 1)
        return read(in_order, tables, units, self.ahead.motor_size), in_order


class FoldedBidirectionalLTC(FoldedLTC):
    """A :class:`BidirectionalLTC` for inference."""

    def __init__(self, layer: BidirectionalLTC, span: float | None = 1.0):
        FoldedLayer.__init__(self, layer.ahead, span)
        self.units = self.state_size  # of each of the two
        self.state_size, self.output_size = 2 * self.units, 2 * self.output_size
        self._hold(layer.folded(), layer.ahead.rnn_cell, ("ahead.rnn_cell.", "back.rnn_cell."))

    def forward(self, x: Tensor, timespans: Tensor | None = None) -> tuple[Tensor, Tensor]:
        spans = None if timespans is None else timespans.transpose(0, 1)
        state = x.new_zeros(x.shape[0], self.state_size)
        _, states = self.run(x.transpose(0, 1), (state,), spans)
        in_order = turned(states, self.units).transpose(0, 1)
        if self.on_states is not None:
            self.on_states(in_order)
        return read(in_order, self.tables, self.units, self.output_size // 2), in_order

    def drive(self, steps: Tensor, spans: Tensor | None) -> Carry:
        if spans is not None:  # (time, batch, 2) to one for each unit
            spans = spans[..., None].expand(*spans.shape, self.units).flatten(-2)
        return tuple(turned(part, self.units) for part in super().drive(steps, spans))


def side_by_side(ahead: Folded, back: Folded) -> Folded:
    """The tables of two layers of one wiring as those of a layer with the units of the first, then of the second."""
    targets, units = len(ahead.sensory_gain), len(ahead.capacity)
    none = targets + len(back.sensory_gain)  # the row of units that see no input
    rows = torch.where(ahead.row_of_unit == targets, none, ahead.row_of_unit), back.row_of_unit + targets
    source = None
    if ahead.sensory_source is not None and back.sensory_source is not None:
        source = torch.cat([ahead.sensory_source, back.sensory_source])
    if ahead.weight.dim() == 3:  # by pairs of units
        offset = torch.block_diag(ahead.offset, back.offset)
        weight = torch.stack([torch.block_diag(*both) for both in zip(ahead.weight, back.weight, strict=True)])
    else:
        offset = torch.cat([ahead.offset, back.offset])
        weights = zip(ahead.weight.split(units, 1), back.weight.split(units, 1), strict=True)
        weight = torch.cat([torch.block_diag(*both) for both in weights], 1)
    leaks = zip(ahead.leak.split(units), back.leak.split(units), strict=True)
    return Folded(
        sensory_source=source,
        sensory_gain=torch.cat([ahead.sensory_gain, back.sensory_gain]),
        sensory_offset=torch.cat([ahead.sensory_offset, back.sensory_offset]),
        sensory_weight=torch.cat([ahead.sensory_weight, back.sensory_weight]),
        row_of_unit=torch.cat(rows),
        gain=torch.block_diag(ahead.gain, back.gain),
        offset=offset,
        weight=weight,
        leak=torch.cat([torch.cat(both) for both in leaks]),
        capacity=torch.cat([ahead.capacity, back.capacity]),
        output_gain=torch.cat([ahead.output_gain, back.output_gain]),
        output_offset=torch.cat([ahead.output_offset, back.output_offset]),
    )


def one_layer(ahead: Live, back: Live) -> Live:
    """As :func:`side_by_side`, in training."""
    units = len(ahead.capacity)
    leaks = zip(ahead.leak.split(units), back.leak.split(units), strict=True)
    return Live(
        sensory=joined(ahead.sensory, back.sensory),
        target=torch.cat([ahead.target, back.target + units]),
        recurrent=joined(ahead.recurrent, back.recurrent, units),
        leak=torch.cat([torch.cat(both) for both in leaks]),
        capacity=torch.cat([ahead.capacity, back.capacity]),
        output_gain=torch.cat([ahead.output_gain, back.output_gain]),
        output_offset=torch.cat([ahead.output_offset, back.output_offset]),
    )


def joined(ahead: Synapses, back: Synapses, units: int = 0) -> Synapses:
    """The synapses of two layers; units: how far behind the first one's are those of the second, where both are."""
    parts = []
    fan_in = max(ahead.gain.shape[1], back.gain.shape[1])
    for layer, first in ((ahead, 0), (back, units)):
        source, (targets, inputs, _) = layer.source, layer.gain.shape
        if source is None:
            source = torch.arange(inputs, device=layer.gain.device).expand(targets, -1)
        # All alike: as many synapses for each, and the first one's for all of its units.
        wider, longer = fan_in - inputs, max(0, units - targets) if layer is ahead else 0
        by_row = (0, 0, 0, wider, 0, longer)
        gain, offset = F.pad(layer.gain, by_row), F.pad(layer.offset, by_row)
        parts.append(
            (F.pad(source + first, by_row[2:]), gain, offset, F.pad(layer.weight, (0, wider, 0, 0, 0, longer)))
        )
    source, *tables = (torch.cat(both) for both in zip(*parts, strict=True))
    everything = ahead.source is None and back.source is None and not units
    return Synapses(None if everything else source, *tables)


def turned(sequence: Tensor, units: int) -> Tensor:
    """(time, batch, any * 2 * units) with the second of each two groups of units from end to start."""
    ahead, back = sequence.unflatten(-1, (-1, 2, units)).unbind(-2)
    return torch.stack([ahead, back.flip(0)], -2).flatten(-3)


def read(states: Tensor, tables: Folded | Live, units: int, motor: int) -> Tensor:
    """The motor neurons (..., 2 * motor) of states (..., 2 * units)."""
    motors = states.unflatten(-1, (2, units))[..., :motor].flatten(-2)
    return motors * tables.output_gain + tables.output_offset
