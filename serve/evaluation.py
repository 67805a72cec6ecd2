"""Evaluation of a results table against true labels: figures with intervals, a confusion matrix, a coverage-risk curve.

The table is what the batch script writes, a row for each scan; the labels are those of `serve.evaluation_labels`.
Figures are about the scans that have a label and an answer; the others are counted.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from imaging import LiquidLensError
from serve import evaluation_plots as plots
from serve import metrics
from serve.evaluation_answers import Task, read_answers
from serve.evaluation_labels import Labels, read_labels

__all__ = ["Evaluation", "Interval", "Labels", "evaluate", "read_labels", "summary", "write"]

#: The coverage-risk curve is stored with at most about as many points, whatever the number of scans.
POINTS = 1000

#: What the figures are called, in the order in which they are shown.
FIGURES = {
    "accuracy": "accuracy",
    "accuracy_most_probable": "accuracy, most probable class",
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
    """A figure and its 95 % percentile bootstrap interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """How good the answers of a results table are.

    table, labels: names of what was compared.  model, model_sha256: whose answers they are.  names: its labels.
    scans: how many have a label and an answer; errors: how many have an error instead of an answer; without_label: how
        many an answer and no label; labels_without_scan: how many labels belong to no scan of the table.
    threshold: from where on a label is said; None where the most probable of several is.
    figures: by name, see `FIGURES`.  ``accuracy``, ``sensitivity``, ``specificity`` and ``macro_recall`` are those of
        what the model says, ``accuracy_when_sure`` those of the scans on which it does not abstain; the rest is
        of the probabilities, as `serve.metrics` defines it.
    confusion: how many scans of each label (row) are said to be of which (column); of multi-label data, for each label
        how many scans have it and are said to, have it and are not said to, have it not and are said to, have it not
        and are not said to.
    abstained, ood: share of scans on which the model is not sure, and that are unlike its training scans.
    coverage, risk: `metrics.risk_coverage`; aurc: the area below.
    reliability: the bins of `metrics.reliability`.
    notes: sentences about what is not defined, and why.
    """

    table: str
    labels: str
    model: str
    model_sha256: str
    task: Task
    names: tuple[str, ...]
    scans: int
    errors: int
    without_label: int
    labels_without_scan: int
    threshold: float | None
    figures: dict[str, Interval]
    confusion: tuple[tuple[int, ...], ...]
    abstained: float
    ood: float
    aurc: float
    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    reliability: tuple[tuple[float, float, int], ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values, None for what is not defined: what ``json.dumps`` takes."""
        plain = asdict(self)
        plain["figures"] = {name: figure._asdict() for name, figure in self.figures.items()}
        return _plain(plain)


def evaluate(table: Path, labels: Labels, samples: int = 1000) -> Evaluation:
    """Compare a results table (CSV, JSONL or Parquet) with labels; samples: of the bootstrap.

    Raises LiquidLensError if they do not belong together, and if no scan has both a label and an answer.
    """
    answers = read_answers(table)
    truths = labels.numbers(answers.names)
    row = labels.find(answers.scans, table.name)
    if (truths.ndim == 2) != (answers.task == "multi-label"):
        kinds = ("one label for each scan", "0 or 1 for each label and scan")
        given, needed = kinds if answers.task == "multi-label" else kinds[::-1]
        raise LiquidLensError(f"{labels.source} gives {given}, and the model of {table} needs {needed}.")
    known = truths.reshape(len(truths), -1).min(1) >= 0
    labelled = (row >= 0) & known[row]
    chosen = labelled & ~answers.failed
    if not chosen.any():
        raise LiquidLensError(
            f"{table} has nothing to evaluate: of its {len(row):,} scans, {answers.failed.sum():,} have an error and "
            f"{(~labelled).sum():,} no label in {labels.source}."
        )
    truth, probabilities = truths[row[chosen]], answers.probabilities[chosen]
    said = answers.said[chosen]
    sure = ~answers.abstained[chosen]
    figures = _figures(answers.task, truth, probabilities, said, sure, samples)
    cut = 0.5 if answers.threshold is None else answers.threshold
    coverage, risk = metrics.risk_coverage(truth, probabilities, cut)
    few = np.unique(np.linspace(0, len(coverage) - 1, min(POINTS, len(coverage))).astype(int))
    return Evaluation(
        table=table.name,
        labels=labels.source,
        model=answers.model,
        model_sha256=answers.model_sha256,
        task=answers.task,
        names=answers.names,
        scans=int(chosen.sum()),
        errors=int(answers.failed.sum()),
        without_label=int((~labelled & ~answers.failed).sum()),
        labels_without_scan=int(known.sum() - len(set(row[labelled].tolist()))),
        threshold=answers.threshold,
        figures=figures,
        confusion=_confusion(truth, said),
        abstained=float(1 - sure.mean()),
        ood=float(answers.ood[chosen].mean()),
        aurc=metrics.aurc(truth, probabilities, cut),
        coverage=tuple(coverage[few].tolist()),
        risk=tuple(risk[few].tolist()),
        reliability=tuple(metrics.reliability(truth, probabilities)),
        notes=_notes(answers.names, truth, figures),
    )


def write(evaluation: Evaluation, table: Path) -> list[Path]:
    """Write the evaluation beside its table: of ``results.csv`` ``results.evaluation.json`` and the pictures
    ``results.confusion.png``, ``results.coverage-risk.png`` and ``results.reliability.png``.

    All are drawn before any is written, and each is written whole or not at all.
    """
    figure = evaluation.figures["accuracy_when_sure"]
    dot = (1 - evaluation.abstained, 1 - figure.value) if 0 < evaluation.abstained < 1 else None
    matrix = plots.findings if evaluation.task == "multi-label" else plots.confusion
    text = json.dumps(evaluation.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    contents = {
        "evaluation.json": text.encode(),
        "confusion.png": plots.png(matrix(np.array(evaluation.confusion), evaluation.names)),
        "coverage-risk.png": plots.png(plots.coverage_risk(evaluation.coverage, evaluation.risk, dot)),
        "reliability.png": plots.png(plots.reliability(evaluation.reliability, _whose(evaluation))),
    }
    paths = {table.with_name(f"{table.stem}.{ending}"): content for ending, content in contents.items()}
    partial = {path: path.with_name(f"{path.name}.partial") for path in paths}
    try:
        for path, content in paths.items():
            partial[path].write_bytes(content)
        for path in paths:
            os.replace(partial[path], path)
    finally:
        for path in partial.values():
            if path.is_file():
                path.unlink()
    return list(paths)


def summary(evaluation: Evaluation) -> list[tuple[str, str]]:
    """The evaluation as lines for a person, each what and how much."""
    left_out = {
        "with an error": evaluation.errors,
        "without label": evaluation.without_label,
        "labels without scan": evaluation.labels_without_scan,
    }
    counted = ", ".join(f"{number:,} {what}" for what, number in left_out.items() if number)
    lines = [("scans", f"{evaluation.scans:,}" + f" (and {counted})" * bool(counted))]
    if evaluation.threshold is not None:
        lines.append(("threshold", f"{evaluation.threshold:.3f}"))
    # Without a threshold of its own, the model says the most probable class: the two accuracies are one.
    hidden = set() if evaluation.task == "two classes" else {"accuracy_most_probable"}
    hidden |= set() if evaluation.abstained else {"accuracy_when_sure"}
    lines += [(FIGURES[name], _shown(figure)) for name, figure in evaluation.figures.items() if name not in hidden]
    lines.append(("area under coverage-risk", f"{evaluation.aurc:.3f}"))
    lines.append(("not sure", f"{evaluation.abstained:.1%} of scans"))
    lines.append(("unlike the training scans", f"{evaluation.ood:.1%} of scans"))
    return lines + [("note", note) for note in evaluation.notes]


def _figures(
    task: Task, truth: NDArray, probabilities: NDArray, said: NDArray, sure: NDArray[np.bool_], samples: int
) -> dict[str, Interval]:
    of_said: dict[str, metrics.Metric] = {"accuracy": metrics.accuracy}
    if task == "two classes":
        of_said |= {"sensitivity": metrics.sensitivity, "specificity": metrics.specificity}
    else:
        of_said |= {"macro_recall": metrics.recall}
    of_probabilities: dict[str, metrics.Metric] = {
        "accuracy_most_probable": metrics.accuracy,
        "auc": metrics.auc,
        "auprc": metrics.average_precision,
        "ece": metrics.expected_calibration_error,
        "brier": metrics.brier,
    }

    def interval(metric: metrics.Metric, truth: NDArray, answers: NDArray) -> Interval:
        return Interval(metric(truth, answers), *metrics.bootstrap(metric, truth, answers, samples))

    figures = {name: interval(metric, truth, said) for name, metric in of_said.items()}
    figures |= {name: interval(metric, truth, probabilities) for name, metric in of_probabilities.items()}
    nothing = Interval(math.nan, math.nan, math.nan)
    figures["accuracy_when_sure"] = interval(metrics.accuracy, truth[sure], said[sure]) if sure.any() else nothing
    return {name: figures[name] for name in FIGURES if name in figures}


def _confusion(truth: NDArray, said: NDArray) -> tuple[tuple[int, ...], ...]:
    if truth.ndim == 1:
        counts = metrics.one_hot(truth, said.shape[1]).T @ said
    else:
        sides = ((truth, said), (truth, 1 - said), (1 - truth, said), (1 - truth, 1 - said))
        counts = np.stack([(true * answer).sum(0) for true, answer in sides], 1)
    return tuple(tuple(map(int, row)) for row in counts)


def _notes(names: Sequence[str], truth: NDArray, figures: dict[str, Interval]) -> tuple[str, ...]:
    counts = metrics.one_hot(truth, len(names)).sum(0)
    none = [name for name, count in zip(names, counts, strict=True) if count == 0]
    every = [name for name, count in zip(names, counts, strict=True) if count == len(truth) and truth.ndim == 2]
    undefined = [FIGURES[name] for name, figure in figures.items() if math.isnan(figure.value)]
    partial = ["AUC and AUPRC are means over the other labels"] if "AUC" not in undefined else []
    notes = [f"No scan is labelled {' or '.join(none)}"] * bool(none)
    notes += [f"All scans are labelled {' and '.join(every)}"] * bool(every)
    notes += partial * bool(notes)
    notes += [f"Not defined: {', '.join(undefined)}"] * bool(undefined)
    return tuple(f"{note}." for note in notes)


def _whose(evaluation: Evaluation) -> str:
    """Whose probability the calibration is about, see `metrics.expected_calibration_error`."""
    if evaluation.task == "two classes":
        return f"“{evaluation.names[1]}”"
    return "each label" if evaluation.task == "multi-label" else "the most probable label"


def _plain(value: Any) -> Any:
    """Lists for tuples, None for NaN."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _shown(figure: Interval) -> str:
    if math.isnan(figure.value):
        return "not defined"
    if math.isnan(figure.low):
        return f"{figure.value:.3f}"
    digits = 2 if figure.high - figure.low >= 0.05 else 3
    return f"{figure.value:.3f} ({figure.low:.{digits}f} to {figure.high:.{digits}f})"
