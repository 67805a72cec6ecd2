"""The command that writes synthetic scans to try the others with: `phantom`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from liquidlens.console import console
from liquidlens.errors import unknown


def phantom(
    kind: Annotated[str, typer.Argument(help="lung-nodules: CT-like volumes in Hounsfield units, with a table.")],
    out: Annotated[Path, typer.Argument(help="The folder to write, new or empty.")],
    scans: Annotated[int, typer.Option(min=1, help="How many.")] = 80,
    form: Annotated[
        Literal["nifti", "dicom"], typer.Option("--format", help="A file for each scan, or a DICOM series.")
    ] = "nifti",
    seed: Annotated[int, typer.Option(min=0, help="Other numbers give other scans.")] = 0,
    shortcut: Annotated[
        bool, typer.Option("--shortcut", help="Let the distance of slices give the label away: `data` finds it.")
    ] = False,
) -> None:
    """Write synthetic scans and their table, as a person would have them."""
    from liquidlens.imaging.phantoms import nodules

    if kind != "lung-nodules":
        raise unknown("phantom", kind, ["lung-nodules"])
    table = nodules.write_lung_nodules(out, scans, form, seed, shortcut)
    console.print(f"{scans} scans and their table: {table}", soft_wrap=True)
    console.print(f"Next: liquidlens data {table}", soft_wrap=True)
