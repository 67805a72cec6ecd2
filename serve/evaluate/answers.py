"""A results table as arrays: what the model says of each scan, and how probable it finds each label."""

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

    names: the model's labels.  scans: path and item of each row.  whole: they lie in order and none in
    between is left out, as it is in a shard.  probabilities, said: (rows, names), the latter as 0 and 1, which the
    metrics take as they take probabilities; NaN in the rows that `failed`, with an error.
    abstained, ood: (rows,).  threshold: above which a label is said; None if the most probable of several is.
    """

    task: Task
    names: tuple[str, ...]
    scans: list[tuple[str, str]]
    whole: bool
    probabilities: NDArray[np.float64]
    said: NDArray[np.float64]
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
    models, thresholds = set(), set()
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
        if row["threshold"] is not None:
            thresholds.add(row["threshold"])
    if all(failed):
        errors = ", but an error in every row" if scans else ""
        raise LiquidLensError(f"{table} has no answers to evaluate{errors}.")
    if len(models) > 1:
        raise LiquidLensError(f"{table} holds the answers of {len(models)} models: evaluate them one by one.")
    p, bad = np.array(probabilities, np.float64), np.array(failed)  # None becomes NaN
    for i in np.flatnonzero(~bad & ~((p >= 0) & (p <= 1)).all(1)):
        raise LiquidLensError(f"{table}: row {i + 1} has neither an error nor probabilities from 0 to 1.")
    threshold = min(thresholds, default=None)
    task = _task(p[~bad], threshold)
    ((model, model_sha256),) = models
    return Answers(
        task=task,
        names=names,
        scans=scans,
        whole=whole,
        probabilities=p,
        said=_said(table, task, names, labels, p, threshold),
        failed=bad,
        abstained=np.array(abstained),
        ood=np.array(ood),
        threshold=threshold,
        model=model,
        model_sha256=model_sha256,
    )


def _task(probabilities: NDArray, threshold: float | None) -> Task:
    if probabilities.shape[1] > 2:
        return "several classes" if threshold is None else "multi-label"
    # Both kinds have a threshold, but only the probabilities of two classes sum to 1.
    return "two classes" if np.allclose(probabilities.sum(1), 1, atol=0.01) else "multi-label"


def _said(
    table: Path,
    task: Task,
    names: tuple[str, ...],
    labels: list[str | None],
    probabilities: NDArray,
    threshold: float | None,
) -> NDArray[np.float64]:
    said = np.where(np.isnan(probabilities), np.nan, 0.0)
    if task == "multi-label":  # names are not read: "effusion, pleural" could be one of them or two
        return said + metrics.decided(probabilities, 0.5 if threshold is None else threshold, multi_label=True)
    number = {name: i for i, name in enumerate(names)}
    for i in np.flatnonzero(~np.isnan(probabilities).any(1)):
        if labels[i] not in number:
            raise LiquidLensError(f"{table}: row {i + 1} says {labels[i]!r}, and has no probability of it.")
        said[i, number[labels[i] or ""]] = 1
    return said
