"""LTC layers and cells for inference."""

from collections.abc import Mapping
from typing import Any

import torch
from ncps.torch import LTCCell
from torch import Tensor

from liquidlens.models.layers.folded import Carry, FoldedLayer
from liquidlens.models.layers.liquid import Folded, fold, read_wires
from liquidlens.models.layers.synapses import plain_sums

#: A capacity cm / dt below this, 0 with explicit constraints as a rule, is no unit to store other numbers in.
LEAST_CAPACITY = 1e-6

#: From so many synapses a neuron on, layers use products by element of all pairs of neurons instead of matrix products:
#: they are as fast or faster there, for one sample and for 32, and files are a tenth as large or less.
DENSE = 32
#: From fewer on, too, where the matrix that brings states to synapses has so many numbers that it leaves the caches:
#: one sample then takes a fifth to a half of the time, and 32 take up to 2.6 times as long.
MANY, LARGE = 12, 3 * 2**16

#: Table -> the parameters of an LTCCell that are folded into it, and how.
TABLES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "sensory_source": (("sensory_sparsity_mask",), "the inputs that each neuron reads"),
    "sensory_gain": (("sensory_sigma", "input_w"), "sigma * input_w, by sensory synapse"),
    "sensory_offset": (("sensory_sigma", "sensory_mu", "input_b"), "sigma * (input_b - mu), by sensory synapse"),
    "sensory_weight": (
        ("sensory_w", "sensory_erev", "sensory_sparsity_mask", "cm"),
        "w * erev and w, by sensory synapse, in units of the capacity; w and cm made positive",
    ),
    "row_of_unit": (("sensory_sparsity_mask",), "which neurons read inputs"),
    "gain": (("sigma", "sparsity_mask"), "sigma, from neuron to synapse"),
    "offset": (("sigma", "mu", "sparsity_mask"), "-sigma * mu, by synapse"),
    "weight": (
        ("w", "erev", "sparsity_mask", "cm"),
        "w * erev and w, from synapse to neuron, in units of the capacity; w and cm made positive",
    ),
    "leak": (
        ("gleak", "vleak", "cm"),
        "gleak * vleak, and gleak + epsilon + capacity, by neuron, in units of the capacity",
    ),
    "capacity": (("cm",), "1, and by neuron what is too small to be a unit"),
    "output_gain": (("output_w",), "as trained"),
    "output_offset": (("output_b",), "as trained"),
}
#: The same of the tables of all pairs of neurons.
OF_PAIRS = {
    "gain": "sigma, by pair of neurons, 0 without a synapse",
    "offset": "-sigma * mu, by pair of neurons",
    "weight": "w * erev and w, by pair of neurons, in units of the capacity; w and cm made positive",
}


def by_pairs(synapses: int, units: int) -> bool:
    """Whether the tables of so many recurrent synapses are those of all pairs of units."""
    return synapses >= DENSE * units or (synapses >= MANY * units and synapses * units >= LARGE)


class FoldedLTC(FoldedLayer):
    """An LTC, or an LTCCell, for inference.

    Numerators and conductances are stored in units of the capacity cm / dt of their neuron (cm times the number of ODE
    unfolds, for a time span of 1), which saves one operation in each unfold where the time spans are all the same.
    """

    STRUCTURE = frozenset({"sensory_source", "row_of_unit"})

    def __init__(self, layer: Any, span: float | None = 1.0):
        super().__init__(layer, span)
        cell: LTCCell = layer if self.is_cell else layer.rnn_cell
        wires = read_wires(cell.sparsity_mask.detach(), cell.sensory_sparsity_mask.detach())
        pairs = by_pairs(len(wires.source), self.state_size)
        self._hold(fold(cell, wires, pairs), cell, ("",) if self.is_cell else ("rnn_cell.",))

    def _hold(self, folded: Folded, cell: LTCCell, prefixes: tuple[str, ...]) -> None:
        """Register the tables as buffers, all that is added up for a unit in units of its capacity.

        cell: one of those whose tensors, at the `prefixes` in the replaced layer, were folded.
        """
        self.unfolds = cell._ode_unfolds
        self.of_pairs = folded.weight.dim() == 3
        capacity = folded.capacity / (self.span or 1.0)
        unit = torch.where(capacity > LEAST_CAPACITY, capacity, 1.0)
        capacity = capacity / unit
        zeros = torch.zeros_like(capacity)
        target = torch.argsort(folded.row_of_unit, stable=True)[: len(folded.sensory_weight)]
        source = folded.sensory_source
        replaced = folded._replace(
            sensory_source=None if source is None else source.int(),  # half the bytes in the file
            sensory_weight=folded.sensory_weight / unit[target, None, None],
            weight=folded.weight / (unit if self.of_pairs else unit.repeat(2)),
            leak=folded.leak / unit.repeat(2) + torch.cat([zeros, zeros if self.span is None else capacity]),
            capacity=capacity,
        )
        needed = {
            "capacity": not bool((capacity == 1).all()),
            "output_gain": hasattr(cell, "output_w"),
            "output_offset": hasattr(cell, "output_b"),
        }
        for name, table in replaced._asdict().items():
            held = table is not None and needed.get(name, True)
            self.register_buffer(name, table.detach().clone() if held else None)
            parts, how = TABLES[name]
            sources = tuple(prefix + part for prefix in prefixes for part in parts if hasattr(cell, part))
            self.folding[name] = sources, OF_PAIRS.get(name, how) if self.of_pairs else how

    @property
    def tables(self) -> Folded:
        """The buffers; those that change nothing are None."""
        return Folded(**{name: getattr(self, name) for name in Folded._fields})

    def drive(self, steps: Tensor, spans: Tensor | None) -> Carry:
        tables = self.tables
        rows = steps.flatten(0, 1).t()  # ONNX Runtime gathers fast along the first axis only
        sums = plain_sums(
            rows, tables.sensory_source, tables.sensory_gain, tables.sensory_offset, tables.sensory_weight
        )
        no_synapse = tables.leak.new_zeros(1, *sums.shape[1:])
        by_unit = torch.cat([sums, no_synapse]).index_select(0, tables.row_of_unit)
        # Two transposes: ONNX Runtime is slow at reversing three axes in one.
        drive = by_unit.transpose(0, 1).flatten(0, 1).t().unflatten(0, steps.shape[:2]) + tables.leak
        if spans is None:
            return (drive,)
        capacity = 1 / spans if tables.capacity is None else tables.capacity / spans
        numerator, conductance = drive.chunk(2, dim=-1)
        return torch.cat([numerator, conductance + capacity], -1), capacity

    def step(self, state: Tensor, drive: Tensor, capacity: Tensor | None = None) -> Tensor:
        """As `models.layers.synapses.plain_steps`, in fewer operations: `drive` holds the capacity, too."""
        tables = self.tables
        capacity = tables.capacity if capacity is None else capacity
        for _ in range(self.unfolds):
            if self.of_pairs:
                synapses = torch.sigmoid(state.unsqueeze(2) * tables.gain + tables.offset)
                total = drive + (synapses.unsqueeze(1) * tables.weight).sum(2).flatten(1)
            else:
                synapses = torch.sigmoid(torch.addmm(tables.offset, state, tables.gain))
                total = torch.addmm(drive, synapses, tables.weight)
            numerator, denominator = total.chunk(2, dim=-1)
            state = (numerator + (state if capacity is None else capacity * state)) / denominator
        return state

    def read(self, states: Tensor) -> Tensor:
        outputs = states[..., : self.motor_size]
        tables = self.tables
        outputs = outputs if tables.output_gain is None else outputs * tables.output_gain
        return outputs if tables.output_offset is None else outputs + tables.output_offset
