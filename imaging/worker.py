"""Reading scans in a process of its own, which may crash, hang or ask for all memory without taking the caller along.

The decoders of compressed images are large C libraries, and what they are fed comes from strangers.  A worker limits
itself before it opens a file and answers through a pipe: a line of JSON, then the pixels.  Nothing is unpickled and
nothing is left on disk.

`imaging.safely` asks for single scans; `imaging.readers` for all that lie in many places.
"""

import contextlib
import ctypes
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import Budget
from liquidlens.imaging.collection import Found, Place, each
from liquidlens.imaging.read import read
from liquidlens.imaging.request import fill
from liquidlens.imaging.scan import Affine, Scan

#: One thread each: the pools of NumPy's libraries would only take address space.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
#: Bytes that every system's pipes hold, and that those for scans hold where the system lets them: with the usual 64 KiB
#: a worker waits for its caller several times a scan.
_FITS, _WIDE = 4096, 2**20
#: Bytes of a line that a worker may answer, and letters of an error: some name all that an archive holds.
_LINE = 2**20
_SENTENCE = 2**16


class Started(NamedTuple):
    """The scan that a worker was about to read: see `imaging.collection.Next`."""

    number: int
    of: int
    item: str


class WorkerError(Exception):
    """A worker died, or does not make sense any more.  The message is a sentence about what it was reading."""


class Worker:
    """One worker process, to be used by the thread that started it, but for `time_out` and `watch`: with that thread it
    ends.  Answers come in the order of questions."""

    def __init__(self, budget: Budget):
        self._budget, self.timed_out = budget, False
        self._since: float | None = None  # when the wait for an answer began
        self._lock = threading.RLock()  # of these two
        self._unsent: deque[bytes] = deque()
        self._open = 0  # questions that were sent, and not answered to the end
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "liquidlens.imaging.worker"],  # -P: the current folder may hold a numpy.py
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # C libraries complain there, perhaps about the patient
            env=os.environ | _ENVIRONMENT,
            process_group=None if sys.platform == "win32" else 0,  # Ctrl-C is for the caller, who ends its workers
        )
        with contextlib.suppress(ImportError, AttributeError, OSError):  # another system, or its limit
            import fcntl

            fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _WIDE)  # type: ignore[arg-type]
        self._questions, self._answers = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        self._write(json.dumps(asdict(budget)).encode())

    def ask(self, question: dict[str, Any]) -> None:
        """Ask for ``{"source", "colour"}``, which is answered as `imaging.read` does; or for ``{"place", "axes",
        "colour"}``, which is answered for each scan as `imaging.collection.each` does; either then by None.  The next
        question may be asked before the last one is answered.  A worker that died says so when it is to answer."""
        self._unsent.append(json.dumps(question).encode())
        self._send()

    def started(self) -> Started | None:
        """Which scan it is about to read; None after the last one of a place.  Raises WorkerError."""
        with self._waiting():
            if (line := self._line()) is not None:
                number, of, item = line
                if not (
                    type(number) is int and type(of) is int and isinstance(item, str) and 0 <= number < (of or math.inf)
                ):
                    raise ValueError("no scan")
                return Started(number, of, item)
        self._open -= 1
        self._send()
        return None

    def found(self, started: Started) -> Found:
        """What became of the scan that it was about to read.  Raises WorkerError."""
        with self._waiting():
            sha256, error, scan = self._line()
            if not (sha256 is None or re.fullmatch("[0-9a-f]{64}", sha256)):
                raise ValueError("no SHA-256")
            return Found(*started, sha256, self._scan(**scan) if error is None else LiquidLensError(str(error)))

    def time_out(self) -> None:
        """End the process from another thread, as its time is over."""
        with self._lock:
            self.timed_out = True
            self._process.kill()

    def watch(self) -> None:
        """End the process from another thread, if its answer has been waited for longer than the budget allows."""
        with self._lock:
            if self._since is not None and time.monotonic() - self._since > self._budget.seconds:
                self.time_out()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._questions.close()
        self._answers.close()

    def _send(self) -> None:
        """Send what was asked.  A worker that is busy reads no questions: only a short one fits into the pipe until it
        does, and waiting for more would be waiting for each other."""
        while self._unsent and (not self._open or len(self._unsent[0]) < _FITS):
            self._write(self._unsent.popleft())
            self._open += 1

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._questions.write(line + b"\n")
            self._questions.flush()

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Wait for an answer while `watch` looks at the clock.  Whatever goes wrong is the end of the worker."""
        self._since = time.monotonic()
        try:
            yield
            with self._lock:
                self._since = None
                if self.timed_out:  # the answer came too late
                    raise TimeoutError
        except Exception:  # cut off, or made up by what took the worker over
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)  # it may be about to die, and then says of what
            code = self._process.poll()
            self.end()
            raise WorkerError(_cause(code, self.timed_out, self._budget)) from None

    def _line(self) -> Any:
        return json.loads(self._answers.readline(_LINE))

    def _scan(self, shape: list[int], spacing: list | None, window: list | None, notes: list, **rest: Any) -> Scan:
        """The scan whose pixels come next.  What it is to be made of is taken for nothing but numbers and words."""
        colour = len(shape) == 3 and shape[2] == 3
        self._budget.check_pixels(math.prod(shape[:2] if colour else shape))
        pixels = np.empty(shape, np.float32)
        if not fill(pixels, self._answers):
            raise ValueError("the worker ended before its pixels")
        return Scan(
            pixels,
            spacing=None if spacing is None else tuple(map(float, spacing)),
            modality=None if rest["modality"] is None else str(rest["modality"]),
            units="HU" if rest["units"] == "HU" else None,
            window=None if window is None else (float(window[0]), float(window[1])),
            oriented=rest["oriented"] is True,
            affine=_affine(rest["affine"]),
            centre=None if rest["centre"] is None else _three(*map(float, rest["centre"])),
            notes=tuple(map(str, notes)),
        )


def _affine(lines: list | None) -> Affine | None:
    if lines is None:
        return None
    x, y, z = (tuple(map(float, line)) for line in lines)
    if not len(x) == len(y) == len(z) == 4:
        raise ValueError("no matrix")
    return x, y, z


def _three(first: float, second: float, third: float) -> tuple[float, float, float]:
    return first, second, third


def _cause(code: int | None, timed_out: bool, budget: Budget) -> str:
    """Why a worker left no answer: its exit code is None if it lives and its answer made no sense."""
    if timed_out or code == -getattr(signal, "SIGXCPU", 0):
        return (
            f"reading took longer than the budget of {budget.seconds:g} seconds; raise 'seconds' if you trust the file."
        )
    if code is None:
        return "the reader's answer to this file makes no sense; the file may be damaged, or made to do so."
    if code == -getattr(signal, "SIGKILL", 0):
        return f"the reader was killed, most likely for its memory (budget {budget.memory_bytes:,} bytes)."
    return (
        f"the reader crashed on this file ({_name_of(code)}), which may be damaged or made to do so; or it needs more "
        f"than the budget of {budget.memory_bytes:,} bytes ('memory_bytes')."
    )


def _name_of(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"


def _limit(budget: Budget) -> None:
    """Limit this process; what the system does not know is left to the caller's clock."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, value in (
        (resource.RLIMIT_AS, budget.memory_bytes),
        (resource.RLIMIT_CORE, 0),  # a dump would hold the patient's pixels
        (resource.RLIMIT_FSIZE, 0),  # a reader writes nothing
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, value))


def _end_with_the_caller() -> None:
    """Die when the thread that started this process does, even if a decoder hangs and never asks for more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _limit_time(budget: Budget) -> None:
    """Give this process as many seconds more; for when the caller, and its clock, are gone."""
    try:
        import resource
    except ImportError:  # Windows
        return
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + budget.seconds), hard))


def _main() -> None:
    """Answer the questions on standard input on standard output.  The first line is the budget."""
    _end_with_the_caller()
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    budget = Budget(**json.loads(questions.readline()))
    _limit(budget)
    while line := questions.readline():
        _limit_time(budget)
        question = json.loads(line)
        if "source" in question:
            _announce(answers, Started(0, 1, ""))
            _write(answers, None, _read(question["source"], budget, question["colour"]))
            _announce(answers, None)
            continue
        place = Place(**question.pop("place"))
        for number, of, item, read_next in each(place, budget, **question):
            _announce(answers, Started(number, of, item))
            found = read_next()
            _write(answers, found.sha256, found.scan)  # goes out with what is announced next
            del found  # the next scan may need the memory
            _limit_time(budget)
        _announce(answers, None)


def _read(source: str, budget: Budget, colour: bool) -> Scan | LiquidLensError:
    try:
        return read(source, budget, colour=colour)
    except LiquidLensError as error:
        return error


def _announce(pipe: BinaryIO, started: Started | None) -> None:
    pipe.write(json.dumps(started).encode() + b"\n")
    pipe.flush()


def _write(pipe: BinaryIO, sha256: str | None, scan: Scan | LiquidLensError) -> None:
    if isinstance(scan, LiquidLensError):
        pipe.write(json.dumps((sha256, str(scan)[:_SENTENCE], None)).encode() + b"\n")
    else:
        fields = {name: value for name, value in vars(scan).items() if name != "pixels"}
        pipe.write(json.dumps((sha256, None, {"shape": scan.pixels.shape, **fields})).encode() + b"\n")
        pipe.write(np.ascontiguousarray(scan.pixels).data)


if __name__ == "__main__":
    _main()
