"""The table of a study's results: a CSV file with one line per finished run, to which several processes may add."""

import csv
import fcntl
import os
from pathlib import Path
from typing import Any, TextIO

from imaging import LiquidLensError
from train.callbacks import as_csv
from train.run import RunFolder, Weights

#: What makes a run: two lines differ in one of these.
KEY = ("dataset", "dataset_md5", "model", "recipe", "seed")
#: Figures of both weights on both splits; accuracy_batch_mean is the accuracy of hse-2024, see `train.figures`.
FIGURES = tuple(
    f"{weights}_{split}_{figure}"
    for weights in ("last", "best")
    for split in ("val", "test")
    for figure in ("accuracy", "accuracy_batch_mean", "auc")
)
COLUMNS = (
    *("paper", *KEY, "parameters", "epochs", "best_epoch", "seconds", "threads", "reported_weights"),
    *(*FIGURES, "liquidlens", "torch"),
)


def cells(
    paper: str, key: tuple[str, ...], reported: Weights, threads: int, folder: RunFolder
) -> dict[str, str | int | float]:
    """The line of a finished run: `COLUMNS` and what stands in them.

    key: what stands under `KEY`.  reported: the weights whose test figures the paper reports.  best_epoch is counted
    from 0; seconds are those of all epochs, on so many threads.
    """
    recipe, metrics = folder.recipe(), folder.metrics()
    figures = {}
    for name in FIGURES:
        weights, split, figure = name.split("_", 2)
        figures[name] = getattr(getattr(metrics, weights), split)[figure]
    return {
        "paper": paper,
        **dict(zip(KEY, key, strict=True)),
        "parameters": sum(p.numel() for p in folder.load_model("last").parameters() if p.requires_grad),
        "epochs": metrics.epochs,
        "best_epoch": metrics.best_epoch,
        "seconds": metrics.seconds,
        "threads": threads,
        "reported_weights": reported,
        **figures,
        "liquidlens": recipe.versions["liquidlens"],
        "torch": recipe.versions["torch"],
    }


def finished(table: Path) -> set[tuple[str, ...]]:
    """The keys of all runs that have a line.  Raises LiquidLensError if the table is damaged or another one."""
    if not table.is_file():
        return set()
    with table.open(encoding="utf-8", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # nobody is halfway through a line
        return _keys(file, table)


def append(table: Path, row: dict[str, Any]) -> None:
    """Add a run's line, whole, and only once.  Processes that do so at the same time wait for one another.

    Raises LiquidLensError if the table is damaged or another one.
    """
    text = as_csv([row])
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("a+", encoding="utf-8", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if tuple(str(row[column]) for column in KEY) in _keys(file, table):
            return
        file.write(text.split("\n", 1)[1] if file.tell() else text)  # the header is there, or is not
        file.flush()
        os.fsync(file.fileno())


def _keys(file: TextIO, table: Path) -> set[tuple[str, ...]]:
    lines = file.readlines()
    rows = list(csv.reader(lines))
    if rows and tuple(rows[0]) != COLUMNS:
        raise LiquidLensError(f"{table} has other columns than this version writes: name another --out.")
    for number, (line, row) in enumerate(zip(lines, rows, strict=True), start=1):
        if len(row) != len(COLUMNS) or not line.endswith("\n"):
            raise LiquidLensError(f"{table}, line {number} is not whole: remove it; its run will be done again.")
    return {tuple(row[COLUMNS.index(column)] for column in KEY) for row in rows[1:]}
