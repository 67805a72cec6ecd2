"""How ncps's layers are called: batch or time first, with or without a batch axis, states and time spans or none."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


def in_float32(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The forward pass of a layer that autocast leaves alone: rounding errors add up over its many small steps."""

    @functools.wraps(forward)
    def whole(self: nn.Module, input: Tensor, *rest: Any, **named: Any) -> Any:  # noqa: A002 (the name in ncps)
        if not torch.is_autocast_enabled(input.device.type):
            return forward(self, input, *rest, **named)
        with torch.autocast(input.device.type, enabled=False):
            return forward(self, input.float(), *rest, **named)

    return whole


def in_order(args: tuple, named: dict[str, Any]) -> tuple[Any, ...]:
    """Input, state and time spans, whatever they are called by the layers and cells of ncps."""
    names = (("input", "inputs"), ("hx", "states"), ("timespans", "ts", "elapsed_time"))
    rest = (next((named[name] for name in known if name in named), None) for known in names[len(args) :])
    return (*args, *rest)


class Call(NamedTuple):
    """One call of a layer, brought to (time, batch, ...)."""

    steps: Tensor  # (time, batch, features)
    batched: bool
    batch_first: bool
    units: int
    mixed: bool

    @classmethod
    def of(cls, layer: nn.Module, input: Tensor, mixed: bool) -> "Call":  # noqa: A002 (the name in ncps)
        """The call of a `layer` with (batch, time, features), (time, batch, features) if it is not `batch_first`, or
        (time, features)."""
        batched, batch_first = input.dim() == 3, bool(layer.batch_first)
        steps = input if batched else input[:, None]
        steps = steps.transpose(0, 1) if batched and batch_first else steps
        return cls(steps, batched, batch_first, layer.state_size, mixed)  # type: ignore[arg-type]

    def state(self, hx: Tensor | tuple[Tensor, Tensor] | None) -> tuple[Tensor, ...]:
        """Initial states (batch, units): one, or with mixed memory two; zeros where none are given."""
        batch = self.steps.shape[1]
        if hx is None:
            return tuple(self.steps.new_zeros(batch, self.units) for _ in range(1 + self.mixed))
        if self.mixed and isinstance(hx, Tensor):
            raise RuntimeError("mixed_memory=True needs a pair (h0, c0) as initial state, got one tensor")
        states = tuple(hx) if self.mixed else (hx,)
        expected = (batch, self.units) if self.batched else (self.units,)
        for state in states:
            if tuple(state.shape) != expected:
                raise RuntimeError(f"the initial state has shape {tuple(state.shape)}, expected {expected}")
        return states if self.batched else tuple(state[None] for state in states)

    def spans(self, timespans: Tensor | None) -> Tensor | None:
        """Time spans (time, batch, 1) of those shaped like the input, its last axis 1 or left out."""
        if timespans is None:
            return None
        if timespans.dim() == (3 if self.batched else 2):
            timespans = timespans.squeeze(-1)
        if not self.batched:
            timespans = timespans[:, None]
        elif self.batch_first:
            timespans = timespans.transpose(0, 1)
        if timespans.shape != self.steps.shape[:2]:
            layout = tuple(self.steps.shape[:2])
            raise RuntimeError(f"timespans are {tuple(timespans.shape)} in (time, batch), the input is {layout}")
        return timespans[..., None]

    def by_input(self, sequence: Tensor) -> Tensor:
        """A sequence (time, batch, any), laid out as the input is."""
        if not self.batched:
            return sequence[:, 0]
        return sequence.transpose(0, 1) if self.batch_first else sequence

    def last(self, output: Tensor) -> Tensor:
        """The last output (batch, any) as ncps returns it: without a batch axis it squeezes axis 0, or axis 1."""
        return output if self.batched else output.squeeze(0 if self.batch_first else 1)

    def final(self, states: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        """Final states, shaped like `hx`."""
        states = states if self.batched else tuple(state[0] for state in states)
        return states if self.mixed else states[0]
