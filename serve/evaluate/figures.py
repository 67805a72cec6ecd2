"""The figures of an evaluation, each with an interval if there are scans enough, and notes about them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from liquidlens import metrics
from liquidlens.serve.evaluate.answers import Task

#: A figure of fewer scans, or of fewer of one class, has no interval: resampling so few tells nothing of others.
SCANS_FOR_INTERVAL, OF_A_CLASS = 20, 5

#: What the figures are called, in the order in which they are shown.
FIGURES = {
    "accuracy": "accuracy",
    "accuracy_most_probable": "accuracy, most probable class",
    "accuracy_at_half": "accuracy at 0.5",
    "auc": "AUC",
    "auprc": "AUPRC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "macro_recall": "macro recall",
    "ece": "ECE",
    "brier": "Brier score",
    "accuracy_when_sure": "accuracy when sure",
}


class Interval(NamedTuple):
    """A figure and its 95 % percentile bootstrap interval; NaN where it is not defined, or has too few scans."""

    value: float
    low: float
    high: float


def figures_of(
    task: Task, truth: NDArray, probabilities: NDArray, predicted: NDArray, sure: NDArray[np.bool_], samples: int
) -> dict[str, Interval]:
    """The figures of scans with a label and an answer, by name, as `FIGURES` orders them.

    truth: (scans,), of multi-label data (scans, labels).
    probabilities, predicted: (scans, labels), the latter 0 and 1.
    sure: (scans,).
    samples: of the bootstrap.
    """
    of_predicted: dict[str, metrics.Metric] = {"accuracy": metrics.accuracy}
    if task == "two classes":
        of_predicted |= {"sensitivity": metrics.sensitivity, "specificity": metrics.specificity}
    else:
        of_predicted |= {"macro_recall": metrics.recall}
    of_probabilities: dict[str, metrics.Metric] = {
        "accuracy_at_half" if task == "multi-label" else "accuracy_most_probable": metrics.accuracy,
        "auc": metrics.auc,
        "auprc": metrics.average_precision,
        "ece": metrics.expected_calibration_error,
        "brier": metrics.brier,
    }

    def interval(metric: metrics.Metric, truth: NDArray, answers: NDArray) -> Interval:
        value = metric(truth, answers)
        if _too_few(metric, truth, answers.shape[1]):
            return Interval(value, math.nan, math.nan)
        return Interval(value, *metrics.bootstrap(metric, truth, answers, samples))

    figures = {name: interval(metric, truth, predicted) for name, metric in of_predicted.items()}
    figures |= {name: interval(metric, truth, probabilities) for name, metric in of_probabilities.items()}
    nothing = Interval(math.nan, math.nan, math.nan)
    figures["accuracy_when_sure"] = interval(metrics.accuracy, truth[sure], predicted[sure]) if sure.any() else nothing
    return {name: figures[name] for name in FIGURES if name in figures}


def confusion(truth: NDArray, predicted: NDArray) -> tuple[tuple[int, ...], ...]:
    """How many scans of each label (row) are predicted as which (column); of multi-label data see `Evaluation`."""
    if truth.ndim == 1:
        counts = metrics.one_hot(truth, predicted.shape[1]).T @ predicted
    else:
        absent, denied = 1 - truth, 1 - predicted
        sides = ((truth, predicted), (truth, denied), (absent, predicted), (absent, denied))
        counts = np.stack([(true * answer).sum(0) for true, answer in sides], 1)
    return tuple(tuple(map(int, row)) for row in counts)


def notes_of(names: Sequence[str], truth: NDArray, figures: dict[str, Interval]) -> tuple[str, ...]:
    """Sentences about what is not defined or has no interval, and why."""
    counts = metrics.one_hot(truth, len(names)).sum(0)
    none = [name for name, count in zip(names, counts, strict=True) if count == 0]
    every = [name for name, count in zip(names, counts, strict=True) if count == len(truth) and truth.ndim == 2]
    undefined = [FIGURES[name] for name, figure in figures.items() if math.isnan(figure.value)]
    notes = []
    if none:
        notes.append(f"No scan is labelled {' or '.join(none)}")
    if every:
        notes.append(f"All scans are labelled {' and '.join(every)}")
    if notes and "AUC" not in undefined:
        notes.append("AUC and AUPRC are means over the other labels")
    if undefined:
        notes.append(f"Not defined: {', '.join(undefined)}")
    few = [FIGURES[name] for name, (value, low, _) in figures.items() if math.isnan(low) and not math.isnan(value)]
    if few and len(few) + len(undefined) == len(figures):
        notes.append(f"Fewer than {SCANS_FOR_INTERVAL} scans are too few for an interval")
    elif few:
        notes.append(
            f"Too few for an interval, below {SCANS_FOR_INTERVAL} scans or {OF_A_CLASS} of a label: {', '.join(few)}"
        )
    return tuple(f"{note}." for note in notes)


def _too_few(metric: metrics.Metric, truth: NDArray, classes: int) -> bool:
    """Whether there are too few scans, in all or of a class that the metric looks at by itself, for an interval.

    Classes without scans do not matter: they are not among what is averaged, and notes say so.
    """
    yes = metrics.one_hot(truth, classes).sum(0)
    both = np.concatenate([yes, len(truth) - yes])
    of_classes: dict[metrics.Metric, NDArray] = {
        metrics.sensitivity: yes[1:],
        metrics.specificity: yes[:1],
        metrics.recall: yes,
        metrics.auc: both,
        metrics.average_precision: both,
    }
    counts = of_classes.get(metric, both[:0])
    return len(truth) < SCANS_FOR_INTERVAL or bool(((counts > 0) & (counts < OF_A_CLASS)).any())
