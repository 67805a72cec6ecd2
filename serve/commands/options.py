"""Arguments that several of the device's commands share."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liquidlens.console import numbers
from liquidlens.errors import LiquidLensError

if TYPE_CHECKING:
    from liquidlens.imaging import Scan
    from liquidlens.manifest import Manifest

Model = Annotated[str, typer.Argument(help="An exported .onnx file, a bundle, or the name of a pretrained model.")]
Models = Annotated[
    list[str] | None,
    typer.Argument(help="Exported .onnx files, bundles, or pretrained names; by default all of these."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or tensorrt; a device that cannot be had is an error.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; many scans take one each. Default: one per core.")
]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit", help="Another limit of a scan: seconds=600, file_bytes=8GiB. Repeatable.", metavar="NAME=VALUE"
    ),
]
Signature = Annotated[
    Path | None,
    typer.Option(help="A public key: refuse models that its owner has not signed.", metavar="KEY.pub"),
]
JsonLog = Annotated[bool, typer.Option("--json-log", help="Write the log as JSON, one object a line.")]
At = Annotated[
    str | None,
    typer.Option(
        help="The voxel to look at, counted from 0, for a model that sees a part of a volume; by default the middle.",
        metavar="SLICE,ROW,COLUMN",
    ),
]
AtMm = Annotated[
    str | None,
    typer.Option("--at-mm", help="The same in the patient's coordinates, DICOM's: LPS, in mm.", metavar="X,Y,Z"),
]


def pointed(scan: "Scan", name: str, manifest: "Manifest", at: str | None, at_mm: str | None) -> "Scan":
    """The scan, to be looked at where a person says.  Raises LiquidLensError if the model sees whole scans, if both are
    given, if they are no three numbers, or lie outside of the scan, which is called `name`."""
    if at is None and at_mm is None:
        return scan
    option, text = ("--at", at) if at is not None else ("--at-mm", at_mm)
    if at is not None and at_mm is not None:
        raise LiquidLensError("--at and --at-mm say the same in two ways: give one of them.")
    if manifest.input.spacing is None:
        raise LiquidLensError(f"{manifest.model} reads scans as wholes, and has no use for {option}.")
    place = numbers(text or "", float, option)
    if len(place) != 3 or not all(map(math.isfinite, place)):
        raise LiquidLensError(f"{option} takes three numbers, as in 40,120,88, not {text!r}.")
    try:
        return scan.pointed(place if at is not None else scan.voxel_at(place))
    except LiquidLensError as error:
        raise LiquidLensError(f"{name}: {error}") from error
