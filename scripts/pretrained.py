"""Exporting the models that come with the checkout again, from their kept runs: ``make pretrained``.

``models/pretrained/runs/NAME`` holds what training left (recipe, figures, weights as safetensors), and
``models/pretrained/NAME`` what people need of the bundle that is exported from it: the file, its manifest, card and
audit, and the answers that other runtimes must give.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from liquidlens.export.bundle import staged, write_checksums
from liquidlens.export.options import Options
from liquidlens.export.pipeline import export
from liquidlens.serve.predict.pretrained import FOLDER

KEPT = ("model.onnx", "model.json", "CARD.md", "AUDIT.html", "golden.npz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="by default all")
    parser.add_argument("--data-root", type=Path, help="folder with the datasets")
    arguments = parser.parse_args()
    runs = {run.name: run for run in sorted((FOLDER / "runs").iterdir())}
    if unknown := ", ".join(set(arguments.names) - set(runs)):
        parser.error(f"no kept run of {unknown}: there are {', '.join(runs)}")
    for run in runs.values():
        if run.name in arguments.names or not arguments.names:
            path = export_again(run, FOLDER / run.name, arguments.data_root)
            print(f"{run.name}: {path}, {path.stat().st_size:,} bytes")


def export_again(run: Path, out: Path, data_root: Path | None) -> Path:
    """Export a run, in fp32 only, and keep what people need; returns the file."""
    with tempfile.TemporaryDirectory() as folder, staged(out) as staging:
        bundle = export(run, Path(folder) / run.name, Options(precisions=()), data_root)
        for name in KEPT:
            shutil.copy(bundle.path / name, staging)
        write_checksums(staging)
    return out / "model.onnx"


if __name__ == "__main__":
    main()
