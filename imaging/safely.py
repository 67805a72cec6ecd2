"""Reading single scans in a worker process (see `imaging.worker`)."""

import threading
from pathlib import Path
from typing import Self

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import DEFAULT, Budget
from liquidlens.imaging.scan import Scan
from liquidlens.imaging.worker import Started, Worker, WorkerError


def read_safely(source: str | Path, budget: Budget = DEFAULT, *, colour: bool = False) -> Scan:
    """`imaging.read` in a worker process that is started afresh, within the time and memory of `budget` as well.

    Takes up to a second more than `read`, to start Python and its libraries.  Memory and processor time are limited
    where the system can (Linux; macOS in part), wall-clock time everywhere.  Raises LiquidLensError as `read` does, and
    if the worker died.
    """
    with Reader(budget) as reader:
        return reader.read(source, colour=colour)


class Reader:
    """Reads scan after scan as `read_safely` does, in one worker process, which is replaced if it dies.

    To be used by the thread that reads first: with it the process ends."""

    def __init__(self, budget: Budget = DEFAULT):
        self._budget = budget
        self._worker: Worker | None = None

    def read(self, source: str | Path, *, colour: bool = False) -> Scan:
        worker = self._worker = self._worker or Worker(self._budget)
        timer = threading.Timer(self._budget.seconds, worker.time_out)
        timer.start()
        try:
            worker.ask({"source": str(source), "colour": colour})
            scan = worker.found(worker.started() or Started(0, 1, "")).scan
            worker.started()
        except WorkerError as death:
            self.close()
            raise LiquidLensError(f"{source}: {death}") from None
        except BaseException:  # such as Ctrl-C: this answer must not become that of the next question
            self.close()
            raise
        finally:
            timer.cancel()
            timer.join()
        if worker.timed_out:  # after all: the next scan is not to die of it
            self.close()
        if isinstance(scan, LiquidLensError):
            raise scan
        return scan

    def close(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
