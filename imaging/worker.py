"""Reading a scan in a process of its own, which may crash, hang or ask for all memory without taking the caller along.

The decoders of compressed images are large C libraries, and what they are fed comes from strangers.  The worker is
started afresh for each scan (no thread of the caller, no state of an earlier scan), limits itself before it opens the
file, and answers through a pipe: a line of JSON, then the pixels.  Nothing is unpickled and nothing is left on disk.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from imaging.budget import DEFAULT, Budget
from imaging.errors import LiquidLensError
from imaging.read import read
from imaging.request import fill
from imaging.scan import Scan

_ROOT = Path(__file__).parents[1]
#: One thread each: the pools of NumPy's libraries would only take address space.
_ENVIRONMENT = {"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def read_safely(source: str | Path, budget: Budget = DEFAULT, *, colour: bool = False) -> Scan:
    """`imaging.read` in a worker process, within the time and memory of `budget` as well.

    Takes up to a second more than `read`, to start Python and its libraries.  Memory and processor time are limited
    where the system can (Linux; macOS in part), wall-clock time everywhere.  Raises LiquidLensError as `read` does, and
    if the worker died.
    """
    question = {"source": str(source), "budget": asdict(budget), "colour": colour}
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "imaging.worker"],  # -P: the current folder may hold a numpy.py
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # C libraries complain there, perhaps about the patient
        env=os.environ | _ENVIRONMENT,
    )
    question_pipe, answer_pipe = cast(BinaryIO, worker.stdin), cast(BinaryIO, worker.stdout)
    timer = threading.Timer(budget.seconds, worker.kill)
    timer.start()
    try:
        with contextlib.suppress(BrokenPipeError), question_pipe:
            question_pipe.write(json.dumps(question).encode())
        scan = _receive(answer_pipe, budget)
        code = worker.wait()
    finally:
        timed_out = not timer.is_alive()
        timer.cancel()
        worker.kill()
        worker.wait()
        answer_pipe.close()
    if scan is None:
        raise LiquidLensError(f"{source}: {_cause(code, timed_out, budget)}")
    return scan


def _receive(pipe: BinaryIO, budget: Budget) -> Scan | None:
    """The worker's answer; None if it is not whole.  Raises the worker's own error."""
    try:
        answer: dict[str, Any] = json.loads(pipe.readline())
    except ValueError:
        return None
    if "error" in answer:
        raise LiquidLensError(answer["error"])
    shape = tuple(answer.pop("shape"))
    budget.check_pixels(math.prod(shape[:2]) if shape[2:] == (3,) else math.prod(shape))
    pixels = np.empty(shape, np.float32)
    if not fill(pixels, pipe):
        return None
    spacing, window = answer.pop("spacing"), answer.pop("window")
    return Scan(
        pixels,
        spacing=spacing and tuple(spacing),
        window=window and tuple(window),
        notes=tuple(answer.pop("notes")),
        **answer,
    )


def _cause(code: int, timed_out: bool, budget: Budget) -> str:
    """Why a worker left no answer."""
    if timed_out or code == -getattr(signal, "SIGXCPU", 0):
        return (
            f"reading took longer than the budget of {budget.seconds:g} seconds; raise 'seconds' if you trust the file."
        )
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
    seconds = math.ceil(budget.seconds)
    for limit, soft, hard in (
        (resource.RLIMIT_AS, budget.memory_bytes, budget.memory_bytes),
        (resource.RLIMIT_CPU, seconds, seconds + 5),  # for when the caller, and its clock, are gone
        (resource.RLIMIT_CORE, 0, 0),  # a dump would hold the patient's pixels
        (resource.RLIMIT_FSIZE, 0, 0),  # a reader writes nothing
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (soft, hard))


def _main() -> None:
    """Answer one question from standard input on standard output."""
    question = json.loads(sys.stdin.buffer.read())
    budget = Budget(**question["budget"])
    _limit(budget)
    try:
        scan = read(question["source"], budget, colour=question["colour"])
    except LiquidLensError as error:
        answer: dict[str, Any] = {"error": str(error)}
        pixels = memoryview(b"")
    else:
        answer = {name: value for name, value in vars(scan).items() if name != "pixels"} | {"shape": scan.pixels.shape}
        pixels = scan.pixels.data
    pipe = sys.stdout.buffer
    pipe.write(json.dumps(answer).encode() + b"\n")
    pipe.write(pixels)
    pipe.flush()


if __name__ == "__main__":
    _main()
