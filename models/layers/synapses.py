"""Sums over synapses and the steps of a liquid layer, with derivatives worked out by hand.

Autograd keeps a tensor for every operation of every ODE unfold, and adds up the gradients of the tables as often.  Here
the forward pass keeps the states alone; the backward pass evaluates the synapses again, in pieces that stay in the
processor's cache, and sums the gradients of a whole piece in one product.

Both functions are also written plainly, as :func:`plain_sums` and :func:`plain_steps`: what `torch.func`,
`torch.compile` and second derivatives are given, and what the tests hold the derivatives against.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

#: So many synapses times samples are evaluated at a time on a processor: three tables of them fit its level 2 cache.
PIECE = 2**17


class Synapses(NamedTuple):
    """Synapses by the unit where they end; missing ones, which make all units' equally many, have a weight of 0."""

    source: Tensor | None  # (targets, fan_in) where each synapse starts; None: every target sees all sources in order
    gain: Tensor  # (targets, fan_in, 1)
    offset: Tensor  # (targets, fan_in, 1)
    weight: Tensor  # (targets, 2, fan_in) w * erev, and w


def sums(rows: Tensor, synapses: Synapses) -> Tensor:
    """What synapses add to numerator and conductance of their targets, (targets, 2, samples), for rows of sources
    (sources, samples)."""
    return (_Sums.apply if _by_hand() else plain_sums)(rows, *synapses)


def steps(state: Tensor, drive: Tensor, capacity: Tensor, synapses: Synapses, unfolds: int) -> Tensor:
    """The states (time, units, batch) after each step of `unfolds` semi-implicit Euler steps.

    state: (units, batch) before the first step; drive: (units, 2, time, batch), what inputs and leak add to numerator
    and conductance; capacity: cm / dt, (time, units, batch) or with axes of 1 for time and batch; synapses: of the
    first units, which others need not have.
    """
    return (_Steps.apply if _by_hand() else plain_steps)(state, drive, capacity, *synapses, unfolds)


def _by_hand() -> bool:
    return not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active())


def plain_sums(rows: Tensor, source: Tensor | None, gain: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """As :func:`sums`, for some or all targets."""
    if source is not None:
        rows = rows.index_select(0, source.flatten()).reshape(*source.shape, rows.shape[1])
    return weight @ torch.sigmoid(torch.addcmul(offset, gain, rows))


def plain_steps(
    state: Tensor,
    drive: Tensor,
    capacity: Tensor,
    source: Tensor | None,
    gain: Tensor,
    offset: Tensor,
    weight: Tensor,
    unfolds: int,
) -> Tensor:
    """As :func:`steps`."""
    states = []
    for d, c in zip(drive.unbind(2), capacity.expand(drive.shape[2], -1, -1), strict=True):
        for _ in range(unfolds):
            active = plain_sums(state, source, gain, offset, weight)
            total = torch.cat([d[: len(active)] + active, d[len(active) :]])
            state = state + (total[:, 0] - total[:, 1] * state) / (c + total[:, 1])
        states.append(state)
    return torch.stack(states)


class _Sums(torch.autograd.Function):
    """sigmoid(x) is (1 + tanh(x / 2)) / 2, and tanh is the faster of the two on processors."""

    @staticmethod
    def forward(ctx, rows, source, gain, offset, weight):
        ctx.save_for_backward(rows, source, gain, offset, weight)
        half_weight = weight / 2
        total = rows.new_empty(len(gain), 2, rows.shape[1])
        targets = _by_target(source, gain / 2, offset / 2, half_weight)
        for piece, out in zip(*_pieces(gain, rows, total), strict=True):
            tanh = piece.new_empty(gain.shape[1], piece.shape[1])
            for (s, g, o, w), sum_of in zip(targets, out, strict=True):
                torch.mul(_picked(piece, s), g, out=tanh).add_(o).tanh_()
                sum_of.copy_(w @ tanh)
        return total.add_(half_weight.sum(2, keepdim=True))

    @staticmethod
    def backward(ctx, grad):
        rows, source, gain, offset, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_autograd(ctx, plain_sums, ctx.saved_tensors, grad)
        of_rows, of_gain, of_offset, of_weight = map(torch.zeros_like, (rows, gain, offset, weight))
        tables = gain, gain / 2, offset / 2, weight.transpose(1, 2) / 4, of_gain, of_offset, of_weight
        targets = _by_target(source, *tables)
        for piece, pull, of_piece in zip(*_pieces(gain, rows, grad, of_rows), strict=True):
            tanh, slope = piece.new_empty(2, gain.shape[1], piece.shape[1])
            added = torch.zeros_like(piece, memory_format=torch.contiguous_format)
            for (s, g, half_g, o, quarter_w, of_g, of_o, of_w), p in zip(targets, pull, strict=True):
                values = _picked(piece, s)
                torch.mul(values, half_g, out=tanh).add_(o).tanh_()
                of_w.addmm_(p, tanh.t())
                torch.mm(quarter_w, p, out=slope)
                torch.ops.aten.tanh_backward(slope, tanh, grad_input=slope)
                of_o += slope.sum(1, keepdim=True)
                of_g += torch.mul(slope, values, out=tanh).sum(1, keepdim=True)
                if ctx.needs_input_grad[0]:
                    slope *= g
                    added = added.add_(slope) if s is None else added.index_add_(0, s, slope)
            of_piece.copy_(added)
        return of_rows, None, of_gain, of_offset, (of_weight + grad.sum(2, keepdim=True)) / 2


class _Steps(torch.autograd.Function):
    @staticmethod
    def forward(ctx, state, drive, capacity, source, gain, offset, weight, unfolds):
        (units, batch), (active, fan_in, _) = state.shape, gain.shape
        given = drive.permute(2, 0, 1, 3).clone(memory_format=torch.contiguous_format)  # (time, units, 2, batch)
        given[:, :, 1] += capacity
        # Below the units a row of ones: the offsets are then part of the product that brings states to synapses.
        states = state.new_ones(len(given), unfolds + 1, units + 1, batch)
        totals = given[:, None].repeat(1, unfolds, 1, 1, 1)  # numerator; capacity and conductance
        synapses = state.new_empty(active, fan_in, batch)
        flat, start = synapses.flatten(0, 1), None
        if source is not None:
            start = torch.cat([_start(source, gain, units).t(), offset.view(-1, 1)], 1)
        last = state
        for now, total, c in zip(states, totals, capacity.expand(len(given), -1, -1), strict=True):
            now[0, :units] = last
            before, after = now[:-1], now[1:, :units]
            unfold = zip(before, before[:, :units], after, total[:, :active], *total.unbind(2), strict=True)
            for with_ones, v, result, summed, numerator, denominator in unfold:
                if start is None:
                    torch.mul(v, gain, out=synapses).add_(offset)
                else:
                    torch.mm(start, with_ones, out=flat)
                summed.baddbmm_(weight, synapses.sigmoid_())
                torch.addcmul(numerator, v, c, out=result).div_(denominator)
            last = now[unfolds, :units]
        states = states[:, :, :units]
        ctx.unfolds = unfolds
        ctx.save_for_backward(state, drive, capacity, source, gain, offset, weight, states, totals[:, :, :, 1])
        return states[:, unfolds].clone()

    @staticmethod
    def backward(ctx, grad):
        *inputs, states, denominators = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_autograd(ctx, plain_steps, (*inputs, ctx.unfolds), grad)
        state, drive, capacity, source, gain, offset, weight = inputs
        (units, batch), (active, fan_in, _) = state.shape, gain.shape
        of_drive, of_capacity = torch.empty_like(drive), torch.empty_like(grad)
        of_gain, of_offset, of_weight = map(torch.zeros_like, (gain, offset, weight))
        start, back = _start(source, gain, units), weight.transpose(1, 2).contiguous()
        pulls = drive.new_empty(ctx.unfolds, units, 3, batch)  # on numerator, conductance and the state before
        of_synapses = drive.new_empty(active, fan_in, batch)
        of_state = torch.zeros_like(state)
        for time in reversed(range(len(grad))):
            before, after = states[time, :-1], states[time, 1:]
            values = before[:, None]
            if source is not None:
                values = before.index_select(1, source.flatten()).unflatten(1, source.shape)
            synapses = torch.mul(values, gain).add_(offset).sigmoid_()  # (unfolds, active, fan_in, batch)
            slopes = torch.addcmul(synapses, synapses, synapses, value=-1)
            share = denominators[time].reciprocal()
            c = capacity[min(time, len(capacity) - 1)]
            shares = torch.stack([share, -share * after, share * c], 2)
            of_state += grad[time]
            on_active, on_before = pulls[:, :active, :2], pulls[:, :, 2]
            unfolds = zip(pulls, on_active, on_before, shares, slopes, slopes.flatten(1, 2), strict=True)
            for pull, pull_active, kept, share, slope, flat in reversed(list(unfolds)):
                torch.mul(of_state[:, None], share, out=pull)
                slope *= torch.bmm(back, pull_active, out=of_synapses)
                of_state = torch.addmm(kept, start, flat)
            of_drive[:, :, time] = pulls[:, :, :2].sum(0)
            of_capacity[time] = (pulls[:, :, 0] * (before - after)).sum(0)
            of_weight += torch.matmul(pulls[:, :active, :2], synapses.transpose(2, 3)).sum(0)
            of_offset += slopes.sum((0, 3)).unsqueeze(2)
            of_gain += slopes.mul_(values).sum((0, 3)).unsqueeze(2)
        return of_state, of_drive, of_capacity.sum_to_size(capacity.shape), None, of_gain, of_offset, of_weight, None


def _pieces(gain: Tensor, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Tensors (..., samples), in parts of as many samples as are evaluated at a time."""
    samples = PIECE // max(1, gain.shape[1]) if gain.device.type == "cpu" else tensors[0].shape[-1]
    return [tensor.split(max(1, samples), -1) for tensor in tensors]


def _by_target(source: Tensor | None, *tables: Tensor) -> list[tuple[Any, ...]]:
    """The rows of tables (targets, ...) together."""
    return list(zip([None] * len(tables[0]) if source is None else source, *tables, strict=True))


def _picked(rows: Tensor, source: Tensor | None) -> Tensor:
    return rows if source is None else rows.index_select(0, source)


def _start(source: Tensor | None, gain: Tensor, units: int) -> Tensor:
    """The gains in the row of the unit where each synapse starts: (units, targets * fan_in)."""
    if source is None:
        source = torch.arange(units, device=gain.device).expand(gain.shape[:2])
    return F.one_hot(source.flatten(), units).t() * gain.flatten()


def _by_autograd(ctx: Any, plain: Callable[..., Tensor], inputs: tuple[Any, ...], grad: Tensor) -> tuple[Any, ...]:
    """The gradients by the plain form, to be differentiated once more."""
    wanted = [given for given, needed in zip(inputs, ctx.needs_input_grad, strict=True) if needed]
    found = iter(torch.autograd.grad(plain(*inputs), wanted, grad, create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)
