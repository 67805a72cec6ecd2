"""Two runs on the same test scans, as they are and corrupted, and how sure it is that they differ.

What reads tables of this needs no torch; it is loaded with the networks.
"""

import csv
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from liquidlens import metrics
from liquidlens.errors import LiquidLensError
from liquidlens.files import as_csv, replacing
from liquidlens.train.run import RunFolder, RunRecipe, Weights

if TYPE_CHECKING:
    from torch import Tensor

#: What is measured of each, at the temperature and the threshold of 0.5 that the run has.
FIGURES: dict[str, metrics.Metric] = {
    "auc": metrics.auc,
    "accuracy": metrics.accuracy,
    "ece": metrics.expected_calibration_error,
    "selective_accuracy": metrics.selective_accuracy,
}
#: A corruption and its severity; scans as they are; all of one kind, or of all kinds, together.
Condition = tuple[str, str]
CLEAN: Condition = "none", "0"
MEAN, ALL = "mean", "all"
SAMPLES = 1000


class Answers(NamedTuple):
    """What a run says: labels (n,) or (n, K), whose scans they are, and by condition probabilities (n, classes)."""

    recipe: RunRecipe
    labels: NDArray
    patients: NDArray[np.str_]
    by: dict[Condition, NDArray]


class Line(NamedTuple):
    """A condition, and of each of `FIGURES` both runs' values and the 95 % interval of their difference."""

    condition: Condition
    first: tuple[float, ...]
    second: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def words(self) -> str:
        if self.condition == CLEAN:
            return "as they are"
        name, severity = self.condition
        if name == ALL:
            return "all corruptions"
        return f"{name}, {'all severities' if severity == MEAN else f'severity {severity}'}"

    @property
    def differences(self) -> Iterator[str]:
        """In print, with their intervals."""
        for ours, theirs, low, high in zip(self.first, self.second, self.low, self.high, strict=True):
            yield f"{ours - theirs:+.3f} ({low:+.3f} to {high:+.3f})"


class Comparison(NamedTuple):
    first: RunRecipe
    second: RunRecipe
    scans: int
    patients: int
    lines: list[Line]

    def rows(self) -> list[dict[str, str | float]]:
        """A row for each condition: both runs, the first one's figures, the second one's, and the interval."""
        about: dict[str, str | float] = {"dataset": name_of(self.first), "dataset_md5": self.first.dataset_md5}
        for prefix, recipe in (("", self.first), ("twin_", self.second)):
            about |= {f"{prefix}model": str(recipe.network), f"{prefix}recipe": str(recipe.rule)}
            about |= {f"{prefix}seed": recipe.seed}
        about |= {"scans": self.scans, "patients": self.patients}
        rows = []
        for line in self.lines:
            row = about | dict(zip(("corruption", "severity"), line.condition, strict=True))
            columns = zip(FIGURES, line.first, line.second, line.low, line.high, strict=True)
            for figure, ours, theirs, low, high in columns:
                row |= {figure: ours, f"twin_{figure}": theirs, f"{figure}_low": low, f"{figure}_high": high}
            rows.append(row)
        return rows

    def add_to(self, table: Path) -> None:
        """Write the rows into a CSV table, in place of those of the same pair of runs."""
        own = self.rows()
        pair = list(own[0])[: list(own[0]).index("scans")]
        rows = read(table) if table.is_file() else []
        others = [row for row in rows if any(row[column] != str(own[0][column]) for column in pair)]
        table.parent.mkdir(parents=True, exist_ok=True)
        with replacing(table) as partial:
            partial.write_text(as_csv([*others, *own]), encoding="utf-8")


def read(table: Path) -> list[dict[str, str]]:
    """The rows of a table of comparisons.  Raises LiquidLensError if it is another one."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"twin_model", "corruption", *FIGURES} <= set(rows[0]):
        raise LiquidLensError(f"{table} holds something else than comparisons: name another --out.")
    return rows


def name_of(recipe: RunRecipe) -> str:
    """The dataset's name; of one's own scans, that of their table or folder."""
    return Path(recipe.dataset).stem if "/" in recipe.dataset else recipe.dataset


def compare(
    first: str | Path,
    others: Sequence[str | Path],
    weights: Weights = "best",
    data_root: str | Path | None = None,
    samples: int = SAMPLES,
) -> Iterator[Comparison]:
    """The figures of a finished run and of each other one on the same test scans, as they are and with every corruption
    in five severities, and the intervals of their differences, the first minus the other: both are judged on the same
    drawn patients.

    A cross-validated run counts by the folds that lie in its folder, all their test scans together.  `samples`: of the
    bootstrap.  Raises LiquidLensError if a run is not finished, is of poses, or was tested on other scans.
    """
    ours = answers_of(Path(first), weights, data_root)
    for other in others:
        theirs = answers_of(Path(other), weights, data_root)
        same = ours.recipe.labels == theirs.recipe.labels and ours.by.keys() == theirs.by.keys()
        if not (same and np.array_equal(ours.labels, theirs.labels) and np.array_equal(ours.patients, theirs.patients)):
            raise LiquidLensError(f"{first} and {other} were not tested on the same scans: nothing can be paired.")
        yield between(ours, theirs, samples)


def between(ours: Answers, theirs: Answers, samples: int = SAMPLES) -> Comparison:
    """The comparison of two runs' answers to the same scans."""
    drawn = metrics.draws_of(ours.patients, samples, seed=0)
    found = _figures(ours, theirs, np.arange(len(ours.labels)))
    differences = np.stack([np.subtract(*_figures(ours, theirs, items)) for items in drawn])
    return Comparison(
        ours.recipe,
        theirs.recipe,
        len(ours.labels),
        len(set(ours.patients)),
        [_line(condition, which, found, differences) for condition, which in _grouped(list(ours.by))],
    )


def answers_of(run: Path, weights: Weights = "best", data_root: str | Path | None = None) -> Answers:
    """What a run says of its test scans in every condition; of a cross-validated one, each fold of its own."""
    parts = [_answers(RunFolder(part), weights, data_root) for part in sorted(run.glob("fold-*")) or [run]]
    by = {condition: np.concatenate([part.by[condition] for part in parts]) for condition in parts[0].by}
    labels, patients = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    return Answers(parts[0].recipe, labels, patients, by)


def _answers(folder: RunFolder, weights: Weights, data_root: str | Path | None) -> Answers:
    from liquidlens.train.corruptions import SEVERITIES, corrupted, names
    from liquidlens.train.evaluation import unseen
    from liquidlens.train.loop.fit import logits_of

    folder.check_finished(weights)
    recipe, temperature = folder.recipe(), folder.metrics().of(weights).temperature
    if recipe.task == "pose":
        raise LiquidLensError(f"{folder.path} learned poses, whose figures are in its metrics.json.")
    inputs, labels, _, patients = unseen(folder, recipe, data_root)
    model, contract = folder.load_model(weights), recipe.input
    mask = contract.values == "mask"
    plain = contract.std * inputs + contract.mean

    def probabilities(scans: "Tensor") -> NDArray:
        logits = logits_of(model, recipe, (scans - contract.mean) / contract.std)
        return metrics.probabilities(logits / temperature, recipe.task == "multi-label")

    by = {CLEAN: probabilities(plain)}
    for name in names(inputs.dim() == 5, mask):
        for severity in SEVERITIES:
            by[name, str(severity)] = probabilities(corrupted(plain, name, severity, mask))
    return Answers(recipe, labels, np.array(patients), by)


def _grouped(conditions: list[Condition]) -> Iterator[tuple[Condition, list[int]]]:
    """Each condition with its place, and what is averaged: all severities of a kind, and all that are corrupted."""
    places = list(enumerate(conditions))
    for name, own in groupby(places, lambda place: place[1][0]):
        of_kind = list(own)
        yield from ((condition, [i]) for i, condition in of_kind)
        if name != CLEAN[0]:
            yield (name, MEAN), [i for i, _ in of_kind]
    yield (ALL, MEAN), [i for i, condition in places if condition != CLEAN]


def _figures(ours: Answers, theirs: Answers, items: NDArray[np.int64]) -> NDArray[np.float64]:
    """(2, conditions, figures) of these scans."""
    labels = ours.labels[items]
    return np.array(
        [
            [[figure(labels, said[items]) for figure in FIGURES.values()] for said in answers.by.values()]
            for answers in (ours, theirs)
        ]
    )


def _line(condition: Condition, which: list[int], found: NDArray, differences: NDArray) -> Line:
    first, second = found[:, which].mean(1).tolist()
    intervals = [metrics.interval(column) for column in differences[:, which].mean(1).T]
    low, high = zip(*intervals, strict=True)
    return Line(condition, tuple(first), tuple(second), low, high)
