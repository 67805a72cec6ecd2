"""How long a table takes until training begins: read in this process, in worker processes, and found in the cache.

``.venv/bin/python -m benchmarks.second_start TABLE --spacing 1``.  Medians of alternating rounds in one process; what
the system keeps of the files in memory is the same for all.  Without a table: nodules that are made for it.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from liquidlens.cores import usable_cores
from liquidlens.imaging.phantoms import nodules
from liquidlens.manifest import InputContract
from liquidlens.train import datasets
from liquidlens.train.datasets import Reading, cache, readers
from liquidlens.train.loop.prepare import prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", nargs="?")
    parser.add_argument("--labels", default="benign,malignant")
    parser.add_argument("--spacing", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    reading = Reading(labels=tuple(arguments.labels.split(",")), spacing=(arguments.spacing,) * 3)
    found: dict[str, list[float]] = {}
    most = readers.MOST
    with tempfile.TemporaryDirectory() as folder:
        table = arguments.table or str(nodules.write_lung_nodules(Path(folder) / "set", 400))
        for round_ in range(arguments.repeats):
            kept = str(Path(folder) / f"cache-{round_}")
            for name, where, workers in (
                ("in this process, nothing kept", "off", 1),
                ("in worker processes, nothing kept", "off", most),
                ("the first start", kept, most),
                ("the second start", kept, most),
            ):
                os.environ[cache.FOLDER] = where
                readers.MOST = workers
                began = time.perf_counter()
                count = _until_training_begins(table, reading, arguments.size)
                found.setdefault(name, []).append(time.perf_counter() - began)
    seconds = {name: statistics.median(times) for name, times in found.items()}
    first = next(iter(seconds.values()))
    shown = Table("", "seconds", "ratio", title=f"{count:,} scans of {Path(table).name}, {usable_cores()} cores")
    for name, taken in seconds.items():
        shown.add_row(name, f"{taken:.2f}", f"{first / taken:.1f}x")
    Console(width=100).print(shown)


def _until_training_begins(table: str, reading: Reading, size: int) -> int:
    dataset = datasets.load(table, reading=reading)
    contract = InputContract(dataset.values, (size,) * 3, dataset.window, spacing=dataset.spacing)
    return sum(len(prepare(dataset.scans[split], contract)) for split in datasets.SPLITS)


if __name__ == "__main__":
    main()
