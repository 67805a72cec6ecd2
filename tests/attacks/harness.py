"""Opens hostile files as a person would, each in a process of its own, and measures what that took.

For each kind of opener one process imports what it needs, once, and forks for every file: a case costs no import,
cannot harm the next one, and its time and memory are its own.
"""

import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.attacks.attack import Answer, Opener

ROOT = Path(__file__).parents[2]
#: After so many seconds a case is killed.
SECONDS = 100


@dataclass(frozen=True)
class Outcome:
    """answers: one, or of a place one for each scan.  seconds: wall time.  megabytes: the most that the process held,
    and the largest of the workers that it started, together.  died: of which signal, None if it lived."""

    answers: list[Answer]
    seconds: float
    megabytes: float
    died: str | None


class Harness:
    """Starts a process per opener when it is first needed, and ends them with its context."""

    def __init__(self) -> None:
        self._processes: dict[Opener, subprocess.Popen] = {}

    def __enter__(self) -> "Harness":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.stdin.close()  # type: ignore[union-attr]
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]

    def open(self, opener: Opener, source: Path | str) -> Outcome:
        if opener not in self._processes:
            command = [sys.executable, "-m", "tests.attacks.harness", opener]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            self._processes[opener] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment, text=True
            )
        process = self._processes[opener]
        process.stdin.write(json.dumps(str(source)) + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        told = json.loads(process.stdout.readline())  # type: ignore[union-attr]
        answers = [Answer(each["error"], tuple(each["found"]), tuple(each["rest"])) for each in told.pop("answers")]
        return Outcome(answers, **told)


def _scan(trusted: bool = False) -> Callable[[str], list[Answer]]:
    from liquidlens.errors import LiquidLensError
    from liquidlens.imaging import read, read_safely

    if trusted:
        from liquidlens.imaging.formats import dicom, images, nifti  # noqa: F401  (which `read` imports when they are needed)

    def open_scan(source: str) -> list[Answer]:
        try:
            scan = (read if trusted else read_safely)(source)
        except LiquidLensError as error:
            return [Answer(str(error))]
        return [Answer(found=scan.pixels.shape, rest=_words(scan))]

    return open_scan


def _words(scan: Any) -> tuple[str, ...]:
    """All that a scan says beside its pixels.  Raises ValueError if its lengths are none, which no surface can show."""
    lengths = (*(scan.spacing or ()), *(scan.window or ()))
    if not all(map(math.isfinite, lengths)) or min(scan.spacing or (1,)) <= 0:
        raise ValueError(f"spacing {scan.spacing}, window {scan.window}")
    return str(scan.modality), str(scan.units), *scan.notes


def _place(axes: int) -> Callable[[str], list[Answer]]:
    from liquidlens.errors import LiquidLensError
    from liquidlens.imaging import Scan
    from liquidlens.imaging.readers import read_many
    from liquidlens.serve.batch.inputs import Inputs

    def open_place(source: str) -> list[Answer]:
        try:
            found = list(read_many(iter(Inputs([source], axes)), 1, axes=axes))
        except LiquidLensError as error:
            return [Answer(str(error))]
        return [
            Answer(found=one.scan.pixels.shape, rest=(one.item, *_words(one.scan)))
            if isinstance(one.scan, Scan)
            else Answer(str(one.scan), rest=(one.item,))
            for _, one in found
        ]

    return open_place


def _model() -> Callable[[str], list[Answer]]:
    import numpy as np

    from liquidlens.errors import LiquidLensError
    from liquidlens.imaging import Scan
    from liquidlens.serve.predict.predictor import Predictor

    def open_model(source: str) -> list[Answer]:
        try:
            predictor = Predictor(source, "cpu", threads=1)
            predictor.predict(Scan(np.zeros(predictor.manifest.input.size, np.float32)))
        except LiquidLensError as error:
            return [Answer(str(error))]
        return [Answer(found=predictor.manifest.labels)]

    return open_model


def _run() -> Callable[[str], list[Answer]]:
    from liquidlens.errors import LiquidLensError
    from liquidlens.train.run import RunFolder

    def open_run(source: str) -> list[Answer]:
        run = RunFolder(Path(source))
        try:
            run.metrics()
            run.load_model()
        except LiquidLensError as error:
            return [Answer(str(error))]
        return [Answer(found=(run.recipe().model,))]

    return open_run


_OPENERS: dict[str, Callable[[], Callable[[str], list[Answer]]]] = {
    "scan": _scan,
    "trusted": lambda: _scan(trusted=True),
    "volumes": lambda: _place(3),
    "images": lambda: _place(2),
    "model": _model,
    "run": _run,
}


def _in_a_child(open_it: Callable[[str], list[Answer]], source: str) -> dict[str, Any]:
    """Open one source in a fork, and measure."""
    reading, writing = os.pipe()
    started = time.perf_counter()
    child = os.fork()
    if not child:
        try:
            signal.alarm(SECONDS)  # whose default is to end the process, whatever it is doing
            answers = [asdict(answer) for answer in open_it(source)]
            peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
            with open(writing, "w") as pipe:
                json.dump({"answers": answers, "megabytes": _megabytes(sum(peaks))}, pipe)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        told = pipe.read()
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - started
    died = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None
    outcome = {"answers": [], "megabytes": _megabytes(usage.ru_maxrss)} if not told else json.loads(told)
    return {**outcome, "seconds": seconds, "died": died}


def _megabytes(peak: int) -> float:
    """Of `ru_maxrss`, which Linux counts in KiB and macOS in bytes."""
    return peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def _main(opener: str) -> None:
    open_it = _OPENERS[opener]()
    for line in sys.stdin:
        print(json.dumps(_in_a_child(open_it, json.loads(line))), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
