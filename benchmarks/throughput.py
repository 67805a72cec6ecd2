"""Bare throughput from memory: batches of 32 on all threads, one after the other, against what `predict_many` does.

    .venv-serve/bin/python -m benchmarks.throughput [MODEL or MODEL=OLD.onnx ...]

Until November 2026 scans were run in batches of 32, each on up to four threads, and glibc handed memory back to the
system after each run.  Both ways have a process of their own and take turns, so that other work on the machine slows
both alike.  Shown are medians of the rounds, and of their ratios.  OLD.onnx: the file that the old way runs, if it is
another one.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from rich.console import Console
from rich.table import Table

from liquidlens import memory
from liquidlens.imaging import Scan
from liquidlens.serve.bench import inputs
from liquidlens.serve.predict.predictor import Predictor

SCANS, BATCH = 128, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["vessel", "vessel-m", "chest-xray", "nodule"])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    table = Table("model", "batches of 32", "as `predict_many`", "ratio", "ratios of the rounds")
    for model in arguments.models:
        new, _, old = model.partition("=")
        ways = [_Way(_before, old or new), _Way(_now, new)]
        rounds = [[way.rate() for way in ways] for _ in range(arguments.rounds)]
        ratios = sorted(now / before for before, now in rounds)
        before, now = (statistics.median(rates) for rates in zip(*rounds, strict=True))
        every = " ".join(f"{ratio:.2f}" for ratio in ratios)
        table.add_row(new, f"{before:,.0f}/s", f"{now:,.0f}/s", f"{statistics.median(ratios):.2f}x", every)
    Console(width=130).print(table)


class _Way:
    """A process that runs `SCANS` scans when it is told to."""

    def __init__(self, prepare: Callable[[str], Callable[[], object]], model: str):
        context = multiprocessing.get_context("spawn")
        self._end, end = context.Pipe()
        context.Process(target=_serve, args=(prepare, model, end), daemon=True).start()
        end.close()  # or the end of that process would not be seen
        self.rate()  # the first one is slower

    def rate(self) -> float:
        """Scans per second."""
        self._end.send("go")
        return SCANS / self._end.recv()


def _serve(prepare: Callable[[str], Callable[[], object]], model: str, end: Connection) -> None:
    work = prepare(model)
    with suppress(EOFError):  # all is measured
        while end.recv():
            started = time.perf_counter()
            work()
            end.send(time.perf_counter() - started)


def _before(model: str) -> Callable[[], object]:
    predictor = Predictor(model, "cpu")
    pixels = inputs(predictor.session, predictor.manifest.input, BATCH)["scan"]
    return lambda: [predictor.run(pixels) for _ in range(SCANS // BATCH)]


def _now(model: str) -> Callable[[], object]:
    memory.keep_freed()
    predictor = Predictor(model, "cpu")
    pixels = inputs(predictor.session, predictor.manifest.input, 1)["scan"][0]
    scans = [Scan(pixels) for _ in range(SCANS)]
    return lambda: predictor.predict_many(scans)


if __name__ == "__main__":
    main()
