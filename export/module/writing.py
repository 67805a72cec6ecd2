"""`export_onnx`: fold, trace, check, write."""

import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import ncps.torch
import onnx
import torch
from torch import Tensor, nn

from liquidlens.errors import LiquidLensError
from liquidlens.export.checks.audit import graph_digest
from liquidlens.export.checks.module_report import Exported, Layer, ModuleReport
from liquidlens.export.checks.module_report import Recorded as Record
from liquidlens.export.complete.wiring import connections
from liquidlens.export.facts import OPSET, check_opset, stored_parameters
from liquidlens.export.graph.provenance import effective_parameters, explain
from liquidlens.export.graph.trace import Lowered, lower, serialize
from liquidlens.export.graph.unroll import unroll as spell_out
from liquidlens.export.module.checking import check
from liquidlens.export.module.folding import Recorded
from liquidlens.export.module.inputs import TIME, Axes
from liquidlens.export.module.plan import Plan, make_plan, module_name
from liquidlens.files import replacing
from liquidlens.manifest import Parameters

Form = Literal["loop", "unrolled", "step", "plain"]


class File(nn.Module):
    """What is traced: a streaming module, its inputs in their order; of the form step without their axes of time."""

    def __init__(self, plan: Plan, form: Form):
        super().__init__()
        self.module, self.names = plan.module, list(plan.example)
        self.inputs, self.outputs = (_time_axes(axes) if form == "step" else {} for axes in (plan.inputs, plan.outputs))

    def forward(self, *tensors: Tensor) -> dict[str, Tensor]:
        named = dict(zip(self.names, tensors, strict=True))
        outputs = self.module({n: t.unsqueeze(self.inputs[n]) if n in self.inputs else t for n, t in named.items()})
        return {n: t.squeeze(self.outputs[n]) if n in self.outputs else t for n, t in outputs.items()}


def export_onnx(
    module: nn.Module,
    example: Mapping[str, Any],
    path: str | Path,
    *,
    dynamic: Axes | None = None,
    state: Literal["auto", "zeros"] = "auto",
    step: bool = False,
    unroll: int | None = None,
    opset: int = OPSET,
    tolerance: float = 1e-5,
) -> Exported:
    """Write any module with layers of ncps, or of `liquidlens.models`, as one ONNX file that gives the same answers.

    example: tensors by the names of the parameters of ``forward``; what is no tensor is fixed in the file.  Batch and
    time may vary in the file; `dynamic`, ``{"x": {0: "batch", 1: "time"}}``, names the axes where they are not found.
    state: what ``forward`` neither takes nor gives of the layers' states become inputs ``h_in`` (with mixed memory also
    ``c_in``) and outputs ``h_out``; "zeros": they start from zeros in every call.
    step: a file without control flow that takes one step a call, states in and out.  unroll: a file without control
    flow for sequences of this length.
    tolerance: how far outputs may be from torch's, relative where they exceed 1.

    The file is compared with the module before it is written.  Raises LiquidLensError, which names the layer and the
    reason, for what cannot be written exactly; nothing is written then.
    """
    check_opset(opset)
    if state not in ("auto", "zeros"):
        raise LiquidLensError(f'state is "auto" or "zeros", not {state!r}.')
    if step and unroll is not None:
        raise LiquidLensError("A file takes single steps (step) or sequences of one length (unroll), not both.")
    if unroll is not None and unroll < 1:
        raise LiquidLensError(f"unroll is a number of steps, from 1, not {unroll}.")
    plan = make_plan(module, example, dynamic, state)
    form = _form(plan, step, unroll, tolerance)
    proto, edges = _trace(plan, form, unroll, opset)
    initializers = explain(proto, plan.module.module)
    if form == "unrolled":
        proto = spell_out(proto)
        initializers += explain(proto, plan.module.module)[len(initializers) :]  # the axis that it adds
    onnx.checker.check_model(proto, full_check=True)
    length = unroll or _length(plan)
    checks = check(plan, proto.SerializeToString(), form, length, tolerance, edges)
    report = ModuleReport(
        module=module_name(module),
        form=form,
        inputs=_varying(plan.inputs, form),
        outputs=_varying(plan.outputs, form),
        states=plan.states,
        layers=tuple(map(_layer, plan.records)),
        parameters=Parameters(
            published=None,
            trainable=sum(p.numel() for p in plan.original.parameters() if p.requires_grad),
            effective=effective_parameters(plan.original),
            stored=stored_parameters(initializers),
        ),
        checks=checks,
        versions={"torch": torch.__version__.split("+")[0], "python": platform.python_version()},
        initializers={
            one.name: Record(digest=one.digest, kind=one.kind, sources=one.sources, how=one.how) for one in initializers
        },
        graph_digest=graph_digest(proto),
    )
    content = serialize(proto, report.to_metadata())
    with replacing(path) as partial:
        partial.write_bytes(content)
    return Exported(Path(path), len(content), report)


def _form(plan: Plan, step: bool, unroll: int | None, tolerance: float) -> Form:
    """How time is to be written.  Raises LiquidLensError if it cannot be."""
    timeless = TIME not in plan.symbols
    if timeless and unroll is None:
        return "plain"
    if timeless:
        raise LiquidLensError(f"{module_name(plan.original)} has no axis of time to unroll; leave unroll out.")
    if step:
        for record in plan.records:
            if record.reads_back:
                raise LiquidLensError(f"{record.name} reads the sequence from its end, too: it has no single steps.")
        for record in plan.sealed:
            raise LiquidLensError(
                f"{record.name} starts anew in every call, so there is nothing to pass on from step to step; take its "
                'state into forward and return it, or export with state="auto".'
            )
        if not plan.streams(tolerance):
            raise LiquidLensError(
                f"{module_name(plan.original)}.forward mixes steps outside of its layers of ncps: "
                "single steps do not add up to the whole, so it has no step form."
            )
        return "step"
    if unroll is None:
        for record in plan.loops:
            raise LiquidLensError(
                f"{record.name} is a cell in a loop of forward's own, which runs {len(record.inputs)} times: a file "
                f"can only fix that number (unroll={len(record.inputs)}), or take single steps (step=True); a layer "
                "(LTC, CfC) keeps its loop."
            )
    return "loop" if unroll is None else "unrolled"


def _trace(plan: Plan, form: Form, unroll: int | None, opset: int) -> Lowered:
    time = {"step": {TIME: 1}, "unrolled": {TIME: unroll or 1}}.get(form, {})
    tensors = plan.sized(**plan.traced | time)
    if form == "step":
        where = _time_axes(plan.inputs)
        tensors = {n: t.squeeze(where[n]) if n in where else t for n, t in tensors.items()}
    shapes = tuple(_varying(plan.inputs, form)[name] for name in tensors)
    try:
        return lower(File(plan, form), tuple(tensors.values()), (shapes,), list(tensors), list(plan.outputs), opset)
    except Exception as error:
        raise LiquidLensError(_why(error, plan)) from error


def _why(error: Exception, plan: Plan) -> str:
    """The sentence for what torch.export refuses."""
    text = "\n".join(str(one) for one in _chain(error))
    forward = f"{module_name(plan.original)}.forward"
    where = re.search(r'File "[^"]*?([^"/\\]+)", line (\d+), in forward', text)
    place = f" ({where[1]}, line {where[2]})" if where else ""
    if "data-dependent" in text or "data dependent" in text:
        return (
            f"{forward} does one thing or another depending on the values of its tensors{place}, which a file cannot; "
            "compute both and choose with torch.where."
        )
    if "dynamic" in text and ("onstraint" in text or "specialized" in text):
        return (
            f"{forward} fixes a length that is to vary in the file{place}; name the axes that may vary in "
            "dynamic={'x': {0: 'batch'}}, or fix the length with unroll."
        )
    cause = error.__cause__ or error
    reason = (str(cause).strip() or type(cause).__name__).splitlines()[0][:200]
    return f"{forward} cannot be traced: {reason}"


def _chain(error: BaseException) -> list[BaseException]:
    found = [error]
    while (following := found[-1].__cause__ or found[-1].__context__) is not None:
        found.append(following)
    return found


def _time_axes(axes: Axes) -> dict[str, int]:
    return {name: axis for name, one in axes.items() for axis, symbol in one.items() if symbol == TIME}


def _varying(axes: Axes, form: Form) -> Axes:
    """The axes as the file has them: of one step there is no time, and later axes move up."""
    if form not in ("step", "unrolled"):
        return axes
    where = _time_axes(axes) if form == "step" else {}
    return {
        name: {axis - (name in where and axis > where[name]): s for axis, s in one.items() if s != TIME}
        for name, one in axes.items()
    }


def _length(plan: Plan) -> int | None:
    where = _time_axes(plan.inputs)
    return next((plan.example[name].shape[axis] for name, axis in where.items()), None)


def _layer(record: Recorded) -> Layer:
    layer = record.original
    cell = getattr(layer, "rnn_cell", layer)
    counts: list[int] | list[None] = [None, None]
    if isinstance(cell, ncps.torch.LTCCell):
        counts = [int((mask != 0).sum()) for mask in (cell.sparsity_mask, cell.sensory_sparsity_mask)]
    elif isinstance(cell, ncps.torch.WiredCfCCell):
        counts = [int(one.sum()) for one in reversed(connections(cell))]
    return Layer(
        path=record.path,
        kind=type(layer).__name__,
        neurons=record.folded.state_size,
        synapses=counts[0],
        sensory_synapses=counts[1],
        span=record.span,
    )
