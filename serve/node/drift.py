"""Drift: whether scans are still like those that a model was validated on, and like those that came first.

Two things are known of the validation split, and stand in the model's file: which share of it lay beyond the
out-of-distribution threshold, and of which share the model was not sure.  The shares among the newest answers are held
against them with an exact binomial test (one-sided: more than expected).  Scores, probabilities and intensities of the
newest answers are held against those before them with the two-sample Kolmogorov-Smirnov test.  All p-values of a rule
are corrected together (Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scand. J. Statist. 6, 1979).

A small p-value says that scans differ, not that answers are wrong; a large one does not say that they are right.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError
from liquidlens.files import replacing
from liquidlens.manifest import Manifest
from liquidlens.serve.node.journal import Answer, Journal

#: Below this a corrected p-value counts as drift.
LEVEL = 0.01
#: Fewer answers are not tested.
FEWEST = 20


@dataclass(frozen=True)
class Test:
    """name: of what.  expected, found: shares, or medians of the first and of the newest answers.  p: corrected."""

    name: str
    expected: float
    found: float
    p: float

    @property
    def drifts(self) -> bool:
        return self.p < LEVEL


@dataclass(frozen=True)
class Drift:
    """Of one rule and one file of its model.  newest: how many answers are held against the others.  tests: none if
    there are too few answers."""

    rule: str
    model: str
    model_sha256: str
    answers: int
    newest: int
    tests: tuple[Test, ...]

    @property
    def drifts(self) -> bool:
        return any(test.drifts for test in self.tests)


def expected(manifest: Manifest) -> dict[str, float]:
    """What a model's file says of its validation split: the shares ``ood`` and ``abstained``."""
    found = {"ood": 1 - manifest.out_of_distribution.quantile}
    coverage = manifest.metrics.get("val", {}).get("coverage")
    return found if coverage is None else found | {"abstained": 1 - coverage}


def find(journal: Journal, newest: int) -> list[Drift]:
    """The drift of each rule and model in a journal.  newest: how many of the last answers are held against those
    before them; of fewer than twice as many, the newer half.  Raises LiquidLensError if nothing was answered."""
    groups: dict[tuple[str, str, str], list[Answer]] = {}
    for answer in journal.answers():
        groups.setdefault((answer.rule, answer.model, answer.model_sha256), []).append(answer)
    if not groups:
        raise LiquidLensError("nothing was answered yet, according to this journal.")
    found = []
    for (rule, model, sha256), answers in groups.items():
        last = min(newest, len(answers) // 2)
        tests = _tests(answers, last, journal.expected(sha256)) if last >= FEWEST else ()
        found.append(Drift(rule, model, sha256, len(answers), last, tests))
    return found


def series(answers: Sequence[Answer]) -> dict[str, NDArray[np.float64]]:
    """What is looked at over time: (answers,) each."""
    return {
        "out-of-distribution score": np.array([answer.prediction["ood_score"] for answer in answers]),
        "highest probability": np.array([max(answer.prediction["probabilities"].values()) for answer in answers]),
        "mean intensity": np.array([answer.mean for answer in answers]),
        "deviation of intensities": np.array([answer.deviation for answer in answers]),
    }


def plot(journal: Journal, drift: Drift, path: Path) -> None:
    """Draw every answer of a rule over time.  Raises LiquidLensError if the file cannot be written."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    answers = [one for one in journal.answers() if (one.rule, one.model_sha256) == (drift.rule, drift.model_sha256)]
    when = [datetime.datetime.fromtimestamp(answer.time, datetime.UTC) for answer in answers]
    shown = series(answers)
    figure = Figure(figsize=(8, 2 * len(shown)), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(len(shown), sharex=True), shown.items(), strict=True):
        axes.plot(when, values, ".", color="#767676", markersize=4)
        if drift.newest:
            axes.axvspan(when[-drift.newest], when[-1], color="#e8e8e8", zorder=0)
        if name.startswith("out-of"):
            axes.axhline(answers[-1].prediction["ood_threshold"], color="#b35900", linewidth=1)
        axes.set_ylabel(name, fontsize=8)
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    figure.suptitle(
        f"{drift.rule}: {drift.model}, {len(answers)} answers; the newest {drift.newest} are shaded", fontsize=10
    )
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=120)


def _tests(answers: Sequence[Answer], last: int, shares: dict[str, float]) -> tuple[Test, ...]:
    from scipy.stats import binomtest, ks_2samp

    newest = answers[-last:]
    found = []
    for name, label in (("ood", "out of distribution"), ("abstained", "not sure")):
        if name in shares:
            count = sum(bool(answer.prediction[name]) for answer in newest)
            share = min(max(shares[name], 0.0), 1.0)
            found.append(Test(label, share, count / last, binomtest(count, last, share, alternative="greater").pvalue))
    before, after = series(answers[:-last]), series(newest)
    for name in before:
        p = ks_2samp(before[name], after[name]).pvalue
        found.append(Test(name, float(np.median(before[name])), float(np.median(after[name])), p))
    return _corrected(found)


def _corrected(tests: Sequence[Test]) -> tuple[Test, ...]:
    """Holm's correction: the smallest p-value counts as many times as there are tests, the next one time less."""
    highest, corrected = 0.0, {}
    for rank, test in enumerate(sorted(tests, key=lambda test: test.p)):
        highest = max(highest, min(1.0, float(test.p) * (len(tests) - rank)))
        corrected[test.name] = highest
    return tuple(Test(test.name, test.expected, test.found, corrected[test.name]) for test in tests)
