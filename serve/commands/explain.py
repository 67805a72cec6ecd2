"""The command that explains one answer: `explain`."""

from pathlib import Path
from typing import Annotated

import typer

from liquidlens.console import console
from liquidlens.files import replacing
from liquidlens.serve.commands.options import At, AtMm, Device, Model, pointed


def explain(
    model: Model,
    scan: Annotated[str, typer.Argument(help="A scan, as of `predict`.")],
    out: Annotated[Path, typer.Option(help="The page to write; it shows the scan.")] = Path("explanation.html"),
    at: At = None,
    at_mm: AtMm = None,
    device: Device = "auto",
) -> None:
    """Explain the answer for one scan on a page: occlusion, slices, and the trace of liquid neurons."""
    from liquidlens.imaging import read_safely
    from liquidlens.serve.explain.page import page
    from liquidlens.serve.predict.predictor import Predictor

    with console.status("Loading") as status:
        predictor = Predictor(model, device)
        pixels = read_safely(scan, colour=predictor.manifest.input.channels == 3)
        pixels = pointed(pixels, scan, predictor.manifest, at, at_mm)
        file, mark, item = scan.partition("#")
        html = page(
            predictor,
            pixels,
            Path(file).name + mark + item,
            say=lambda done, total: status.update(f"Hiding parts of the scan: {done} of {total}"),
        )
    with replacing(out) as partial:
        partial.write_text(html, encoding="utf-8")
    console.print(f"Page: {out}", soft_wrap=True)
