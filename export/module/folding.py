"""Folding: each layer of ncps in a module is replaced, after a dry run that records how it is called."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import ncps.torch
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from liquidlens.errors import LiquidLensError
from liquidlens.models.layers import cfc, liquid
from liquidlens.models.layers.bidirectional import BidirectionalLTC, FoldedBidirectionalLTC
from liquidlens.models.layers.cfc import FoldedCfC
from liquidlens.models.layers.folded import FoldedLayer, show_as
from liquidlens.models.layers.folded_ltc import FoldedLTC

#: What is replaced, and by what.
FORMS: Mapping[type[nn.Module], Callable[..., FoldedLayer]] = {
    ncps.torch.LTC: FoldedLTC,
    ncps.torch.LTCCell: FoldedLTC,
    ncps.torch.CfC: FoldedCfC,
    ncps.torch.CfCCell: FoldedCfC,
    ncps.torch.WiredCfCCell: FoldedCfC,
    liquid.LTC: FoldedLTC,
    cfc.CfC: FoldedCfC,
    BidirectionalLTC: FoldedBidirectionalLTC,
}


@dataclass
class Recorded:
    """A layer, how the dry run called it, and what it was folded into."""

    path: str
    original: nn.Module
    folded: FoldedLayer = None  # type: ignore[assignment]  # until the first call
    span: float | None = 1.0
    #: The input of each call, the states that it was given (empty if it was given none), and its final states.
    inputs: list[Tensor] = field(default_factory=list)
    given: list[tuple[Tensor, ...]] = field(default_factory=list)
    final: list[tuple[Tensor, ...]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What sentences call it."""
        return f"The layer {self.path}" if self.path else f"The layer ({type(self.original).__name__})"

    @property
    def reads_back(self) -> bool:
        """Whether it reads from the end, too, so that it has no state to go on from."""
        return isinstance(self.original, BidirectionalLTC)

    @property
    def is_cell(self) -> bool:
        return not self.reads_back and not hasattr(self.original, "rnn_cell")


class Recorder(nn.Module):
    """Stands for a layer during the dry run; its first call tells how to fold it."""

    def __init__(self, record: Recorded):
        super().__init__()
        self.record = record
        #: Not a submodule: what is folded is not kept.
        self.__dict__["original"] = record.original
        show_as(self, record.original)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        record = self.record
        bound = signature(record.original.forward).bind(*args, **kwargs)
        bound.apply_defaults()  # time spans may be given by name, and no state
        values = list(bound.arguments.values())
        x, rest = values[0], values[1:]
        if record.reads_back:
            given, spans = None, rest[0] if rest else None
        else:
            given, spans = (*rest, None, None)[:2]
        self._fold(spans)
        result = record.folded(*args, **kwargs)
        record.inputs.append(x)
        record.given.append(() if given is None else tuple(given) if isinstance(given, tuple | list) else (given,))
        final = result[1]
        record.final.append(final if isinstance(final, tuple) else (final,))
        return result

    def _fold(self, spans: Tensor | float | None) -> None:
        record = self.record
        span = None if isinstance(spans, Tensor) else 1.0 if spans is None else float(spans)
        if _is_ltc(record.original) and not bool((torch.as_tensor(1.0 if spans is None else spans) > 0).all()):
            raise LiquidLensError(f"{record.name} is given time spans of 0 or less; an LTC divides by them.")
        if record.folded is None:
            record.span = span
            with torch.no_grad():
                record.folded = FORMS[_base(record)](record.original, span)
        elif record.span != span:
            raise LiquidLensError(
                f"{record.name} is called with time spans of {_said(record.span)} and of {_said(span)}; "
                "give them all as one tensor."
            )


def copied(module: nn.Module) -> nn.Module:
    """A copy on the CPU, for inference.  Of tensors that torch has computed, such as a state that the module keeps of
    its last call, or the weight that `weight_norm` makes, it holds the numbers alone."""
    kept = pytree.tree_leaves([vars(one) for one in module.modules()])
    numbers = {id(one): one.detach().clone() for one in kept if isinstance(one, Tensor) and not one.is_leaf}
    return copy.deepcopy(module, numbers).cpu().eval()


def record_layers(module: nn.Module) -> tuple[nn.Module, list[Recorded]]:
    """A copy of the module, on the CPU, for inference, in which recorders stand for its layers of ncps, and the
    records.  Raises LiquidLensError if a layer is not what ncps made it."""
    twin = nn.ModuleDict({"root": copied(module)})
    records: dict[int, tuple[Recorded, Recorder]] = {}

    def visit(parent: nn.Module, path: tuple[str, ...]) -> None:
        for name, child in parent._modules.items():
            if child is None:
                continue
            here = (*path, name)
            if isinstance(child, tuple(FORMS)):
                if id(child) not in records:
                    record = Recorded(".".join(here[1:]), child)
                    _check(record)
                    records[id(child)] = record, Recorder(record)
                parent._modules[name] = records[id(child)][1]
            else:
                visit(child, here)

    visit(twin, ())
    if not records:
        raise LiquidLensError(
            f"{type(module).__name__} has no layer of ncps (LTC, CfC or their cells); torch.onnx.export is for others."
        )
    return twin["root"], [record for record, _ in records.values()]


def put_in(twin: nn.Module, records: list[Recorded]) -> nn.Module:
    """The twin with the folded layers in place of their recorders."""
    folded = {id(record.original): record.folded for record in records}
    if isinstance(twin, Recorder):
        return folded[id(twin.record.original)] or twin
    for parent in list(twin.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, Recorder):
                parent._modules[name] = folded[id(child.record.original)] or child.record.original
    return twin


def culprit(records: list[Recorded], tolerance: float) -> str:
    """The layer whose folded form differs most from it, by more than the tolerance, on what the dry run gave it: for
    the sentence of a failure."""
    worst, name = tolerance, ""
    for record in records:
        if record.folded is None or record.span is None or record.reads_back:
            continue
        given = record.given[0]
        hx = given if len(given) > 1 else given[0] if given else None
        with torch.no_grad():
            arguments = (record.inputs[0], hx, record.span) if record.is_cell else (record.inputs[0], hx)
            gap = float((record.original(*arguments)[0] - record.folded(*arguments)[0]).abs().max())
        if not gap <= worst:
            worst, name = gap, f" {record.name} alone differs by {gap:.2g}."
    return name


def _is_ltc(layer: nn.Module) -> bool:
    return isinstance(layer, ncps.torch.LTC | ncps.torch.LTCCell | BidirectionalLTC)


def _said(span: float | None) -> str:
    return "a tensor" if span is None else f"{span:g}"


def _base(record: Recorded) -> type[nn.Module]:
    """The known class that a layer is of."""
    return next(kind for kind in type(record.original).__mro__ if kind in FORMS)


def _check(record: Recorded) -> None:
    """Raise LiquidLensError if a layer, or its cell, computes something of its own."""
    layer = record.original
    for one in (layer, *layer.modules()):
        base = next((kind for kind in type(one).__mro__ if kind in FORMS or kind.__module__.startswith("ncps.")), None)
        if base is None:
            continue
        own = [name for name in vars(one) if name == "forward"]
        for kind in type(one).__mro__[: type(one).__mro__.index(base)]:
            own += [name for name, value in vars(kind).items() if callable(value) and hasattr(base, name)]
        changed = [name for name in own if name != "__init__"]
        if changed:
            raise LiquidLensError(
                f"{record.name} is a {type(one).__name__} with {changed[0]} of its own, which is unknown here; "
                f"use {base.__name__} itself, and compute the rest around it."
            )
        kept = getattr(one, "_params", {})
        if any(value is not getattr(one, name, None) for name, value in kept.items()):
            raise LiquidLensError(
                f"{record.name} computes with other parameters than it shows: ncps keeps those that "
                "load_state_dict(assign=True) or pruning replaced; load them without assign."
            )
    floating = {tensor.dtype for tensor in (*layer.parameters(), *layer.buffers()) if tensor.is_floating_point()}
    if floating - {torch.float32}:
        raise LiquidLensError(f"{record.name} is not in float32, which files compute in; call .float() on the module.")
