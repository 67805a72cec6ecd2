"""The table of a study's results: a CSV file with one line per finished run, to which several processes may add."""

import csv
import fcntl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TextIO

from liquidlens.errors import LiquidLensError
from liquidlens.files import add_line, as_csv, replacing
from liquidlens.train.run import RunFolder, RunMetrics
from liquidlens.train.studies.plans import plan

#: What makes a run: two lines differ in one of these.
KEY = ("dataset", "dataset_md5", "model", "recipe", "seed")
#: Figures of both weights on both splits; accuracy_batch_mean is the accuracy of hse-2024, see `train.loop.evaluate`.
FIGURES = tuple(
    f"{weights}_{split}_{figure}"
    for weights in ("last", "best")
    for split in ("val", "test")
    for figure in ("accuracy", "accuracy_batch_mean", "auc")
)

#: Gradients and weights are averaged over the last epochs, of the 100 in which tum-2018 waits for a better one.
SETTLED = 50


@dataclass(frozen=True)
class ResultsTable:
    """A table and what it holds.

    more_figures: what a study measures besides `FIGURES`.  All are named WEIGHTS_SPLIT_FIGURE, as in best_test_f1, or
    mean_COLUMN and final_COLUMN: a column of ``history.csv``, averaged over the epochs, and in the last one; or
    COLUMN:PARAMETER, of ``statistics.csv``: gradient_peak the largest of all epochs, the others the mean of the last
    `SETTLED`; empty for a run without statistics.
    """

    path: Path
    more_figures: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        about = ("paper", *KEY, "parameters", "epochs", "best_epoch", "seconds", "threads", "reported_weights")
        return (*about, *FIGURES, *self.more_figures, "liquidlens", "torch")

    def cells(
        self, paper: str, key: tuple[str, ...], reported: str, threads: int, folder: RunFolder
    ) -> dict[str, str | int | float]:
        """The line of a finished run, column by column.

        key: what stands under `KEY`.  reported: the figure that the paper reports.  best_epoch is counted from 0;
        seconds are those of all epochs, on so many threads.
        """
        recipe, metrics = folder.recipe(), folder.metrics()
        return {
            "paper": paper,
            **dict(zip(KEY, key, strict=True)),
            "parameters": sum(p.numel() for p in folder.load_model("last").parameters() if p.requires_grad),
            "epochs": metrics.epochs,
            "best_epoch": metrics.best_epoch,
            "seconds": metrics.seconds,
            "threads": threads,
            "reported_weights": reported.partition("_")[0],
            **{name: _figure(folder, metrics, name) for name in (*FIGURES, *self.more_figures)},
            "liquidlens": recipe.versions["liquidlens"],
            "torch": recipe.versions["torch"],
        }

    def finished(self) -> set[tuple[str, ...]]:
        """The keys of all runs that have a line.  Raises LiquidLensError if the table is damaged or another one."""
        return {tuple(row[column] for column in KEY) for row in self.rows()}

    def rows(self) -> list[dict[str, str]]:
        """All lines.  Raises LiquidLensError if the table is damaged or another one."""
        if not self.path.is_file():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # nobody is halfway through a line
            return self._read(file)

    def append(self, row: dict[str, Any]) -> None:
        """Add a run's line, whole, and only once.  Processes that do so at the same time wait for one another.

        Raises LiquidLensError if the table is damaged or another one.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+", encoding="utf-8", newline="") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if [str(row[column]) for column in KEY] in [[here[c] for c in KEY] for here in self._read(file)]:
                return
            add_line(file, self.path, row)

    def _read(self, file: TextIO) -> list[dict[str, str]]:
        lines = file.readlines()
        rows = list(csv.reader(lines))
        if rows and tuple(rows[0]) != self.columns:
            raise LiquidLensError(f"{self.path} has other columns than this version writes: name another --out.")
        for number, (line, row) in enumerate(zip(lines, rows, strict=True), start=1):
            if len(row) != len(self.columns) or not line.endswith("\n"):
                raise LiquidLensError(
                    f"{self.path}, line {number} is not whole: remove it; its run will be done again."
                )
        return [dict(zip(self.columns, row, strict=True)) for row in rows[1:]]


def tables_of(paper: str, folder: str | Path) -> list[ResultsTable]:
    """A study's own table, and that of the study which shares its lines."""
    planned = plan(paper)
    return [ResultsTable(Path(folder) / f"{name}.csv", planned.figures) for name in (paper, planned.shares) if name]


def curves_of(row: Mapping[str, Any], folder: Path) -> Path:
    """The file in a folder for the curves of a line of a table."""
    parts = (str(row[column]) for column in ("dataset", "model", "recipe"))
    return folder / f"{'-'.join(parts).replace(':', '-')}-seed{row['seed']}.csv"


def keep_curves(folder: RunFolder, columns: Sequence[str], path: Path) -> None:
    """Write columns of a run's ``history.csv`` to a file."""
    with (folder.path / "history.csv").open(encoding="utf-8", newline="") as file:
        rows = [{name: row[name] for name in ("epoch", *columns)} for row in csv.DictReader(file)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(as_csv(rows), encoding="utf-8")


def _figure(folder: RunFolder, metrics: RunMetrics, name: str) -> float | str:
    column, of_parameter, parameter = name.partition(":")
    if of_parameter:
        return _statistic(folder.path / "statistics.csv", column, parameter)
    weights, _, rest = name.partition("_")
    if weights == "final":
        with (folder.path / "history.csv").open(encoding="utf-8", newline="") as file:
            return float([*csv.DictReader(file)][-1][rest])
    if weights == "mean":
        return metrics.mean_over_epochs[rest]
    split, _, figure = rest.partition("_")
    return getattr(getattr(metrics, weights), split)[figure]


def _statistic(path: Path, column: str, parameter: str) -> float | str:
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", newline="") as file:
        values = [float(row[column]) for row in csv.DictReader(file) if row["parameter"] == parameter]
    return max(values) if column == "gradient_peak" else fmean(values[-SETTLED:])
