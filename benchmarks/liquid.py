"""The liquid layer against ncps, and the exported files of liquid models: what training, exporting and loading cost.

``make bench`` runs this; ``--threads`` sets the number of CPU threads.  Times are medians of alternating runs in one
process; ratios matter more than milliseconds, which depend on the machine.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import ncps.torch
import numpy as np
import onnxruntime
import torch
from ncps.wirings import AutoNCP, FullyConnected
from rich.console import Console
from rich.progress import track
from rich.table import Table

import models
from export import ood
from export.complete import CompleteModel
from export.graph import serialize, to_onnx
from imaging import phantoms
from models.front import Front, InputContract
from models.liquid import LTC

BATCH, STEPS, FEATURES = 64, 28, 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    console = Console()

    table = Table("layer", "ncps", "ours", "ratio", title=f"One training step, batch {BATCH}, {STEPS} x {FEATURES}")
    for name, wiring in (("LiqExp1N2: AutoNCP(21, 1)", AutoNCP), ("LiqExp2N2: FullyConnected(21, 1)", FullyConnected)):
        theirs, ours = ncps.torch.LTC(FEATURES, wiring(21, 1)), LTC(FEATURES, wiring(21, 1))
        x = torch.rand(BATCH, STEPS, FEATURES, requires_grad=True)
        a, b = _alternate([partial(_training_step, theirs, x), partial(_training_step, ours, x)], arguments.repeats)
        table.add_row(name, f"{a:.1f} ms", f"{b:.1f} ms", f"{a / b:.2f}x")
    console.print(table)

    table = Table("exported file", "export", "size", "load", "batch 1", "batch 32", title="Complete files, untrained")
    for name in track(("LiqExp1N2", "LiqExp2N2", "LiqExp4N2", "CNNExp1N1"), "Exporting", transient=True):
        table.add_row(name, *_measure_export(name, arguments))
    console.print(table)


def _measure_export(name: str, arguments: argparse.Namespace) -> list[str]:
    network = models.build(name).eval()
    scans = phantoms.vessel3d(splits={"train": 64})["train_images"].astype(np.float32)
    front = Front(InputContract("mask", models.entry(name).input_shape[1:]))
    with torch.no_grad():
        score = ood.fit(network.decide(front(torch.from_numpy(scans))).activations)
    model = CompleteModel(front, network, temperature=1.0, ood=score)
    started = time.perf_counter()
    content = serialize(to_onnx(model), {})
    seconds = time.perf_counter() - started

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    start = partial(onnxruntime.InferenceSession, content, options, providers=["CPUExecutionProvider"])
    session = start()
    one, many = ({"scan": scans[:count]} for count in (1, 32))
    load, single, batch = _alternate(
        [start, partial(session.run, None, one), partial(session.run, None, many)], arguments.repeats
    )
    return [f"{seconds:.1f} s", f"{len(content) / 1000:.0f} kB", *(f"{ms:.1f} ms" for ms in (load, single, batch))]


def _training_step(layer: torch.nn.Module, x: torch.Tensor) -> None:
    layer.zero_grad()
    layer(x)[0].mean().backward()


def _alternate(actions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median milliseconds of each action, run in turn after one warm-up."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(repeats + 1):
        for action, measured in zip(actions, times, strict=True):
            started = time.perf_counter()
            action()
            measured.append(1000 * (time.perf_counter() - started))
    return [statistics.median(measured[1:]) for measured in times]


if __name__ == "__main__":
    main()
