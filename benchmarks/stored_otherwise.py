"""How far a file's answers move when the same scans are stored otherwise: against evaluation, as DICOM, in air, finer.

``.venv/bin/python -m benchmarks.stored_otherwise RUN MODEL.onnx``, of a run with a spacing on a table with points or
masks.  Each test scan is read from its own file and looked at where training looked.  Finer are voxels in so many parts
of the same value, and what ``scipy.ndimage.zoom`` with ``grid_mode=True`` makes of its values, which keeps the outer
edges of the scan where they are, as torch's ``interpolate`` does: linear between the voxels, and flat for the half
voxel beyond the outer ones.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.ndimage import zoom

from liquidlens.imaging import Scan, read
from liquidlens.imaging.phantoms import nodules
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.train import datasets
from liquidlens.train.datasets.dataset import Placed
from liquidlens.train.evaluation import evaluate_run
from liquidlens.train.loop.fit import raw_splits
from liquidlens.train.run import RunFolder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--scans", type=int, default=40, help="so many are stored otherwise")
    arguments = parser.parse_args()
    recipe = RunFolder(arguments.run).recipe()
    dataset = datasets.load(recipe.dataset, reading=recipe.reading)
    places = raw_splits(dataset, recipe)[0]["test"]
    predictor = Predictor(arguments.model, "cpu", threads=1)
    evaluated = evaluate_run(arguments.run)

    def answer(scan: Scan) -> np.ndarray:
        return np.array([*predictor.predict(scan).probabilities.values()])

    moved: dict[str, list[float]] = {}

    def compare(name: str, expected: np.ndarray, scan: Scan) -> None:
        moved.setdefault(name, []).append(float(np.abs(answer(scan) - expected).max()))

    for i, (path, probabilities) in enumerate(zip(evaluated.paths, evaluated.probabilities, strict=True)):
        place = places[i]
        assert isinstance(place, Placed)
        scan = read(Path(recipe.dataset).parent / path).pointed(place.centre.tolist())
        compare("its own file, against evaluation", probabilities, scan)
        if i < arguments.scans:
            expected = answer(scan)
            compare("a DICOM series, slices shuffled", expected, as_series(scan, i))
            compare("in 200 x 400 x 400 voxels of air", expected, in_air(scan))
            for factor in (2, 3):
                compare(f"{factor} times the resolution, repeated", expected, resampled(scan, factor, order=0))
                compare(f"{factor} times the resolution, linear", expected, resampled(scan, factor, order=1))
    shown = Table("scans stored as", "scans", "median", "at most", title="change of the probability")
    for name, changes in moved.items():
        shown.add_row(name, str(len(changes)), f"{np.median(changes):.1e}", f"{max(changes):.1e}")
    Console(width=100).print(shown)


def in_air(scan: Scan) -> Scan:
    assert scan.centre is not None
    pixels = np.full((200, 400, 400), -1000, np.float32)
    corner = [(long - short) // 2 for long, short in zip(pixels.shape, scan.pixels.shape, strict=True)]
    ends = zip(corner, scan.pixels.shape, strict=True)
    pixels[tuple(slice(start, start + length) for start, length in ends)] = scan.pixels
    within = Scan(pixels, scan.spacing, units=scan.units)
    return within.pointed([at + start for at, start in zip(scan.centre, corner, strict=True)])


def resampled(scan: Scan, factor: int, order: int) -> Scan:
    """The same piece of the patient with so many voxels for each along every axis; order: of the spline."""
    assert scan.spacing is not None
    assert scan.centre is not None
    pixels = zoom(scan.pixels.astype(np.float32), factor, order=order, mode="nearest", grid_mode=True)
    slices, rows, columns = (mm / factor for mm in scan.spacing)
    finer = Scan(pixels, (slices, rows, columns), units=scan.units)
    return finer.pointed([(at + 0.5) * factor - 0.5 for at in scan.centre])  # counted from the edge


def as_series(scan: Scan, number: int) -> Scan:
    """As read from a DICOM series whose files are named in no order."""
    assert scan.spacing is not None
    slices, rows, columns = scan.spacing
    made = dataclasses.replace(
        nodules.lung_nodule(number), pixels=scan.pixels.round().astype(np.int16), spacing=(slices, rows, columns)
    )
    with tempfile.TemporaryDirectory() as folder:
        nodules.write_series(Path(folder) / "series", made, number)
        return dataclasses.replace(read(Path(folder) / "series"), centre=scan.centre)


if __name__ == "__main__":
    main()
