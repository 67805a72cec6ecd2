"""The demonstration: train a liquid model, export it, predict the test scans from files in the device environment.

``make demo`` runs this.  Everything it leaves lies in the folder ``demo/``; a second run starts over.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import nibabel
import numpy as np
from rich.console import Console
from rich.table import Table

from liquidlens import export, metrics, train
from liquidlens.errors import LiquidLensError
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.train import datasets

MODEL = "LiquidLens-S"
RECIPE = "liquidlens"
#: Of the recipe's 30, so that nobody waits longer than six minutes on two cores.
EPOCHS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", required=True, help="the liquidlens command of the device environment")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--data", default="vesselmnist3d", choices=suitable())
    parser.add_argument("--out", type=Path, default=Path("demo"))
    arguments = parser.parse_args()
    console = Console(markup=False, highlight=False)

    data = arguments.data
    try:
        dataset = datasets.load(data)
    except datasets.DataUnavailableError as error:
        console.print(error, "\nThe demo goes on with SYNTHETIC phantoms.", style="yellow", soft_wrap=True)
        data = datasets.PHANTOM
        dataset = datasets.load(data)
    for folder in ("runs", "bundle", "scans"):
        shutil.rmtree(arguments.out / folder, ignore_errors=True)

    console.rule(f"1. Train {MODEL} on {data}, recipe {RECIPE}, {arguments.epochs} epochs")
    started = time.perf_counter()
    run = train.train(MODEL, data, RECIPE, changes={"max_epochs": arguments.epochs}, runs=arguments.out / "runs")
    training_seconds = time.perf_counter() - started

    console.rule("2. Export to ONNX and check parity with torch")
    started = time.perf_counter()
    bundle = export.export(run.path, arguments.out / "bundle")
    export_seconds = time.perf_counter() - started
    console.print(f"{bundle.model}: {bundle.model.stat().st_size:,} bytes")

    console.rule("3. Predict the test scans from files, where there is no torch")
    files = _write_scans(dataset.scans["test"], arguments.out / "scans")
    command = [arguments.device, "predict", "--device", "cpu", "--trust", str(bundle.model)]  # files of our own
    subprocess.run([*command, *files[:5]], check=True)  # what a person sees
    answer = subprocess.run([*command, *files, "--json"], check=True, capture_output=True, text=True).stdout
    predictions = json.loads(answer)["predictions"]
    positive = dataset.label_names[-1]
    positives = np.array([prediction["probabilities"][positive] for prediction in predictions])
    probabilities = np.column_stack([1 - positives, positives])
    truth = dataset.labels["test"]

    started = time.perf_counter()
    subprocess.run(
        [*command, _write_nifti(np.asarray(dataset.scans["test"][0]), arguments.out)], check=True, capture_output=True
    )
    process_seconds = time.perf_counter() - started

    latency = statistics.median(prediction["milliseconds"]["run"] for prediction in predictions)
    flagged = sum(prediction["ood"] for prediction in predictions)
    table = Table("", "", show_header=False, title=f"{MODEL} on {data}{' (SYNTHETIC)' if dataset.synthetic else ''}")
    table.add_row("test scans, read from files", f"{len(truth)}")
    table.add_row("test AUC", f"{metrics.auc(truth, probabilities):.3f}")
    if not dataset.synthetic:
        table.add_row("test AUC of the official 64-voxel files", _finer_auc(Predictor(bundle.model), data))
    table.add_row("test accuracy", f"{metrics.accuracy(truth, probabilities):.3f}")
    table.add_row("flagged as unlike the training scans", f"{flagged}")
    table.add_row("trainable parameters", f"{bundle.manifest.parameters.trainable:,}")
    table.add_row("file size", f"{bundle.model.stat().st_size / 1000:.0f} kB")
    chosen = next(variant for variant in bundle.document.variants if variant.recommended)
    same = f"logits within {chosen.max_logit_difference:.0e}, {chosen.changed_labels} labels changed"
    table.add_row(f"parity of {chosen.precision} with torch", same)
    table.add_row("latency per scan, CPU", f"{latency:.1f} ms (median)")
    table.add_row("one NIfTI scan, process start to finish", f"{process_seconds:.2f} s")
    table.add_row("training, export", f"{training_seconds:.0f} s, {export_seconds:.0f} s")
    console.print(table)
    console.print(bundle.manifest.intended_use, style="dim")


def suitable() -> list[str]:
    """The datasets that this is written for: volumes of 28 x 28 x 28, two classes."""
    return [one.name for one in datasets.sources() if one.size == "28 x 28 x 28" and len(one.label_names) == 2]


def _finer_auc(predictor: Predictor, data: str) -> str:
    """The same model on the dataset's 64-voxel files: the graph resizes them."""
    try:
        finer = datasets.load(f"{data}_64")
    except LiquidLensError:
        return "not at hand"
    parts = np.array_split(finer.scans["test"], 12)
    probabilities = np.concatenate([predictor.run(part)["probabilities"] for part in parts])
    return f"{metrics.auc(finer.labels['test'], probabilities):.3f}"


def _write_nifti(scan: np.ndarray, folder: Path) -> str:
    path = folder / "scans" / "first.nii.gz"
    nibabel.save(nibabel.Nifti1Image(scan.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0])), path)  # LPS axes
    return str(path)


def _write_scans(scans: datasets.Scans, folder: Path) -> list[str]:
    folder.mkdir(parents=True)
    paths = [folder / f"test-{i:03}.npy" for i in range(len(scans))]
    for path, scan in zip(paths, scans, strict=True):
        np.save(path, scan)
    return [str(path) for path in paths]


if __name__ == "__main__":
    main()
