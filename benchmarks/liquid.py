"""Training the liquid layer, against ncps.

``make bench`` runs this; ``--threads`` sets the number of CPU threads.  Times are medians of alternating runs in one
process; ratios matter more than milliseconds, which depend on the machine.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import ncps.torch
import torch
from ncps.wirings import AutoNCP, FullyConnected
from rich.console import Console
from rich.table import Table

from liquidlens.models.layers.liquid import LTC

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
        a, b = alternate([partial(_training_step, theirs, x), partial(_training_step, ours, x)], arguments.repeats)
        table.add_row(name, f"{a:.1f} ms", f"{b:.1f} ms", f"{a / b:.2f}x")
    console.print(table)


def _training_step(layer: torch.nn.Module, x: torch.Tensor) -> None:
    layer.zero_grad()
    layer(x)[0].mean().backward()


def alternate(actions: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median milliseconds of each action, run in turn after one warm-up; in another order each time, because an action
    pays for what the one before it left in the caches."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(repeats + 1):
        for i in torch.randperm(len(actions)).tolist():
            started = time.perf_counter()
            actions[i]()
            times[i].append(1000 * (time.perf_counter() - started))
    return [statistics.median(measured[1:]) for measured in times]


if __name__ == "__main__":
    main()
