"""Arguments that several of the device's commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
