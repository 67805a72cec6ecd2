"""A results table as arrays: what the model predicts for each scan, and how probable it finds each label."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from liquidlens import metrics
from liquidlens.errors import LiquidLensError
from liquidlens.serve.batch.tables import labels_of, rows

Task = Literal["two classes", "several classes", "multi-label"]


@dataclass(frozen=True, eq=False)
class Answers:
    """The rows of a results table.

    names: the model's labels.
    scans: path and item of each row.
    whole: they lie in order and none in between is left out, as it is in a shard.
    probabilities: (rows, names), NaN in the rows that `failed`, with an error.
    predicted: the same of 0 and 1, which the metrics take as they take probabilities.
    abstained, ood: (rows,).
    threshold: a label is predicted if its probability is above; None if the most probable of several is.
    """

    task: Task
    names: tuple[str, ...]
    scans: list[tuple[str, str]]
    whole: bool
    probabilities: NDArray[np.float64]
    predicted: NDArray[np.float64]
    failed: NDArray[np.bool_]
    abstained: NDArray[np.bool_]
    ood: NDArray[np.bool_]
    threshold: float | None
    model: str
    model_sha256: str


def read_answers(table: Path) -> Answers:
    """Read a table (CSV, JSONL or Parquet) that the batch script wrote.

    Raises LiquidLensError if it is none, if it has no answers at all, or those of several models.
    """
    names: tuple[str, ...] = ()
    scans: list[tuple[str, str]] = []
    probabilities, labels, failed, abstained, ood = [], [], [], [], []
    models = set()
    task: str | None = None
    threshold: float | None = None
    whole, before = True, (-1, 0)
    for row in rows(table):  # one by one: a table may be long, and its other columns are not needed
        if not scans:
            names = tuple(labels_of(row))
        scans.append((row["path"], row["item"] or ""))
        at = (row["input"], row["number"])
        whole &= at in ((before[0] + 1, 0), (before[0], before[1] + 1))
        before = at
        probabilities.append([row[f"p_{name}"] for name in names])
        labels.append(row["label"])
        failed.append(row["error"] is not None)
        abstained.append(bool(row["abstained"]))
        ood.append(bool(row["ood"]))
        models.add((row["model"], row["model_sha256"]))
        task = row["task"] or task  # rows with an error have it as well; those of older versions have none
        threshold = row["threshold"] if threshold is None else threshold
    if all(failed):
        errors = ", but an error in every row" if scans else ""
        raise LiquidLensError(f"{table} has no answers to evaluate{errors}.")
    if len(models) > 1:
        raise LiquidLensError(f"{table} holds the answers of {len(models)} models: evaluate them one by one.")
    p, bad = np.array(probabilities, np.float64), np.array(failed)  # None becomes NaN
    for i in np.flatnonzero(~bad & ~((p >= 0) & (p <= 1)).all(1)):
        raise LiquidLensError(f"{table}: row {i + 1} has neither an error nor probabilities from 0 to 1.")
    kind = _kind(task, p[~bad], threshold)
    ((model, model_sha256),) = models
    return Answers(
        task=kind,
        names=names,
        scans=scans,
        whole=whole,
        probabilities=p,
        predicted=_predicted(table, kind, names, labels, p, threshold),
        failed=bad,
        abstained=np.array(abstained),
        ood=np.array(ood),
        threshold=threshold,
        model=model,
        model_sha256=model_sha256,
    )


def _kind(task: str | None, probabilities: NDArray, threshold: float | None) -> Task:
    """task: as the table has it; None in one of an older version, where only the probabilities of classes sum to 1."""
    labels = probabilities.shape[1]
    if task is None:
        classes = np.allclose(probabilities.sum(1), 1, atol=0.01) if labels == 2 else threshold is None
        task = "classes" if classes else "multi-label"
    if task == "multi-label":
        return "multi-label"
    return "two classes" if labels == 2 else "several classes"


def _predicted(
    table: Path,
    task: Task,
    names: tuple[str, ...],
    labels: list[str | None],
    probabilities: NDArray,
    threshold: float | None,
) -> NDArray[np.float64]:
    predicted = np.where(np.isnan(probabilities), np.nan, 0.0)
    if task == "multi-label":  # names are not read: "effusion, pleural" could be one of them or two
        return predicted + metrics.decided(probabilities, 0.5 if threshold is None else threshold, multi_label=True)
    number = {name: i for i, name in enumerate(names)}
    for i in np.flatnonzero(~np.isnan(probabilities).any(1)):
        if labels[i] not in number:
            raise LiquidLensError(f"{table}: row {i + 1} has the label {labels[i]!r}, and no probability of it.")
        predicted[i, number[labels[i] or ""]] = 1
    return predicted
