"""The command that predicts on the screen: `predict`."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from liquidlens.console import console, fail, show_traceback
from liquidlens.errors import LiquidLensError
from liquidlens.serve.commands.options import At, AtMm, Device, Limits, Model, Signature, Threads, pointed

if TYPE_CHECKING:
    from liquidlens.manifest import Manifest


def predict(
    model: Model,
    scans: Annotated[
        list[str],
        typer.Argument(
            help="Scans: DICOM files, folders or zip archives, NIfTI, NumPy, PNG, JPEG, TIFF or BMP; FILE#ITEM names "
            "one of many."
        ),
    ],
    device: Device = "auto",
    threads: Threads = None,
    limits: Limits = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Read files of your own faster: without a process of its own for each.")
    ] = False,
    require_signature: Signature = None,
    at: At = None,
    at_mm: AtMm = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write a table, as `liquidlens batch` does, which can also replace one."),
    ] = None,
) -> None:
    """Predict the label of each scan with an exported model."""
    if out is not None:
        if trust:
            raise LiquidLensError("--trust is for scans on the screen; for a table, give --out alone.")
        if at is not None or at_mm is not None:
            raise LiquidLensError(
                "--at and --at-mm are of one scan on the screen; for a table, give a list of scans with the columns "
                "slice, row, column or x, y, z."
            )
        from liquidlens.serve.commands.batch import batch

        batch(
            model,
            scans,
            out,
            device=device,
            threads=threads,
            limits=limits,
            require_signature=require_signature,
            as_json=as_json,
        )
        return
    from liquidlens.imaging import read, read_safely
    from liquidlens.imaging.budget import parse_budget
    from liquidlens.serve.predict import Predictor

    if len(scans) > 1 and (at is not None or at_mm is not None):
        raise LiquidLensError(
            f"A point is of one scan, and {len(scans)} are given; `batch` takes a list with the columns slice, row, "
            "column or x, y, z."
        )
    budget = parse_budget(limits or ())
    predictor = Predictor(model, device, threads, require_signature)
    colour = predictor.manifest.input.channels == 3
    rows: list[dict] = []
    failures: list[str] = []
    for source in scans:
        try:
            started = time.perf_counter()
            scan = (read if trust else read_safely)(source, budget, colour=colour)
            scan = pointed(scan, source, predictor.manifest, at, at_mm)
            reading = 1000 * (time.perf_counter() - started)
            row = predictor.predict(scan, name=source).to_json()
            row["milliseconds"] = {"read": reading, **row["milliseconds"]}
            if predictor.manifest.input.spacing is not None:
                row["centre"] = scan.centre
            rows.append({"scan": source, **row})
        except LiquidLensError as error:
            show_traceback()
            rows.append({"scan": source, "error": str(error)})
            hint = " For a folder of many scans there is `liquidlens batch`." if Path(source).is_dir() else ""
            failures.append(f"{error}{hint}")
    if as_json:
        answer = {"model": predictor.manifest.model, "device": predictor.device, "predictions": rows}
        print(json.dumps(answer, indent=2))
    elif len(failures) < len(rows):
        _print_predictions([row for row in rows if "error" not in row], predictor.manifest, predictor.device)
    if failures:
        fail(*failures)


def _print_predictions(rows: list[dict], manifest: "Manifest", device: str) -> None:
    names = [row["scan"] for row in rows]
    labels = manifest.labels[-1:] if len(manifest.labels) == 2 else manifest.labels
    columns: list[Column | str] = [
        Column("scan", overflow="fold"),
        "label",
        *(f"p({label})" for label in labels),
        "reading",
        "model",
    ]
    table = Table(*columns, title=f"{manifest.model} on {device}")
    for name, row in zip(names, rows, strict=True):
        probabilities = (f"{row['probabilities'][label]:.3f}" for label in labels)
        label = f"{row['label']} (not sure)" if row["abstained"] else row["label"]
        times = (f"{row['milliseconds'][stage]:.1f} ms" for stage in ("read", "total"))
        table.add_row(name, label, *probabilities, *times)
    console.print(table)
    for name, row in zip(names, rows, strict=True):
        for note in row["notes"]:
            console.print(f"{name}: {note}", style="dim", soft_wrap=True)
    for name, row in ((name, row) for name, row in zip(names, rows, strict=True) if row["ood"]):
        console.print(
            f"{name} is unlike the scans the model was trained on (score {row['ood_score']:.1f}, usual up to "
            f"{row['ood_threshold']:.1f}): do not rely on its label.",
            style="yellow",
            soft_wrap=True,
        )
    console.print(manifest.intended_use, style="dim")
