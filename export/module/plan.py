"""What a file of a module takes and gives: its inputs, outputs and states, and which of their axes may vary."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from liquidlens.errors import LiquidLensError, first_line
from liquidlens.export.module.folding import Recorded, copied, put_in, record_layers
from liquidlens.export.module.inputs import BATCH, TIME, Arguments, Axes, difference, found_axes, outputs_of, resized
from liquidlens.models.layers.calls import in_order
from liquidlens.models.layers.folded import FoldedLayer

#: From inputs by name to outputs by name.
Run = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
#: Lengths of the axes in the traced example: distinct, and none of them 1, which torch.export takes for a constant.
TRACED = {BATCH: 2, TIME: 3}


@dataclass(frozen=True)
class Hidden:
    """The states of a layer that `forward` neither takes nor gives: inputs and outputs of the file by these names."""

    layer: FoldedLayer
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Streaming(nn.Module):
    """A folded module with its hidden states as further inputs and outputs."""

    def __init__(self, module: nn.Module, arguments: Arguments, hidden: Sequence[Hidden], renamed: Mapping[str, str]):
        super().__init__()
        self.module, self.arguments, self.hidden, self.renamed = module, arguments, hidden, renamed

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        with contextlib.ExitStack() as stack:
            final: dict[str, Tensor] = {}
            for one in self.hidden:
                stack.enter_context(_passed(one, tensors, final))
            returned = outputs_of(self.arguments.call(self.module, tensors))
        named = {self.renamed.get(name, name): tensor for name, tensor in returned.items()}
        return named | {name: tensor for name, tensor in final.items() if name not in named}


@contextlib.contextmanager
def _passed(hidden: Hidden, tensors: Mapping[str, Tensor], final: dict[str, Tensor]) -> Iterator[None]:
    """Let the layer start from the states among `tensors`, in its first call, and collect its `final` ones."""
    started = False

    def start(layer: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        nonlocal started
        if started:
            return args, kwargs
        started = True
        states = tuple(tensors[name] for name in hidden.inputs)
        x, _, spans = in_order(args, kwargs)
        return (x, states if len(states) > 1 else states[0], spans), {}

    def end(layer: nn.Module, args: tuple, returned: Any) -> None:
        state = returned[1]
        final.update(zip(hidden.outputs, state if isinstance(state, tuple) else (state,), strict=True))

    handles = hidden.layer.register_forward_pre_hook(start, with_kwargs=True), hidden.layer.register_forward_hook(end)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Plan:
    """A module, folded, and how its file is called."""

    original: nn.Module
    module: Streaming
    arguments: Arguments
    records: list[Recorded]
    #: The example, hidden states (zeros) included.
    example: dict[str, Tensor]
    inputs: Axes
    outputs: Axes
    #: Input -> output that is its next value.
    states: dict[str, str]
    #: Whether layers are given time spans as tensors: ncps is then asked one sample at a time.
    timed: bool

    @property
    def symbols(self) -> set[str]:
        return {symbol for axes in self.inputs.values() for symbol in axes.values()}

    @property
    def traced(self) -> dict[str, int]:
        """Sizes of batch and time in what is traced."""
        return {symbol: size for symbol, size in TRACED.items() if symbol in self.symbols}

    @property
    def sealed(self) -> list[Recorded]:
        """Layers whose states the file neither takes nor gives."""
        hidden = {one.layer for one in self.module.hidden}
        taken = [self.example[name] for name in self.states]

        def shown(record: Recorded) -> bool:
            given = record.given[0]
            return record.folded in hidden or (
                bool(given) and all(any(_same(one, other) for other in taken) for one in given)
            )

        return [record for record in self.records if not shown(record)]

    def streams(self, tolerance: float) -> bool:
        """Whether a sequence can be given piece by piece: all states come in and go out, and nothing else mixes
        steps."""
        if TIME not in self.symbols or self.sealed:
            return False
        tensors = self.sized(**self.traced | {TIME: 5})
        return difference(self.in_pieces(self.run, tensors, (1, 2, 2)), self.run(tensors)) <= tolerance

    def in_pieces(self, run: Run, tensors: Mapping[str, Tensor], lengths: Sequence[int]) -> dict[str, Tensor]:
        """What `run` gives to a sequence in pieces of these lengths, states passed on; outputs with an axis of time are
        put together, of others the last one counts."""
        where = {name: axis for name, axes in self.inputs.items() for axis, one in axes.items() if one == TIME}
        state = {name: tensors[name] for name in self.states}
        pieces, start = [], 0
        for length in lengths:
            piece = {n: t.narrow(where[n], start, length).contiguous() for n, t in tensors.items() if n in where}
            pieces.append(run({**tensors, **piece, **state}))
            state = {name: pieces[-1][output] for name, output in self.states.items()}
            start += length
        joined = {name: axis for name, axes in self.outputs.items() for axis, one in axes.items() if one == TIME}
        return {n: torch.cat([p[n] for p in pieces], joined[n]) if n in joined else pieces[-1][n] for n in pieces[-1]}

    @property
    def loops(self) -> list[Recorded]:
        """Cells that run in a loop of the user's."""
        return [record for record in self.records if record.is_cell and len(record.inputs) > 1]

    def sized(self, seed: int = 0, **sizes: int) -> dict[str, Tensor]:
        """Inputs of other sizes; states start from zeros unless `forward` takes them."""
        return resized(self.example, self.inputs, sizes, seed)

    def asked(self, run: Run, sizes: Mapping[str, int], seed: int = 0) -> dict[str, Tensor]:
        """What `run` or `truth` gives to inputs of other sizes.  Raises LiquidLensError if the module does not take
        them."""
        try:
            return run(self.sized(seed, **sizes))
        except Exception as error:
            raise LiquidLensError(
                f"{module_name(self.original)}.forward fails with {sizes_in_words(sizes)}: {first_line(error)}. "
                "Name the axes that may vary in dynamic={'x': {0: 'batch', 1: 'time'}}, or fix the length with unroll."
            ) from error

    @torch.no_grad()
    def run(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The folded module's outputs."""
        return self.module(dict(tensors))

    @torch.no_grad()
    def truth(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The original's outputs; with time spans, one sample at a time, since ncps is wrong for more."""
        own = {name: tensors[name] for name in self.arguments.tensors}
        if not self.timed or BATCH not in self.symbols:
            return self._truth(own)
        batched = {name: axis for name, axes in self.inputs.items() for axis, one in axes.items() if one == BATCH}
        size = next(own[name].shape[axis] for name, axis in batched.items() if name in own)
        parts = [
            self._truth({n: t.narrow(batched[n], i, 1) if n in batched else t for n, t in own.items()})
            for i in range(size)
        ]
        where = {name: axis for name, axes in self.outputs.items() for axis, one in axes.items() if one == BATCH}
        return {n: torch.cat([p[n] for p in parts], where[n]) if n in where else parts[0][n] for n in parts[0]}

    def _truth(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        returned = outputs_of(self.arguments.call(self.original, tensors))
        return {self.module.renamed.get(name, name): tensor for name, tensor in returned.items()}


def make_plan(module: nn.Module, example: Mapping[str, Any], dynamic: Axes | None, state: str) -> Plan:
    """Fold a module and find out what its file takes and gives, by a dry run of the example."""
    arguments = Arguments(module, example)
    twin, records = record_layers(module)
    original = copied(module)
    returned = outputs_of(_dry_run(arguments, twin, module))
    called = [record for record in records if record.inputs]
    if not called:
        raise LiquidLensError(f"{module_name(module)}.forward does not run its layers of ncps with this example.")
    batch, time, batch_first = _lengths(called)
    if dynamic is None:
        axes = found_axes(arguments.tensors, _starts(called, arguments), batch, time, batch_first)
    else:
        axes = _given(dynamic, arguments)
    hidden, taken, renamed = _states(called, arguments, returned, state)
    folded = put_in(twin, records)
    streaming = Streaming(folded, arguments, hidden, renamed)
    starts, state_axes = {}, {}
    for one in hidden:
        record = next(record for record in called if record.folded is one.layer)
        for name, final in zip(one.inputs, record.final[-1], strict=True):
            _check_batch(record, final, arguments, axes)
            starts[name] = torch.zeros_like(final)
            state_axes[name] = {0: BATCH} if final.dim() == 2 and BATCH in _symbols(axes) else {}
            taken[name] = one.outputs[one.inputs.index(name)]
    plan = Plan(
        original, streaming, arguments, called, arguments.tensors | starts, axes | state_axes, {}, taken,
        any(record.span is None for record in called),
    )  # fmt: skip
    return replace(plan, outputs=_output_axes(plan))


def _check_batch(record: Recorded, state: Tensor, arguments: Arguments, axes: Axes) -> None:
    """Raise LiquidLensError if a layer has another number of states (n, units) than samples are in the batch."""
    lengths = {
        arguments.tensors[name].shape[axis] for name, one in axes.items() for axis, s in one.items() if s == BATCH
    }
    if state.dim() == 2 and lengths and state.shape[0] not in lengths:
        raise LiquidLensError(
            f"{record.name} reads {state.shape[0]} sequences for a batch of {min(lengths)}, so its states are no input "
            'of the file; pass them through forward, or export with state="zeros".'
        )


def module_name(module: nn.Module) -> str:
    return type(module).__name__


def sizes_in_words(sizes: Mapping[str, int]) -> str:
    return " and ".join(f"{symbol} {size}" for symbol, size in sizes.items()) or "other numbers"


def _symbols(axes: Axes) -> set[str]:
    return {symbol for one in axes.values() for symbol in one.values()}


def _dry_run(arguments: Arguments, twin: nn.Module, module: nn.Module) -> Any:
    """What the twin returns for the example, whose tensors in `arguments` become those that it was called with.  What
    depends on their numbers, or on parameters, has a gradient."""
    called = {n: t.requires_grad_().clone() if t.is_floating_point() else t for n, t in arguments.tensors.items()}
    arguments.tensors = {name: tensor.detach() for name, tensor in called.items()}
    try:
        with torch.enable_grad():
            return arguments.call(twin, called)
    except LiquidLensError:
        raise
    except Exception as error:
        raise LiquidLensError(f"{module_name(module)}.forward fails with this example: {first_line(error)}.") from error


def _lengths(called: list[Recorded]) -> tuple[int | None, int | None, bool]:
    """Batch, time and their order, as the first layer that reads a sequence saw them."""
    for record in called:
        x = record.inputs[0]
        if record.is_cell:
            continue
        if x.dim() == 2:
            return None, x.shape[0], True
        first = bool(getattr(record.original, "batch_first", True))
        return x.shape[0 if first else 1], x.shape[1 if first else 0], first
    loop = max(called, key=lambda record: len(record.inputs))
    steps = len(loop.inputs)
    return loop.inputs[0].shape[0], steps if steps > 1 else None, True


def _starts(called: list[Recorded], arguments: Arguments) -> set[str]:
    """The tensors of the example that layers start from."""
    given = [one for record in called for one in record.given[0]]
    return {name for name, tensor in arguments.tensors.items() if any(_same(tensor, one) for one in given)}


def _given(dynamic: Axes, arguments: Arguments) -> Axes:
    for name in dynamic:
        if name not in arguments.tensors:
            raise LiquidLensError(f"dynamic names {name}, and the inputs are {', '.join(arguments.tensors)}.")
        for axis, symbol in dynamic[name].items():
            if symbol not in (BATCH, TIME):
                raise LiquidLensError(f"dynamic calls an axis of {name} {symbol!r}; an axis is {BATCH!r} or {TIME!r}.")
            if axis not in range(arguments.tensors[name].dim()):
                axes = arguments.tensors[name].dim()
                raise LiquidLensError(f"dynamic names axis {axis} of {name}, whose axes are 0 to {axes - 1}.")
    return {name: dict(dynamic.get(name, {})) for name in arguments.tensors}


def _states(
    called: list[Recorded], arguments: Arguments, returned: dict[str, Tensor], state: str
) -> tuple[list[Hidden], dict[str, str], dict[str, str]]:
    """Hidden states; input -> output of those that `forward` takes and returns; new names of outputs."""
    taken: dict[str, str] = {}
    renamed: dict[str, str] = {}
    inward: list[tuple[Recorded, tuple[Tensor, ...]]] = []

    def sources(record: Recorded) -> list[str | None]:
        return [next((n for n, t in arguments.tensors.items() if _same(t, one)), None) for one in record.given[0]]

    start = Counter(name for record in called if not record.reads_back for name in sources(record))
    for record in called:
        if record.reads_back:
            continue
        given, final, names = record.given[0], record.final[-1], sources(record)
        if names and all(names):
            for name, one in zip(names, final, strict=True):
                output = next((n for n, t in returned.items() if _same(t, one) and n not in renamed), None)
                # What several layers start from has no one next value.
                if output is not None and name is not None and start[name] == 1:
                    renamed[output] = f"{name}_out"
                    taken[name] = f"{name}_out"
        elif not any(one.requires_grad or bool(one.any()) for one in given):  # zeros, whatever forward takes
            inward.append((record, final))
    hidden = []
    for record, final in inward if state == "auto" else ():
        apart = [
            given for given, before in zip(record.given[1:], record.final, strict=False)
            if not (given and all(map(_same, given, before)))
        ]  # fmt: skip
        if apart:
            raise LiquidLensError(
                f"{record.name} runs {len(record.inputs)} times in forward, each time from a state of its own, which "
                'cannot be one input of the file; pass its states through forward, or export with state="zeros".'
            )
        letters = "hc"[: len(final)]
        others = {renamed.get(n, n) for n, t in returned.items() if not any(_same(t, one) for one in final)}
        clash = {f"{letter}_{way}" for letter in letters for way in ("in", "out")} & {*arguments.tensors, *others}
        prefix = f"{record.path}." if (len(inward) > 1 or clash) and record.path else ""
        names_in = tuple(f"{prefix}{letter}_in" for letter in letters)
        names_out = tuple(f"{prefix}{letter}_out" for letter in letters)
        hidden.append(Hidden(record.folded, names_in, names_out))
        for one, new in zip(final, names_out, strict=True):
            output = next((n for n, t in returned.items() if _same(t, one) and n not in renamed), None)
            if output is not None:
                renamed[output] = new
    left = [name for name in returned if name not in renamed]
    if len(left) == 1 and left[0].startswith("output_"):
        renamed[left[0]] = "output"
    renamed |= {name: f"{name}_out" for name in left if name in arguments.tensors}
    inputs = [*arguments.tensors, *(name for one in hidden for name in one.inputs)]
    outputs = [renamed.get(name, name) for name in returned]
    outputs += [name for one in hidden for name in one.outputs if name not in renamed.values()]
    twice = [name for name, count in Counter([*inputs, *outputs]).items() if count > 1]
    if twice:
        raise LiquidLensError(f"Two inputs or outputs of the file would be called {twice[0]}; rename forward's own.")
    return hidden, taken, renamed


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and a.data_ptr() == b.data_ptr())


def _output_axes(plan: Plan) -> Axes:
    """Which axes of the outputs vary with which symbols, found by varying them."""
    sizes = plan.traced
    base = plan.asked(plan.run, sizes)
    axes: Axes = {name: {} for name in base}
    for symbol, size in sizes.items():
        other = plan.asked(plan.run, {**sizes, symbol: size + 2})
        for name, tensor in base.items():
            for axis, (a, b) in enumerate(zip(tensor.shape, other[name].shape, strict=True)):
                if a != b:
                    axes[name][axis] = symbol
    return axes
