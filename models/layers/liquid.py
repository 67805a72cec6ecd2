"""Liquid time-constant (LTC) layers, evaluated synapse by synapse.

The equations are those of ``ncps.torch.LTC`` (Hasani et al., "Liquid Time-constant Networks", AAAI 2021, solved by
the fused semi-implicit Euler method of its Algorithm 1).  One ODE unfold of length ``dt`` takes the state of unit i to

    v_i <- (cm_i/dt * v_i + gleak_i * vleak_i + sum_k w_k erev_k s_k) / (cm_i/dt + gleak_i + sum_k w_k s_k + epsilon)
    s_k  = sigmoid(sigma_k * (source_k - mu_k))

where k runs over the synapses that end at unit i, and a source is an input ("sensory") or another unit.  ncps evaluates
both sums over dense (source, unit) matrices times a 0/1 mask.  Here only the synapses that exist are computed:

* sensory synapses do not depend on the state, so they are evaluated for all time steps at once, before the loop;
* the input map and ``mu`` are folded into one gain and one offset per synapse.

:class:`LTC` reads its live parameters anew in every call; `models.layers.synapses` evaluates them, with derivatives
worked out by hand.  `models.layers.folded_ltc.FoldedLTC` holds tables of :func:`fold` as buffers and is what the
exporter sees: each ODE unfold is two small matrix products there, or, where neurons have many synapses, products by
element of all pairs of neurons, with 0 for the synapses that do not exist.  A test holds the two together.
"""

from typing import NamedTuple

import ncps.torch
import torch
from ncps.torch import LTCCell
from torch import Tensor
from torch.nn import functional as F

from liquidlens.models.layers import synapses
from liquidlens.models.layers.calls import Call, in_float32
from liquidlens.models.layers.synapses import Synapses


class Ends(NamedTuple):
    """Where synapses start and end, by the unit where they end."""

    source: Tensor | None  # (targets, fan_in) see `models.layers.synapses.Synapses`
    target: Tensor  # (targets,) the units that have synapses, in order
    exists: Tensor  # (targets, fan_in) 1 for a synapse, 0 for padding


class Wires(NamedTuple):
    """Which synapses exist, read off the two sparsity masks."""

    sensory: Ends
    recurrent: Ends
    row_of_unit: Tensor  # (units,) row of `sensory.target`; one past the last row for a unit that sees no input
    source: Tensor  # (synapses,) unit where the recurrent synapse starts
    target: Tensor  # (synapses,) unit where it ends


class Live(NamedTuple):
    """The numbers of one LTC in training."""

    sensory: Synapses  # gains sigma * input_w, offsets sigma * (input_b - mu)
    target: Tensor  # (targets,) the units that have sensory synapses
    recurrent: Synapses  # gains sigma, offsets -sigma * mu
    leak: Tensor  # (2 * units,) gleak * vleak, and gleak + epsilon
    capacity: Tensor  # (units,) cm times the number of ODE unfolds: cm / dt for a time span of 1
    output_gain: Tensor  # (motor units,)
    output_offset: Tensor  # (motor units,)


class Folded(NamedTuple):
    """The numbers of one LTC after folding; all of them tensors, so that they can be buffers."""

    sensory_source: Tensor | None  # see Ends
    sensory_gain: Tensor  # (targets, fan_in, 1)
    sensory_offset: Tensor  # (targets, fan_in, 1)
    sensory_weight: Tensor  # (targets, 2, fan_in) w * erev, and w
    row_of_unit: Tensor  # see Wires
    # By pairs of units, from the first to the second: these are (units, units), (units, units) and (2, units, units).
    gain: Tensor  # (units, synapses) sigma, in the row of the unit where the synapse starts
    offset: Tensor  # (synapses,) -sigma * mu
    weight: Tensor  # (synapses, 2 * units) w * erev, and w, in the columns of the unit where the synapse ends
    leak: Tensor  # these four: see Live
    capacity: Tensor
    output_gain: Tensor
    output_offset: Tensor


def read_wires(mask: Tensor, sensory_mask: Tensor) -> Wires:
    """List the synapses of masks (units, units) and (features, units): one wherever a mask is not 0."""
    sensory, units = read_ends(sensory_mask), len(mask)
    row_of_unit = torch.full((units,), len(sensory.target), device=mask.device)
    row_of_unit[sensory.target] = torch.arange(len(sensory.target), device=mask.device)
    return Wires(sensory, read_ends(mask, gaps=True), row_of_unit, *mask.nonzero().T)


def read_ends(mask: Tensor, gaps: bool = False) -> Ends:
    """The synapses of a mask (sources, units); gaps: also of units without any, up to the last one that has some."""
    there = mask != 0
    target = there.any(0).nonzero().flatten()
    if gaps and len(target):
        target = torch.arange(int(target[-1]) + 1, device=mask.device)
    fan_in = int(there.sum(0).max())
    exists, source = there.T[target], None
    if fan_in < len(mask):
        # Sorting "is missing" brings each unit's sources to the front, in order; the widest unit needs no padding.
        source = torch.sort(~exists, dim=1, stable=True).indices[:, :fan_in]
        exists = exists.gather(1, source)
    return Ends(source, target, exists.to(mask.dtype))


def live(cell: LTCCell, wires: Wires) -> Live:
    """The registered parameters of an ncps cell by synapse.  Differentiable.

    ncps itself reads a private dictionary of parameters, so that loading with ``assign=True``, ``functional_call`` and
    pruning have no effect there; the attributes read here are what such tools change.
    """
    positive = cell.make_positive_fn
    ones, zeros = cell.mu.new_ones, cell.mu.new_zeros
    features = len(cell.sensory_mu)
    input_w, input_b = getattr(cell, "input_w", ones(features)), getattr(cell, "input_b", zeros(features))
    sigma, gleak = cell.sensory_sigma, positive(cell.gleak)
    sensory_w = positive(cell.sensory_w) * cell.sensory_sparsity_mask
    sensory_offset = sigma * (input_b[:, None] - cell.sensory_mu)
    w = positive(cell.w) * cell.sparsity_mask
    return Live(
        sensory=by_target(
            wires.sensory, sigma * input_w[:, None], sensory_offset, sensory_w * cell.sensory_erev, sensory_w
        ),
        target=wires.sensory.target,
        recurrent=by_target(wires.recurrent, cell.sigma, -cell.sigma * cell.mu, w * cell.erev, w),
        leak=torch.cat([gleak * cell.vleak, gleak + cell._epsilon]),
        capacity=positive(cell.cm) * cell._ode_unfolds,
        output_gain=getattr(cell, "output_w", ones(cell.motor_size)),
        output_offset=getattr(cell, "output_b", zeros(cell.motor_size)),
    )


def by_target(ends: Ends, *tables: Tensor) -> Synapses:
    """Gains, offsets, w * erev and w, (sources, units) each, by synapse."""
    table = torch.stack(tables)
    if ends.source is None:
        table = table.transpose(1, 2)[:, ends.target]
    else:
        table = table[:, ends.source, ends.target[:, None]]  # (4, targets, fan_in)
    gain, offset = table[:2, :, :, None]
    return Synapses(ends.source, gain, offset, (table[2:] * ends.exists).transpose(0, 1))


def fold(cell: LTCCell, wires: Wires, pairs: bool = False) -> Folded:
    """Fold the registered parameters of an ncps cell into tables for inference.

    pairs: the tables of recurrent synapses are those of all pairs of units, with 0 where there is no synapse.
    """
    tables, units = live(cell, wires), len(cell.mu)
    w = cell.make_positive_fn(cell.w) * cell.sparsity_mask
    table = torch.stack([cell.sigma, -cell.sigma * cell.mu, w * cell.erev, w])  # (4, units, units)
    if pairs:
        table = table * (cell.sparsity_mask != 0)
        gain, offset, weight = table[0], table[1], table[2:]
    else:
        gains, offset, reversal_weights, weights = table[:, wires.source, wires.target]  # (synapses,) each
        leaves, enters = F.one_hot(wires.source, units), F.one_hot(wires.target, units)
        gain = leaves.T * gains
        weight = torch.cat([enters * reversal_weights[:, None], enters * weights[:, None]], 1)
    return Folded(
        sensory_source=tables.sensory.source,
        sensory_gain=tables.sensory.gain,
        sensory_offset=tables.sensory.offset,
        sensory_weight=tables.sensory.weight,
        row_of_unit=wires.row_of_unit,
        gain=gain,
        offset=offset,
        weight=weight,
        leak=tables.leak,
        capacity=tables.capacity,
        output_gain=tables.output_gain,
        output_offset=tables.output_offset,
    )


def drive_of(steps: Tensor, tables: Live) -> Tensor:
    """Bring steps (time, batch, features) to what they and the leak add to each unit: (units, 2, time, batch)."""
    rows = steps.permute(2, 0, 1).flatten(1)
    leak = tables.leak.unflatten(0, (2, -1)).t()[:, :, None]
    drive = leak.expand(-1, -1, rows.shape[1]).index_add(0, tables.target, synapses.sums(rows, tables.sensory))
    return drive.unflatten(2, steps.shape[:2])


class LTC(ncps.torch.LTC):
    """Drop-in ``ncps.torch.LTC``: same constructor, parameters, state dict and results; sparse wirings train about
    five times faster (``make bench``).

    Differences, all of them repairs: the registered parameters are read (see :func:`fold`), and ``timespans`` of shape
    (batch, time) or (time, batch), with an optional last axis of 1, works for any batch size.
    """

    _wires: Wires | None = None
    _wires_of: tuple[Tensor, Tensor] | None = None

    def wires(self) -> Wires:
        """The synapse tables, rebuilt whenever a mask was changed: by loading, by pruning or in place."""
        masks = self.rnn_cell.sparsity_mask.detach(), self.rnn_cell.sensory_sparsity_mask.detach()
        if self._wires is None or self._wires_of is None or not all(map(_same, self._wires_of, masks)):
            self._wires_of = masks[0].clone(), masks[1].clone()
            self._wires = read_wires(*masks)
        return self._wires

    @in_float32
    def forward(self, input, hx=None, timespans=None):  # noqa: A002 (the name in ncps)
        """Run the layer over a sequence.

        input: (batch, time, features) if ``batch_first``, else (time, batch, features); or (time, features).
        hx: initial state (batch, units), with ``mixed_memory`` a pair of them; without a batch axis (units,).
        timespans: seconds between steps, shaped like `input` without its last axis; 1 if not given.

        Returns the outputs, (batch, time, motor units) or as the input is laid out, or the last one if
        ``return_sequences`` is False; and the final state, shaped like `hx`.
        """
        call = Call.of(self, input, self.use_mixed)
        state, *memory = call.state(hx)
        spans = call.spans(timespans)

        tables, unfolds = live(self.rnn_cell, self.wires()), self.rnn_cell._ode_unfolds
        drive = drive_of(call.steps, tables)
        capacity = tables.capacity[None, :, None] if spans is None else (tables.capacity / spans).transpose(1, 2)

        if self.use_mixed:
            seen = []
            parts = zip(call.steps, drive.split(1, 2), capacity.expand(len(call.steps), -1, -1).split(1), strict=True)
            for x, d, c in parts:
                state, *memory = self.lstm(x, (state, *memory))
                state = synapses.steps(state.t(), d, c, tables.recurrent, unfolds)[0].t()
                seen.append(state)
            states = torch.stack(seen)
        else:
            states = synapses.steps(state.t(), drive, capacity, tables.recurrent, unfolds).transpose(1, 2)

        shown = call.by_input(states) if self.return_sequences else states[-1]
        output = shown[..., : self.motor_size] * tables.output_gain + tables.output_offset
        return output if self.return_sequences else call.last(output), call.final((states[-1], *memory))


def _same(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)
