"""Seconds from the key: commands until they have answered, and `train` until its first batch is done.

    .venv/bin/python -m benchmarks.startup [--data vesselmnist3d] [--before PYTHON]

Each command starts a process of its own; shown are the medians.  PYTHON: the interpreter of an environment with an
older package, whose commands take turns.  User seconds of the CPU are shown beside those of the clock: other work on
the machine moves them less.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from rich.console import Console
from rich.table import Table

#: The command line, which ends when the first batch is done.
UNTIL_A_BATCH = """
import importlib.abc, importlib.util, os, sys
from liquidlens.commands import main

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "liquidlens.train.loop.module":
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            load = spec.loader.exec_module
            def exec_module(module):
                load(module)
                module.TrainingModule.on_train_batch_end = lambda *_: os._exit(0)
            spec.loader.exec_module = exec_module
            return spec

sys.meta_path.insert(0, Watch())
main()
"""
COMMAND = "from liquidlens.commands import main; main()"
ANSWERS = (
    ["models"],
    ["recipes"],
    ["data"],
    ["train", "--help"],
    ["audit", "vessel"],
)
REFUSED = (
    ["train", "LiqExp4N2", "no-such-dataset"],
    ["export", "no-such-run"],
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="vesselmnist3d")
    parser.add_argument("--before", help="the python of another environment")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    pythons = [sys.executable, *([arguments.before] if arguments.before else [])]
    train = ["train", "LiqExp4N2", arguments.data, "--recipe", "quick"]
    table = Table("command", "seconds", "of the CPU", *(["before", "of the CPU, before"] if arguments.before else []))
    for code, command in [(UNTIL_A_BATCH, train), *((COMMAND, answer) for answer in ANSWERS + REFUSED)]:
        taken: list[list[tuple[float, float]]] = [[] for _ in pythons]
        for _ in range(arguments.repeats):
            for python, times in zip(pythons, taken, strict=True):
                times.append(seconds(python, code, command))
        figures = [statistics.median(column) for times in taken for column in zip(*times, strict=True)]
        name = " ".join(command) + (", its first batch" if code == UNTIL_A_BATCH else "")
        table.add_row(name, *(f"{figure:.2f}" for figure in figures))
    Console(width=110).print(table)


def seconds(python: str, code: str, command: list[str]) -> tuple[float, float]:
    """What one start takes: seconds of the clock, and user seconds of the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        runs = ["--runs", folder] if command[:2] == ["train", "LiqExp4N2"] else []
        before, started = _user_seconds(), time.perf_counter()
        ended = subprocess.run([python, "-c", code, *command, *runs], capture_output=True, text=True)
        taken = time.perf_counter() - started, _user_seconds() - before
    if ended.returncode != (2 if command in REFUSED else 0):
        raise SystemExit(ended.stderr)
    return taken


def _user_seconds() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


if __name__ == "__main__":
    main()
