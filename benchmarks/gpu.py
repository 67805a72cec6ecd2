"""Every device against the CPU: the same probabilities, which nodes ran where, and speed by batch size.

``make gpu-check`` runs this on a machine with an NVIDIA GPU.  Without one it says why, exit code 2; if a probability
differs by more than 1e-3, exit code 1.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from liquidlens.errors import LiquidLensError
from liquidlens.serve import bench
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.devices import DeviceError
from liquidlens.serve.predict.predictor import Predictor

TOLERANCE = 1e-3
DEVICES = ("cuda", "tensorrt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help=".onnx files or names of pretrained models; by default all of these")
    parser.add_argument("--batch", default="1,8,32", help="batch sizes, separated by commas")
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    try:
        paths = [pretrained.find(model) for model in arguments.models or pretrained.names()]
        if not paths:
            raise LiquidLensError(f"There is no model in {pretrained.FOLDER}: name an exported .onnx file.")
        sizes = [int(size) for size in arguments.batch.split(",")]
        worst = np.max([check(path, sizes, arguments.repeats) for path in paths])  # NaN if one is
    except LiquidLensError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    if not worst <= TOLERANCE:
        print(f"Error: a probability differs from the CPU's by {worst:.0e}.", file=sys.stderr)
        sys.exit(1)


def check(path: Path, sizes: list[int], repeats: int) -> float:
    """Print how one file does on each device; the largest difference of a probability from the CPU's.

    Raises DeviceError if CUDA cannot be had.  TensorRT may be missing, which is printed.
    """
    console = Console(markup=False, highlight=False)
    cpu = Predictor(path, "cpu")
    predictors = [cpu]
    for device in DEVICES:
        try:
            predictors.append(Predictor(path, device))
        except DeviceError as error:
            if device == "cuda":
                raise
            console.print(error, style="yellow", soft_wrap=True)
    table = Table("device", "batch", "median", "against CPU", "max |dp|", title=f"{path}: {cpu.manifest.model}")
    worst = 0.0
    for size in sizes:
        scans = bench.inputs(cpu.session, cpu.manifest.input, size)["scan"]
        expected = cpu.run(scans)["probabilities"]
        times = [median_milliseconds(predictor, scans, repeats) for predictor in predictors]
        for predictor, milliseconds in zip(predictors, times, strict=True):
            difference = float(np.abs(predictor.run(scans)["probabilities"] - expected).max())
            worst = float(np.maximum(worst, difference))
            ratio = f"{times[0] / milliseconds:.2f}x"
            table.add_row(predictor.device, str(size), f"{milliseconds:.2f} ms", ratio, f"{difference:.0e}")
    console.print(table)
    for predictor in predictors:
        counts = ", ".join(f"{count} nodes on {provider}" for provider, count in predictor.nodes.items())
        graph = ", as a CUDA graph" if predictor.replays else ""
        console.print(f"{predictor.device}: {counts} {graph}", soft_wrap=True)
    return worst


def median_milliseconds(predictor: Predictor, scans: NDArray, repeats: int) -> float:
    """The median time of a run, copies to the device and back included, after three to warm up."""
    times = []
    for _ in range(repeats + 3):
        started = time.perf_counter()
        predictor.run(scans)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[3:])


if __name__ == "__main__":
    main()
