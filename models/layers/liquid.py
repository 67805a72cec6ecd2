"""Liquid time-constant (LTC) layers, evaluated synapse by synapse.

The equations are those of ``ncps.torch.LTC`` (Hasani et al., "Liquid Time-constant Networks", AAAI 2021, solved by
the fused semi-implicit Euler method of its Algorithm 1).  One ODE unfold of length ``dt`` takes the state of unit i to

    v_i <- (cm_i/dt * v_i + gleak_i * vleak_i + sum_k w_k erev_k s_k) / (cm_i/dt + gleak_i + sum_k w_k s_k + epsilon)
    s_k  = sigmoid(sigma_k * (source_k - mu_k))

where k runs over the synapses that end at unit i, and a source is an input ("sensory") or another unit.  ncps evaluates
both sums over dense (source, unit) matrices times a 0/1 mask.  Here only the synapses that exist are computed:

* sensory synapses do not depend on the state, so they are evaluated for all time steps at once, before the loop;
* the input map and ``mu`` are folded into one gain and one offset per synapse;
* each ODE unfold is two small matrix products: units to synapses, and synapses to numerator and denominator.

:class:`LTC` folds its live parameters anew in every call and is differentiable; `models.layers.folded.FoldedLTC` holds
the folded tables as buffers and is what the exporter sees; a test holds the two together.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import ncps.torch
import torch
from ncps.torch import LTCCell
from torch import Tensor
from torch.nn import functional as F

from liquidlens.models.layers.calls import Call


class Wires(NamedTuple):
    """Which synapses exist, read off the two sparsity masks."""

    sensory_source: Tensor | None  # (targets, fan_in) input of each sensory synapse; None: every target sees all
    sensory_target: Tensor  # (targets,) the units that have sensory synapses
    sensory_exists: Tensor  # (targets, fan_in) 1 for a synapse, 0 for padding
    row_of_unit: Tensor  # (units,) row of `sensory_target`; one past the last row for a unit that sees no input
    source: Tensor  # (synapses,) unit where the recurrent synapse starts
    target: Tensor  # (synapses,) unit where it ends


class Folded(NamedTuple):
    """The numbers of one LTC after folding; all of them tensors, so that they can be buffers."""

    sensory_source: Tensor | None  # see Wires
    sensory_gain: Tensor  # (targets, fan_in, 1) sigma * input_w
    sensory_offset: Tensor  # (targets, fan_in, 1) sigma * (input_b - mu)
    sensory_weight: Tensor  # (targets, 2, fan_in) w * erev, and w
    row_of_unit: Tensor  # see Wires
    gain: Tensor  # (units, synapses) sigma, in the row of the unit where the synapse starts
    offset: Tensor  # (synapses,) -sigma * mu
    weight: Tensor  # (synapses, 2 * units) w * erev, and w, in the columns of the unit where the synapse ends
    leak: Tensor  # (2 * units,) gleak * vleak, and gleak + epsilon
    capacity: Tensor  # (units,) cm times the number of ODE unfolds: cm / dt for a time span of 1
    output_gain: Tensor  # (motor units,)
    output_offset: Tensor  # (motor units,)


def read_wires(mask: Tensor, sensory_mask: Tensor) -> Wires:
    """List the synapses of masks (units, units) and (features, units): one wherever a mask is not 0."""
    features, units = sensory_mask.shape
    sensory = sensory_mask != 0
    target = sensory.any(0).nonzero().flatten()
    fan_in = int(sensory.sum(0).max())
    exists, sensory_source = sensory.T[target], None
    if fan_in < features:
        # Sorting "is missing" brings each unit's sources to the front, in order; the widest unit needs no padding.
        sensory_source = torch.sort(~exists, dim=1, stable=True).indices[:, :fan_in]
        exists = exists.gather(1, sensory_source)
    row_of_unit = torch.full((units,), len(target), device=mask.device)
    row_of_unit[target] = torch.arange(len(target), device=mask.device)
    source, recurrent_target = mask.nonzero().T
    return Wires(sensory_source, target, exists.to(mask.dtype), row_of_unit, source, recurrent_target)


def fold(cell: LTCCell, wires: Wires) -> Folded:
    """Fold the registered parameters of an ncps cell into tables by synapse.  Differentiable.

    ncps itself reads a private dictionary of parameters, so that loading with ``assign=True``, ``functional_call`` and
    pruning have no effect there; the attributes read here are what such tools change.
    """
    positive = cell.make_positive_fn
    features, units = cell.sensory_mu.shape
    ones, zeros = cell.mu.new_ones, cell.mu.new_zeros
    input_w, input_b = getattr(cell, "input_w", ones(features)), getattr(cell, "input_b", zeros(features))

    sigma, w = cell.sensory_sigma, positive(cell.sensory_w) * cell.sensory_sparsity_mask
    offset = sigma * (input_b[:, None] - cell.sensory_mu)
    table = torch.stack([sigma * input_w[:, None], offset, w * cell.sensory_erev, w])  # (4, features, units)
    if wires.sensory_source is None:
        sensory = table.transpose(1, 2)[:, wires.sensory_target]
    else:
        sensory = table[:, wires.sensory_source, wires.sensory_target[:, None]]  # (4, targets, fan_in)

    w = positive(cell.w) * cell.sparsity_mask
    table = torch.stack([cell.sigma, -cell.sigma * cell.mu, w * cell.erev, w])[:, wires.source, wires.target]
    gain, offset, reversal_weight, weight = table  # (synapses,) each
    leaves, enters = F.one_hot(wires.source, units), F.one_hot(wires.target, units)

    gleak = positive(cell.gleak)
    return Folded(
        sensory_source=wires.sensory_source,
        sensory_gain=sensory[0, :, :, None],
        sensory_offset=sensory[1, :, :, None],
        sensory_weight=(sensory[2:] * wires.sensory_exists).transpose(0, 1),
        row_of_unit=wires.row_of_unit,
        gain=leaves.T * gain,
        offset=offset,
        weight=torch.cat([enters * reversal_weight[:, None], enters * weight[:, None]], 1),
        leak=torch.cat([gleak * cell.vleak, gleak + cell._epsilon]),
        capacity=positive(cell.cm) * cell._ode_unfolds,
        output_gain=getattr(cell, "output_w", ones(cell.motor_size)),
        output_offset=getattr(cell, "output_b", zeros(cell.motor_size)),
    )


def sensory_sums(rows: Tensor, source: Tensor | None, gain: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Sum the sensory synapses of each target unit.

    rows: (features, samples); the rest as in :class:`Folded`, for some or all targets.  Returns (targets, 2, samples).
    """
    if source is not None:
        rows = rows.index_select(0, source.flatten()).reshape(*source.shape, rows.shape[1])
    return weight @ torch.sigmoid(torch.addcmul(offset, gain, rows))


def drive_by_unit(sums: Iterable[Tensor], folded: Folded, layout: tuple[int, int]) -> Tensor:
    """Bring sums (targets, 2, time * batch), in one or several parts, to (time, batch, 2 * units), and add the leak."""
    no_synapse = folded.leak.new_zeros(1, 2, layout[0] * layout[1])
    by_unit = torch.cat([*sums, no_synapse]).index_select(0, folded.row_of_unit)
    # Two transposes: ONNX Runtime is slow at reversing three axes in one.
    return by_unit.transpose(0, 1).flatten(0, 1).t().unflatten(0, layout) + folded.leak


def drive_of(steps: Tensor, folded: Folded) -> Tensor:
    """Bring steps (time, batch, features) to what they and the leak add to each unit: (time, batch, 2 * units)."""
    rows = steps.permute(2, 0, 1).flatten(1)
    # One target at a time keeps the intermediate values in the cache: three times faster than all at once.
    gains, offsets, weights = (
        table.split(1) for table in (folded.sensory_gain, folded.sensory_offset, folded.sensory_weight)
    )
    sources = [None] * len(gains) if folded.sensory_source is None else folded.sensory_source.split(1)
    sums = map(partial(sensory_sums, rows), sources, gains, offsets, weights)
    return drive_by_unit(sums, folded, (steps.shape[0], steps.shape[1]))


def ode_unfolds(state: Tensor, drive: Tensor, capacity: Tensor, folded: Folded, unfolds: int) -> Tensor:
    """One time step: `unfolds` semi-implicit Euler steps.

    state: (batch, units); drive: (batch, 2 * units), what inputs and leak add to numerator and conductance;
    capacity: cm / dt, (units,) or (batch, units).
    """
    for _ in range(unfolds):
        synapses = torch.sigmoid(torch.addmm(folded.offset, state, folded.gain))
        numerator, conductance = torch.addmm(drive, synapses, folded.weight).chunk(2, dim=-1)
        # As an increment, and not as (capacity * state + numerator) / (capacity + conductance): the same value, but
        # the gradient of the capacity is then not the small difference of two large sums.
        state = state + (numerator - conductance * state) / (capacity + conductance)
    return state


class LTC(ncps.torch.LTC):
    """Drop-in ``ncps.torch.LTC``: same constructor, parameters, state dict and results; sparse wirings train about
    three times faster (``make bench``).

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

        folded = fold(self.rnn_cell, self.wires())
        drive = drive_of(call.steps, folded)
        capacity = folded.capacity.expand(len(drive), -1) if spans is None else folded.capacity / spans

        states = []
        for x, d, c in zip(call.steps.unbind(), drive.unbind(), capacity.unbind(), strict=True):
            if self.use_mixed:
                state, *memory = self.lstm(x, (state, *memory))
            state = ode_unfolds(state, d, c, folded, self.rnn_cell._ode_unfolds)
            states.append(state)

        shown = call.by_input(torch.stack(states)) if self.return_sequences else state
        output = shown[..., : self.motor_size] * folded.output_gain + folded.output_offset
        return output if self.return_sequences else call.last(output), call.final((state, *memory))


def _same(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)
