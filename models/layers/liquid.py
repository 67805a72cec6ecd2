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

:class:`LTC` folds its live parameters anew in every call and is differentiable; :class:`FoldedLTC` holds the folded
tables as buffers and is what the exporter sees; a test holds the two together.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import ClassVar, NamedTuple

import ncps.torch
import torch
from ncps.torch import LTCCell
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.nn import functional as F


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
    return by_unit.transpose(0, 1).flatten(0, 1).t().reshape(*layout, -1) + folded.leak


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
        batched = input.dim() == 3
        steps = input if batched else input[:, None]
        if batched and self.batch_first:
            steps = steps.transpose(0, 1)
        time, batch, _ = steps.shape
        state, memory = self._initial_state(hx, steps, batched)

        folded = fold(self.rnn_cell, self.wires())
        capacity = self._capacity(timespans, folded.capacity, (time, batch), batched)
        drive = drive_of(steps, folded)
        per_step = capacity if capacity.dim() == 3 else capacity.expand(time, -1)

        states = []
        for x, d, c in zip(steps.unbind(), drive.unbind(), per_step.unbind(), strict=True):
            if self.use_mixed:
                state, memory = self.lstm(x, (state, memory))
            state = ode_unfolds(state, d, c, folded, self.rnn_cell._ode_unfolds)
            states.append(state)

        shown = torch.stack(states) if self.return_sequences else state
        output = shown[..., : self.motor_size] * folded.output_gain + folded.output_offset
        if not batched:
            output, state = output.squeeze(-2), state[0]
            memory = None if memory is None else memory[0]
        elif self.return_sequences and self.batch_first:
            output = output.transpose(0, 1)
        return output, ((state, memory) if self.use_mixed else state)

    def _initial_state(self, hx, steps: Tensor, batched: bool) -> tuple[Tensor, Tensor | None]:
        if hx is None:
            zeros = steps.new_zeros(steps.shape[1], self.state_size)
            return zeros, (zeros if self.use_mixed else None)
        if self.use_mixed and isinstance(hx, Tensor):
            raise RuntimeError("mixed_memory=True needs a pair (h0, c0) as initial state, got one tensor")
        state, memory = hx if self.use_mixed else (hx, None)
        expected = (steps.shape[1], self.state_size) if batched else (self.state_size,)
        for tensor in (state, memory):
            if tensor is not None and tuple(tensor.shape) != expected:
                raise RuntimeError(f"the initial state has shape {tuple(tensor.shape)}, expected {expected}")
        if batched:
            return state, memory
        return state[None], (None if memory is None else memory[None])

    def _capacity(self, timespans, capacity: Tensor, layout: tuple[int, int], batched: bool) -> Tensor:
        """cm / dt: (units,), or (time, batch, units) when time spans are given."""
        if timespans is None:
            return capacity
        if timespans.dim() == (3 if batched else 2):
            timespans = timespans.squeeze(-1)
        if not batched:
            timespans = timespans[:, None]
        elif self.batch_first:
            timespans = timespans.transpose(0, 1)
        if tuple(timespans.shape) != layout:
            raise RuntimeError(f"timespans are {tuple(timespans.shape)} in (time, batch), the input is {layout}")
        return capacity / timespans[..., None]


def _same(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)


class FoldedLayer(nn.Module):
    """A liquid layer for inference: folded tables as buffers, the time loop as one ``scan``.

    Takes (batch, time, features) and returns the outputs (batch, time, motor neurons) and the states
    (batch, time, neurons), neurons numbered as in the wiring; it starts from zero and takes regular steps, like the
    papers' classifiers.
    """

    #: Buffers that say which synapses exist; the others are weights.
    STRUCTURE: ClassVar[frozenset[str]] = frozenset()
    #: The modules of the layer whose tensors were folded.
    CELLS: ClassVar[tuple[str, ...]] = ("rnn_cell",)

    #: Number of neurons, and of those among them that are outputs.
    units: int
    motor_size: int
    #: Buffer -> the tensors of each of the `CELLS` that were folded into it, and how.
    folding: Mapping[str, tuple[tuple[str, ...], str]]

    def drive(self, x: Tensor) -> Tensor:
        """All that does not depend on the state: (batch, time, features) to (time, batch, any)."""
        raise NotImplementedError

    def step(self, state: Tensor, drive: Tensor) -> Tensor:
        """State (batch, neurons) after one time step with drive (batch, any)."""
        raise NotImplementedError

    def read(self, states: Tensor) -> Tensor:
        """Outputs (..., motor neurons) of states (..., neurons)."""
        raise NotImplementedError

    def states(self, x: Tensor) -> Tensor:
        """The states (time, batch, neurons) while the layer reads (batch, time, features)."""

        def step(state: Tensor, drive: Tensor) -> tuple[Tensor, Tensor]:
            state = self.step(state, drive)
            return state, state.clone()  # scan refuses a carry that is also its output

        return scan(step, x.new_zeros(x.shape[0], self.units), self.drive(x))[1]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        states = self.states(x).transpose(0, 1)
        return self.read(states), states

    def advance(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One time step: inputs (batch, features), state (batch, neurons) to outputs and the next state."""
        state = self.step(state, self.drive(x[:, None])[0])
        return self.read(state), state


class FoldedLTC(FoldedLayer):
    """An :class:`LTC` for inference.

    Numerators and conductances are stored in units of the capacity cm / dt of their neuron (cm times the number of ODE
    unfolds, for a time span of 1), which saves one operation in each unfold.
    """

    folding: Mapping[str, tuple[tuple[str, ...], str]] = {
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
        "output_gain": (("output_w",), "as trained"),
        "output_offset": (("output_b",), "as trained"),
    }
    STRUCTURE = frozenset({"sensory_source", "row_of_unit"})

    def __init__(self, layer: LTC):
        super().__init__()
        if layer.use_mixed or not layer.batch_first or not layer.return_sequences:
            raise ValueError("only batch-first LTC layers that return sequences, without mixed memory, can be folded")
        self.motor_size, self.units = layer.motor_size, layer.state_size
        self._hold(fold(layer.rnn_cell, layer.wires()), layer.rnn_cell._ode_unfolds)

    def _hold(self, folded: Folded, unfolds: int) -> None:
        """Register the tables as buffers, all that is added up for a unit in units of its capacity."""
        self.unfolds = unfolds
        capacity = folded.capacity
        target = torch.argsort(folded.row_of_unit, stable=True)[: len(folded.sensory_weight)]
        source = folded.sensory_source
        tables = folded._replace(
            sensory_source=None if source is None else source.int(),  # half the bytes in the file
            sensory_weight=folded.sensory_weight / capacity[target, None, None],
            weight=folded.weight / capacity.repeat(2),
            leak=folded.leak / capacity.repeat(2) + torch.cat([torch.zeros_like(capacity), torch.ones_like(capacity)]),
        )
        for name, table in tables._asdict().items():
            if name != "capacity":
                self.register_buffer(name, None if table is None else table.detach().clone())

    @property
    def tables(self) -> Folded:
        """The buffers.  The capacity is 1, in units of itself."""
        buffers = {name: getattr(self, name) for name in Folded._fields if name != "capacity"}
        return Folded(**buffers, capacity=torch.ones(()))

    def drive(self, x: Tensor) -> Tensor:
        tables = self.tables
        batch, time, features = x.shape
        rows = x.transpose(0, 1).reshape(-1, features).t()  # ONNX Runtime gathers fast along the first axis only
        sums = sensory_sums(
            rows, tables.sensory_source, tables.sensory_gain, tables.sensory_offset, tables.sensory_weight
        )
        return drive_by_unit([sums], tables, (time, batch))

    def step(self, state: Tensor, drive: Tensor) -> Tensor:
        """As :func:`ode_unfolds`, in fewer operations: in units of the capacity, which `drive` holds, too."""
        tables = self.tables
        for _ in range(self.unfolds):
            synapses = torch.sigmoid(torch.addmm(tables.offset, state, tables.gain))
            numerator, denominator = torch.addmm(drive, synapses, tables.weight).chunk(2, dim=-1)
            state = (numerator + state) / denominator
        return state

    def read(self, states: Tensor) -> Tensor:
        tables = self.tables
        return states[..., : self.motor_size] * tables.output_gain + tables.output_offset
