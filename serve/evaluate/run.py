"""Evaluation of a results table against true labels: figures with intervals, a confusion matrix, a coverage-risk curve.

The table is what the batch script writes, a row for each scan; the labels are those of `serve.evaluate.labels`.
Figures are about the scans that have a label and an answer; the others are counted.
"""

import json
import math
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liquidlens import metrics
from liquidlens.errors import LiquidLensError
from liquidlens.files import replacing
from liquidlens.serve.evaluate import plots
from liquidlens.serve.evaluate.answers import Answers, Task, read_answers
from liquidlens.serve.evaluate.figures import FIGURES, SCANS_FOR_INTERVAL, Interval, confusion, figures_of, notes_of
from liquidlens.serve.evaluate.labels import Labels, read_labels
from liquidlens.words import counted

__all__ = ["Evaluation", "Interval", "Labels", "evaluate", "read_labels", "summary", "write"]

#: The coverage-risk curve is stored with at most about as many points, whatever the number of scans.
POINTS = 1000


@dataclass(frozen=True)
class Evaluation:
    """How good the answers of a results table are.

    table, labels: names of what was compared.
    model, model_sha256, names: whose answers they are, and its labels.
    scans: how many have a label and an answer.
    errors: how many have an error instead of an answer.
    without_label: how many have an answer and no label.
    labels_without_scan: how many labels belong to no scan of the table.
    threshold: a label is predicted if its probability is above; None where the most probable of several is.
    figures: by name, see `FIGURES`.  ``accuracy``, ``sensitivity``, ``specificity`` and ``macro_recall`` are those of
        the predicted labels, ``accuracy_when_sure`` that of the scans on which it does not abstain; the rest is
        of the probabilities, as `metrics` defines it: ``accuracy_most_probable`` of the most probable class, or,
        of multi-label data, ``accuracy_at_half``, the share of labels on the right side of 0.5.
    confusion: how many scans of each label (row) are predicted as which (column); of multi-label data, for each label
        its true positives, false negatives, false positives and true negatives.
    abstained, ood: share of scans on which the model is not sure, and that are out-of-distribution.
    coverage, risk, aurc: `metrics.risk_coverage`, and the area below.
    reliability: the bins of `metrics.reliability`.
    notes: sentences about what is not defined or has no interval, and why.
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
    try:
        truths, row = _matched(answers, labels, table)
    except LiquidLensError as error:
        raise LiquidLensError(f"{error} The table is kept; --resume --labels evaluates it.") from None
    known = truths.reshape(len(truths), -1).min(1) >= 0
    labelled = (row >= 0) & known[row]
    chosen = labelled & ~answers.failed
    truth, probabilities = truths[row[chosen]], answers.probabilities[chosen]
    predicted = answers.predicted[chosen]
    sure = ~answers.abstained[chosen]
    figures = figures_of(answers.task, truth, probabilities, predicted, sure, samples)
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
        confusion=confusion(truth, predicted),
        abstained=float(1 - sure.mean()),
        ood=float(answers.ood[chosen].mean()),
        aurc=metrics.aurc(truth, probabilities, cut),
        coverage=tuple(coverage[few].tolist()),
        risk=tuple(risk[few].tolist()),
        reliability=tuple(metrics.reliability(truth, probabilities)),
        notes=notes_of(answers.names, truth, figures),
    )


def _matched(answers: Answers, labels: Labels, table: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The labels as numbers, and for each scan which of them is its own, -1 for none; at least one scan has a label and
    an answer."""
    truths = labels.numbers(answers.names)
    row = labels.find(answers.scans, table.name, answers.whole)
    if (truths.ndim == 2) != (answers.task == "multi-label"):
        kinds = ("one label for each scan", "0 or 1 for each label and scan")
        given, needed = kinds if answers.task == "multi-label" else kinds[::-1]
        raise LiquidLensError(f"{labels.source} gives {given}, and the model of {table} needs {needed}.")
    labelled = (row >= 0) & (truths.reshape(len(truths), -1).min(1) >= 0)[row]
    if not (labelled & ~answers.failed).any():
        raise LiquidLensError(
            f"{table} has nothing to evaluate: scans {len(row):,}, with an error {answers.failed.sum():,}, without a "
            f"label in {labels.source} {(~labelled).sum():,}."
        )
    return truths, row


def write(evaluation: Evaluation, table: Path) -> list[Path]:
    """Write the evaluation beside its table: of ``results.csv`` ``results.evaluation.json`` and the pictures
    ``results.confusion.png``, ``results.coverage-risk.png`` and ``results.reliability.png``.

    All are drawn before any is written, and each is written whole or not at all.
    """
    figure = evaluation.figures["accuracy_when_sure"]
    dot = (1 - evaluation.abstained, 1 - figure.value) if 0 < evaluation.abstained < 1 else None
    matrix = plots.findings if evaluation.task == "multi-label" else plots.confusion
    whose, right = _calibrated(evaluation)
    of = f"n = {evaluation.scans:,}, model {evaluation.model}"
    with_area, with_ece = f"{of}, AURC {evaluation.aurc:.3f}", f"{of}, ECE {evaluation.figures['ece'].value:.3f}"
    text = json.dumps(evaluation.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    contents = {
        "evaluation.json": text.encode(),
        "confusion.png": plots.png(matrix(np.array(evaluation.confusion), evaluation.names, of)),
        "coverage-risk.png": plots.png(plots.coverage_risk(evaluation.coverage, evaluation.risk, dot, with_area)),
        "reliability.png": plots.png(plots.reliability(evaluation.reliability, whose, right, with_ece)),
    }
    paths = {table.with_name(f"{table.stem}.{ending}"): content for ending, content in contents.items()}
    with ExitStack() as all_or_none:
        for path, content in paths.items():
            all_or_none.enter_context(replacing(path)).write_bytes(content)
    return list(paths)


def summary(evaluation: Evaluation) -> list[tuple[str, str]]:
    """The evaluation as lines for a person, each what and how much."""
    left_out = {"with an error": evaluation.errors, "without label": evaluation.without_label}
    others = [f"{number:,} {what}" for what, number in left_out.items() if number]
    if evaluation.labels_without_scan:
        others.append(f"{counted(evaluation.labels_without_scan, 'label')} without scan")
    lines = [("scans", f"{evaluation.scans:,}" + (f" (and {', '.join(others)})" if others else ""))]
    if evaluation.threshold is not None:
        lines.append(("threshold", f"{evaluation.threshold:.3f}"))
    # Without a threshold of its own, or at 0.5, the most probable class is predicted: the two accuracies are one.
    hidden = {"accuracy_most_probable", "accuracy_at_half"} if evaluation.threshold in (None, 0.5) else set()
    hidden |= set() if evaluation.abstained else {"accuracy_when_sure"}
    lines += [(FIGURES[name], _shown(figure)) for name, figure in evaluation.figures.items() if name not in hidden]
    lines.append(("area under coverage-risk", f"{evaluation.aurc:.3f}"))
    for what, share in (("not sure", evaluation.abstained), ("out-of-distribution", evaluation.ood)):
        percent = f" ({share:.1%})" if evaluation.scans >= SCANS_FOR_INTERVAL else ""
        lines.append((what, f"{round(share * evaluation.scans):,} of {evaluation.scans:,}{percent}"))
    return lines + [("note", note) for note in evaluation.notes]


def _calibrated(evaluation: Evaluation) -> tuple[str, str]:
    """Whose probability the calibration is about, and of what the share, see `metrics.expected_calibration_error`."""
    if evaluation.task == "two classes":
        return evaluation.names[1], f"of {evaluation.names[1]}"
    if evaluation.task == "multi-label":
        return "each label", "that is true"
    return "the most probable label", "that is right"


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
