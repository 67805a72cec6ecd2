"""Reading one's own scans: in worker processes where there are many, and with a word on the progress."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from liquidlens import imaging
from liquidlens.cores import usable_cores
from liquidlens.imaging.budget import Budget
from liquidlens.imaging.safely import Reader
from liquidlens.imaging.scan import Scan

#: A worker is started for so many scans; fewer are read before it has started.
EACH = 32
#: Workers at most: each holds a scan, and so does its thread here.
MOST = 8
#: One's own files may be packed as closely as deflate can: large masks are.
BUDGET = Budget(inflate_ratio=1_100)
#: Seconds between two lines about the progress where there is no terminal.
_LINE = 30

Item = TypeVar("Item")
Result = TypeVar("Result")
_here = threading.local()


def read(source: str | Path, *, colour: bool = False) -> Scan:
    """`imaging.read`; inside of `each`, in this thread's worker process, if it has one."""
    reader: Reader | None = getattr(_here, "reader", None)
    return imaging.read(source, BUDGET, colour=colour) if reader is None else reader.read(source, colour=colour)


def each(items: Sequence[Item], work: Callable[[Item], Result], doing: str) -> Iterator[Result]:
    """What `work`, which uses `read`, makes of each item, in order; several at once.

    doing: what a person is told, as in "reading scans".  The first error that `work` raises ends it.
    """
    workers = min(usable_cores(), MOST, len(items) // EACH)
    with _progress(doing, len(items)) as advance, _pool(workers) if workers > 1 else nullcontext() as pool:
        for result in (pool.map if pool else map)(work, items):
            advance()
            yield result


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads with a worker process each."""
    readers: list[Reader] = []

    def start() -> None:
        _here.reader = Reader(BUDGET)
        readers.append(_here.reader)

    pool = ThreadPoolExecutor(workers, initializer=start)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        for reader in readers:
            reader.close()


@contextmanager
def _progress(doing: str, of: int) -> Iterator[Callable[[], None]]:
    """Shows on stderr how many are done: a bar on a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        from rich.progress import Progress

        from liquidlens.console import Terminal

        with Progress(console=Terminal(stderr=True), transient=True) as progress:
            task = progress.add_task(doing, total=of)
            yield lambda: progress.advance(task)
        return
    done, last = 0, time.monotonic()

    def advance() -> None:
        nonlocal done, last
        done += 1
        if time.monotonic() - last > _LINE:
            last = time.monotonic()
            print(f"{doing}: {done:,} of {of:,}", file=sys.stderr, flush=True)

    yield advance
