"""The commands that make and check files: `export`, `onnx`, `audit`."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from liquidlens.commands.options import DataRoot
from liquidlens.console import console, fail
from liquidlens.errors import LiquidLensError
from liquidlens.files import replacing

T = TypeVar("T", bound=str)


def export(
    run: Annotated[Path, typer.Argument(help="A run folder that `liquidlens train` left.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the bundle; by default bundles/NAME-OF-RUN.")] = None,
    weights: Annotated[
        Literal["best", "last"],
        typer.Option(help="best: after the best epoch, as the recipe selects it. last: after the last one."),
    ] = "best",
    profiles: Annotated[
        str, typer.Option(help="Also write a liquid model as: unrolled (no loop), step (one slice at a time), or both.")
    ] = "",
    variants: Annotated[
        str, typer.Option(help="Precision variants besides fp32, separated by commas.")
    ] = "fp16,int8-dynamic,int8-static",
    calibration: Annotated[
        Literal["minmax", "entropy", "percentile"],
        typer.Option(help="How int8-static finds the ranges of activations."),
    ] = "minmax",
    calibration_scans: Annotated[int, typer.Option(help="On how many training scans.")] = 128,
    threshold: Annotated[
        str, typer.Option(help="Of a binary model: youden, a number, or a wanted sensitivity as in sensitivity=0.95.")
    ] = "youden",
    abstain: Annotated[float, typer.Option(help="Share of validation scans on which the model is to be unsure.")] = 0.1,
    auc_budget: Annotated[
        float, typer.Option(help="By how much the recommended variant's validation AUC may lie below that of fp32.")
    ] = 0.005,
    opset: Annotated[int, typer.Option(help="Version of ONNX's operator set, 18 to 23.")] = 20,
    triton: Annotated[Path | None, typer.Option(help="Also write this NVIDIA Triton model repository.")] = None,
    data_root: DataRoot = None,
) -> None:
    """Export a trained run to a bundle: complete ONNX files, compared with torch, audited and measured."""
    from liquidlens.export import Options
    from liquidlens.export.facts import PRECISIONS, PROFILES
    from liquidlens.export.measure.operating import parse_rule
    from liquidlens.train import RunFolder

    options = Options(
        weights=weights,
        profiles=_choices(profiles, PROFILES, "--profiles"),
        precisions=_choices(variants, PRECISIONS, "--variants"),
        calibration=calibration,
        calibration_scans=calibration_scans,
        threshold=parse_rule(threshold),
        abstain=abstain,
        auc_budget=auc_budget,
        opset=opset,
    )
    if triton is not None:
        from liquidlens.export.triton import destination

        destination(triton, (out or run).resolve().name)
    options.check()
    RunFolder(run).check_finished(weights)
    with console.status("Loading") as status:
        from liquidlens.export import export as export_run
        from liquidlens.export.pages.console import print_document

        bundle = export_run(run, out, options, data_root, say=lambda step: status.update(step))
    print_document(bundle.document)
    console.print(f"{bundle.path}: model.onnx, AUDIT.html, CARD.md, ...", style="bold", soft_wrap=True)
    if triton is not None:
        from liquidlens.export.triton import write

        write(bundle.model, triton, bundle.path.resolve().name, bundle.manifest)
        console.print(f"Triton model repository: {triton}", soft_wrap=True)
    if bundle.manifest.input.channels == 1:  # `predict` reads grey scans
        console.print(f"Next: liquidlens predict {bundle.model} SCAN...", soft_wrap=True)


def onnx(
    source: Annotated[
        str,
        typer.Argument(metavar="FILE:FUNCTION", help="A function of a Python file that returns module and example."),
    ],
    out: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    step: Annotated[bool, typer.Option("--step", help="One step a call, states in and out, without a loop.")] = False,
    unroll: Annotated[int | None, typer.Option(help="No loop: sequences of this length alone.")] = None,
    state: Annotated[
        Literal["auto", "zeros"],
        typer.Option(help="auto: hidden states are inputs and outputs. zeros: every call starts anew."),
    ] = "auto",
    opset: Annotated[int, typer.Option(help="Version of ONNX's operator set, 18 to 23.")] = 20,
    tolerance: Annotated[float, typer.Option(help="How far outputs may be from torch's.")] = 1e-5,
) -> None:
    """Write any torch module with layers of ncps as one exact ONNX file.

    The function takes nothing and returns the module and its example, a dict of tensors by the names of forward's
    parameters; the file is run.
    """
    from liquidlens.export.facts import check_opset
    from liquidlens.export.module.building import build
    from liquidlens.export.pages.console import print_exported

    check_opset(opset)
    with console.status("Exporting"):
        module, example = build(source)
        from liquidlens import export_onnx

        found = export_onnx(
            module, example, out, step=step, unroll=unroll, state=state, opset=opset, tolerance=tolerance
        )
    print_exported(found)


def audit(
    model: Annotated[
        Path, typer.Argument(help="Any ONNX file: one of a bundle, or one from elsewhere; or a pretrained model.")
    ],
    html: Annotated[Path | None, typer.Option(help="Write the page for people here.")] = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor that is stored, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables: all of it.")] = False,
) -> None:
    """Say whether an ONNX file is what was exported, and what it holds: exit code 1 if it is not."""
    from liquidlens.export.checks.audit import audit as audit_file
    from liquidlens.export.facts import to_json
    from liquidlens.export.pages.console import print_audit

    found = audit_file(model)
    if html is not None:
        from liquidlens.export.pages.report import audit_html

        with replacing(html) as partial:
            partial.write_text(audit_html(found), encoding="utf-8")
    if as_json:
        print(to_json(found), end="")
    else:
        print_audit(found, tensors)
        if html is not None:
            console.print(f"Page: {html}", soft_wrap=True)
    if found.problems:
        fail(*found.problems, code=1)


def _choices(text: str, allowed: tuple[T, ...], option: str) -> tuple[T, ...]:
    """Names separated by commas."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    chosen = tuple(name for name in allowed if name in names)
    if len(chosen) < len(set(names)):
        raise LiquidLensError(f"{option} takes some of {', '.join(map(str, allowed))}, not {text!r}.")
    return chosen
