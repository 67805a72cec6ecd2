"""A point in a whole CT against the crop around it: time and memory of a file that looks at a field of view.

``.venv/bin/python -m benchmarks.field_of_view``.  One CPU thread; times are medians of alternating runs in one process.
Memory is what a process of its own takes at most beyond what it held before its first run, the scan included.
"""

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.liquid import alternate
from liquidlens.serve.predict import devices

#: Millimetres between slices, rows, columns of the CT, and the voxel to look at.
SPACING, POINT = (1.0, 0.7, 0.7), (150, 260, 250)
WHOLE, CROP = (300, 512, 512), 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--memory-of", nargs=2, metavar=("FILE", "SIZE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print(_grown(*arguments.memory_of))
        return
    torch.set_num_threads(1)
    content = _file()
    session = devices.session(content, [devices.CPU], 1)
    feeds = {size: _feed(size) for size in ("crop", "whole")}
    times = alternate([partial(session.run, None, feed) for feed in feeds.values()], arguments.repeats)
    table = Table("scan", "size", "time", "memory beyond the scan", title="LiqExp4N2, 28 x 28 x 28 voxels of 1 mm")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        for (size, feed), milliseconds in zip(feeds.items(), times, strict=True):
            command = [sys.executable, "-m", "benchmarks.field_of_view", "--memory-of", str(path), size]
            grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            shape = " x ".join(map(str, feed["scan"].shape[1:]))
            table.add_row(size, shape, f"{milliseconds:.2f} ms", f"{grown / 2**20:.1f} MiB")
    Console(width=130).print(table)


def _feed(size: str) -> dict[str, NDArray[np.float32]]:
    """The whole CT and the point, or the crop around it: the same answer."""
    shape = WHOLE if size == "whole" else (CROP,) * 3
    scan = np.full((1, *shape), -1000, np.float32)
    corner = [at - CROP // 2 if size == "whole" else 0 for at in POINT]
    z, y, x = (slice(at, at + CROP) for at in corner)
    scan[0, z, y, x] = np.random.default_rng(0).normal(-300, 400, (CROP,) * 3)
    centre = np.array([[at + CROP // 2 for at in corner]], np.float32)
    return {"scan": scan, "spacing": np.array([SPACING], np.float32), "centre": centre}


def _file() -> bytes:
    """A file with random weights."""
    from liquidlens import models
    from liquidlens.export.checks.golden import synthetic
    from liquidlens.export.complete import ood
    from liquidlens.export.complete.deployed import CompleteModel
    from liquidlens.export.graph.trace import serialize, to_onnx
    from liquidlens.manifest import InputContract
    from liquidlens.models.front import Front

    torch.manual_seed(0)
    contract = InputContract("hu", (28, 28, 28), (-1000.0, 400.0), spacing=(1.0, 1.0, 1.0))
    network, front = models.build("LiqExp4N2").eval(), Front(contract)
    with torch.no_grad():
        score = ood.fit(network.decide(front(torch.from_numpy(synthetic(contract, 12, contract.size)))).activations)
    return serialize(to_onnx(CompleteModel(front, network, 1.0, score).eval()), {})


def _grown(file: str, size: str) -> int:
    """Bytes by which this process grows at most while it runs the file."""
    feed = _feed(size)
    session = devices.session(Path(file).read_bytes(), [devices.CPU], 1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (Linux)
    before = _peak()
    for _ in range(3):
        session.run(None, feed)
    return _peak() - before


def _peak() -> int:
    """The most memory that this process has held, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
