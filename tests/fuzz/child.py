"""The process that fuzzes one target, until its time is up or an input ends it.

Steered by coverage where atheris is installed (Linux and macOS); else valid files are changed blindly, again and again.
An exception that breaks a promise is kept as a file, one for each place in the code, and the process goes on.
"""

import argparse
import faulthandler
import hashlib
import importlib
import itertools
import json
import os
import random
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from tests.fuzz import mutate

try:
    import atheris
except ImportError:
    atheris = None

#: What one input may take: seconds and MiB of the whole process; and how long it may be.
SECONDS, MEGABYTES, LARGEST = 5, 1024, 2**14
#: What is watched for coverage: our code and the readers written in Python.
WATCHED = ("imaging", "serve", "pydicom", "nibabel", "PIL")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("work", type=Path, help="the folder for corpus and findings")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, help="end after so many, if blindly")
    parser.add_argument("--blindly", action="store_true", help="without atheris, even if it is here")
    parser.add_argument("--contained", action="store_true", help="take one input, the file WORK, as the product does")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # readers warn of each broken file
    if arguments.contained:
        targets = importlib.import_module("tests.fuzz.targets")
        target = targets.TARGETS[arguments.target]
        (target.contained or target.run)(arguments.work.read_bytes())
    elif atheris is None or arguments.blindly:
        run_blindly(arguments)
    else:
        run_with_atheris(arguments)


def keeper(run: Callable[[bytes], object], work: Path) -> Callable[[bytes], None]:
    """`run`, with inputs that raise kept in a folder: the first for each kind of error and each line of our code."""
    known: set[str] = set()

    def keep(data: bytes) -> None:
        try:
            run(data)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            place = [f"{frame.filename}:{frame.lineno}" for frame in frames if "site-packages" not in frame.filename]
            what = f"{type(error).__name__} at {' < '.join(reversed(place[-3:]))}"
            if what not in known:
                known.add(what)
                name = hashlib.sha256(data).hexdigest()[:12]
                (work / "findings").mkdir(exist_ok=True)
                (work / "findings" / f"error-{name}").write_bytes(data)
                (work / "findings" / f"error-{name}.txt").write_text("".join(traceback.format_exception(error)))

    return keep


def run_with_atheris(arguments: argparse.Namespace) -> None:
    with atheris.instrument_imports(include=list(WATCHED)):
        targets = importlib.import_module("tests.fuzz.targets")
        target = targets.TARGETS[arguments.target]
        seeds = list(target.seeds())
        for seed in seeds:
            target.run(seed)  # readers are imported when they are first needed

    def change(data: bytes, largest: int, number: int) -> bytes:
        rng = random.Random(number)  # noqa: S311  (no secret)

        def anyhow(inner: bytes) -> bytes:
            if rng.random() < 0.3:
                return mutate.blind(inner, rng, largest, seeds)
            return bytes(atheris.Mutate(inner, largest))

        return mutate.mutated(data, rng, anyhow)[:largest]

    corpus, deaths = arguments.work / "corpus", arguments.work / "deaths"
    for path in (corpus, deaths):
        path.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = {
        "max_total_time": arguments.seconds,
        "timeout": SECONDS,
        "rss_limit_mb": MEGABYTES,
        "max_len": LARGEST,
        "seed": arguments.seed + 1,  # 0 is any
        "artifact_prefix": f"{deaths}/",
        "print_final_stats": 1,
        "close_fd_mask": 3,  # libraries complain of each broken file
    }
    command = [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(corpus)]
    atheris.Setup(command, keeper(target.run, arguments.work), custom_mutator=change)
    atheris.Fuzz()  # ends the process


def run_blindly(arguments: argparse.Namespace) -> None:
    """What is being tried lies in ``deaths/`` as long as it is: where it stays, it ended the process."""
    targets = importlib.import_module("tests.fuzz.targets")
    target = targets.TARGETS[arguments.target]
    run = keeper(target.run, arguments.work)
    (arguments.work / "deaths").mkdir(exist_ok=True)
    trying = arguments.work / "deaths" / f"tried-{arguments.seed}"
    end = time.monotonic() + arguments.seconds
    executions = 0
    for data in itertools.islice(changed(list(target.seeds()), arguments.seed), arguments.inputs):
        trying.write_bytes(data)
        faulthandler.dump_traceback_later(SECONDS, exit=True)  # also out of a library that hangs
        run(data)
        faulthandler.cancel_dump_traceback_later()
        executions += 1
        if time.monotonic() > end:
            break
    trying.unlink()
    print(json.dumps({"executions": executions}), flush=True)
    os._exit(0)


def changed(seeds: list[bytes], seed: int) -> "itertools.chain[bytes]":
    """The seeds, and then changes to them without end, the same every time."""
    rng = random.Random(seed)  # noqa: S311  (no secret)

    def change(data: bytes) -> bytes:
        return mutate.blind(data, rng, LARGEST, seeds)

    return itertools.chain(seeds, (mutate.mutated(rng.choice(seeds), rng, change) for _ in itertools.count()))


if __name__ == "__main__":
    main()
