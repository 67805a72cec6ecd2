"""Checks: the file against the module as ncps runs it, pieces and single steps against the whole."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from liquidlens.errors import LiquidLensError, first_line
from liquidlens.export.checks.module_report import Checks
from liquidlens.export.module.folding import culprit
from liquidlens.export.module.inputs import BATCH, TIME, difference
from liquidlens.export.module.plan import Plan, Run, sizes_in_words

#: Batches and lengths that are compared, where they may vary; 0 stands for the example's length.
SIZES = ((1, 0), (4, 7), (3, 1), (2, 33))
PIECES = (3, 1, 3)


def check(
    plan: Plan, content: bytes, form: str, length: int | None, tolerance: float, edges: Sequence[int] = ()
) -> Checks:
    """Compare a file with the module.  Raises LiquidLensError, which names the layer, if it differs by more than the
    tolerance.

    length: the fixed one of an unrolled file, else the example's; None where there is no axis of time.  edges: further
    batches and lengths to compare, where the module takes them.
    """
    run = runner(content, plan, step=form == "step")
    sizes = _sizes(plan, form, length, SIZES)
    farther = _sizes(plan, form, length, [size for edge in edges for size in ((edge, 0), (2, edge))])
    sizes += [one for one in farther if one not in sizes and _takes(plan, one)]
    gaps = []
    for seed, one in enumerate(sizes):
        expected = plan.asked(plan.truth, one, seed)
        tensors = plan.sized(seed, **one)
        try:
            found = plan.in_pieces(run, tensors, [1] * one[TIME]) if form == "step" else run(tensors)
        except Exception as error:  # ONNX Runtime raises a dozen unrelated types
            raise LiquidLensError(
                f"The file fails with {sizes_in_words(one)}, which the module takes: torch.export fixed a length that "
                "is to vary. Name the axes that may vary in dynamic={'x': {0: 'batch'}}, or fix the length with "
                f"unroll. Nothing was written. ({first_line(error)})"
            ) from error
        gaps.append(difference(found, expected))
    compared = {"torch": _worst(gaps)}
    if form == "loop" and plan.streams(tolerance):
        tensors = plan.sized(len(sizes), **plan.traced | {TIME: sum(PIECES)})
        whole = run(tensors)
        compared["pieces"] = difference(plan.in_pieces(run, tensors, PIECES), whole)
        compared["steps"] = difference(plan.in_pieces(run, tensors, [1] * sum(PIECES)), whole)
    for name, gap in compared.items():
        if not gap <= tolerance:
            what = "torch" if name == "torch" else f"itself in {name}"
            raise LiquidLensError(
                f"The file disagrees with {what}: outputs differ by {gap:.2g} (allowed: {tolerance:.0e})"
                f"{_where(sizes, gaps, farther) if name == 'torch' else ''}.{culprit(plan.records, tolerance)} Nothing "
                "was written."
            )
    return Checks(tolerance=tolerance, sizes=tuple(sizes), **compared)


def _sizes(plan: Plan, form: str, length: int | None, wanted: Sequence[tuple[int, int]]) -> list[dict[str, int]]:
    """Different sizes to compare, of the axes that may vary."""
    found: list[dict[str, int]] = []
    for batch, steps in wanted:
        sizes = {BATCH: batch, TIME: length if form == "unrolled" else steps or length}
        one = {symbol: size for symbol, size in sizes.items() if symbol in plan.symbols and size is not None}
        if one not in found:
            found.append(one)
    return found


def _takes(plan: Plan, sizes: Mapping[str, int]) -> bool:
    """Whether the module takes inputs of these sizes."""
    try:
        plan.asked(plan.truth, sizes)
    except LiquidLensError:
        return False
    return True


def _where(sizes: list[dict[str, int]], gaps: list[float], farther: list[dict[str, int]]) -> str:
    """For which sizes outputs differ most."""
    size = sizes[int(np.argmax(gaps))]
    why = ": forward does something else with such a length, which a file cannot" if size in farther else ""
    return f" with {sizes_in_words(size)}{why}"


def _worst(gaps: list[float]) -> float:
    """The largest; NaN if one is."""
    return float(np.max(gaps))


def runner(content: bytes, plan: Plan, step: bool = False) -> Run:
    """Run a file like the module that it is of; one of the form step on sequences of one step."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what fails is said by `check`
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    taken = {value.name for value in session.get_inputs()}
    before = {name: axis for name, axes in plan.inputs.items() for axis, one in axes.items() if one == TIME}
    after = {name: axis for name, axes in plan.outputs.items() for axis, one in axes.items() if one == TIME}

    def run(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        feeds = {name: tensor for name, tensor in tensors.items() if name in taken}
        if step:
            feeds = {n: t.squeeze(before[n]) if n in before else t for n, t in feeds.items()}
        found = session.run(names, {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in feeds.items()})
        outputs = {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}
        return {n: t.unsqueeze(after[n]) if step and n in after else t for n, t in outputs.items()}

    return run
