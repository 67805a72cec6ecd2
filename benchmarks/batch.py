"""The batch script against what it cannot be faster than: a bare loop of ONNX Runtime, and reading alone.

``make bench-batch`` runs this.  Phantom vessels of 28 x 28 x 28, the pretrained vessel model, runs side by side on all
cores, one process for reading.  Each round measures reading, and bare runs of a part of the scans, before and after the
job, and compares their means with it; shown are medians of rounds.  A job's time is that from its first look at the
journal to the written table; Python has started before.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
from rich.console import Console
from rich.table import Table

from liquidlens import memory
from liquidlens.imaging.collection import Place
from liquidlens.imaging.phantoms import vessel3d
from liquidlens.imaging.readers import read_many
from liquidlens.serve.batch.inputs import Inputs
from liquidlens.serve.predict.predictor import Predictor

#: Different phantoms; the others are these, rolled along an axis.
DIFFERENT = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=20_000)
    parser.add_argument("--few", type=int, default=2_000, help="scans of the job whose memory is compared")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--readers", type=int, default=1)
    parser.add_argument(
        "--before",
        type=os.path.abspath,
        help="a folder with an older package (pip install --target), whose job takes turns",
    )
    arguments = parser.parse_args()
    console = Console(width=130)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = write(folder, arguments.scans)
        few = write(folder / "few", arguments.few)
        table = Table("", *sources, title=f"{arguments.scans:,} scans, {arguments.readers} reader(s)")
        rows = [measure(source, few[kind], arguments) for kind, source in sources.items()]
        for figure in rows[0]:
            table.add_row(figure, *(row[figure] for row in rows))
        console.print(table)


def write(folder: Path, scans: int) -> dict[str, str]:
    """The same scans as one compressed stack, and as a folder of NIfTI files."""
    phantoms = vessel3d(seed=0, splits={"test": DIFFERENT})["test_images"]
    stack = np.concatenate([np.roll(phantoms, turn, axis=1) for turn in range(-(-scans // DIFFERENT))])[:scans]
    (folder / "nifti").mkdir(parents=True)
    np.savez_compressed(folder / "stack.npz", scans=stack)
    for i, scan in enumerate(stack):
        nibabel.save(nibabel.Nifti1Image(scan.T, np.diag([-1.0, -1, 1, 1])), folder / "nifti" / f"{i:06}.nii.gz")
    return {".npz": str(folder / "stack.npz"), ".nii.gz": str(folder / "nifti")}


def measure(source: str, few: str, arguments: argparse.Namespace) -> dict[str, str]:
    memory.keep_freed()
    predictor = Predictor("vessel", "cpu")
    rounds = []
    for _ in range(arguments.repeats):
        before = bare(predictor, arguments.few), read_alone(source, arguments.readers)
        rate, peak = job(source, arguments.readers)
        after = bare(predictor, arguments.few), read_alone(source, arguments.readers)
        inference, reading = (statistics.mean(pair) for pair in zip(before, after, strict=True))
        less = peak - job(few, arguments.readers)[1]
        older = job(source, arguments.readers, arguments.before)[0] if arguments.before else math.nan
        to_others = rate / inference, rate / min(inference, reading), rate / older
        rounds.append((inference, reading, rate, *to_others, peak, less))
    inference, reading, rate, *ratios, peak, less = map(statistics.median, zip(*rounds, strict=True))
    return {
        "bare runs side by side, scans in memory": f"{inference:,.0f}/s",
        "reading alone": f"{reading:,.0f}/s",
        "the job": f"{rate:,.0f}/s",
        "job / bare runs": f"{ratios[0]:.0%}",
        **({"job / that of the older package": f"{ratios[2]:.2f}x"} if arguments.before else {}),
        "job / slower of both": f"{ratios[1]:.0%}, rounds " + ", ".join(f"{r[4]:.0%}" for r in rounds),
        "peak memory, all processes": f"{peak:,.0f} MB",
        f"more than with {arguments.few:,} scans": f"{less:+,.0f} MB",
    }


def bare(predictor: Predictor, scans: int) -> float:
    """Scans per second of bare runs, in the batches that `predict_many` makes, as many at once as it makes."""
    phantoms = vessel3d(seed=0, splits={"test": DIFFERENT})["test_images"].astype(np.float32)
    size = predictor.together(phantoms.shape[1:])
    batches = [phantoms[i : i + size] for i in range(0, DIFFERENT - size + 1, size)] * max(1, scans // DIFFERENT)
    with ThreadPoolExecutor(predictor.lanes) as lanes:
        list(lanes.map(partial(predictor.run, beside=True), batches[: 4 * predictor.lanes]))  # each opens its session
        started = time.perf_counter()
        list(lanes.map(partial(predictor.run, beside=True), batches))
        return len(batches) * size / (time.perf_counter() - started)


def read_alone(source: str, readers: int) -> float:
    """Scans per second that the readers give, if nothing is done with them."""
    started = time.perf_counter()
    places: Sequence[tuple[int, Place]] = list(Inputs([source], 3))
    scans = sum(1 for _ in read_many(places, readers, axes=3))
    return scans / (time.perf_counter() - started)


def job(source: str, readers: int, package: str | None = None) -> tuple[float, float]:
    """Scans per second of the batch script, and the peak memory of all its processes in MB.  package: the folder of
    another one than this."""
    environment = {**os.environ, **({} if package is None else {"PYTHONPATH": package})}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.csv"
        command = [sys.executable, "-m", "liquidlens", "batch", "vessel", source, "--out", str(out), "--json"]
        process = subprocess.Popen(
            [*command, "--readers", str(readers)], stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        )
        peaks = [0.0]
        watcher = threading.Thread(target=_watch, args=(process, peaks))
        watcher.start()
        said, _ = process.communicate()
        watcher.join()
        summary = json.loads(said)
        assert summary["errors"] == 0
        return summary["predicted"] / summary["seconds"], peaks[0]


def _watch(process: subprocess.Popen, peaks: list[float]) -> None:
    """Keep the largest sum of what the process and its children have in memory, shared pages counted once for each."""
    while process.poll() is None:
        total = 0
        for child in [str(process.pid), *_children(process.pid)]:
            try:
                pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
            total += pages * os.sysconf("SC_PAGE_SIZE")
        peaks[0] = max(peaks[0], total / 1e6)
        time.sleep(0.05)


def _children(pid: int) -> list[str]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += task.read_text().split()
        except OSError:
            continue
    return found


if __name__ == "__main__":
    main()
