"""The figures of an exported model: calibration, operating point, intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from liquidlens import metrics
from liquidlens.export.facts import Bin, Calibration, Interval, Reliability
from liquidlens.export.facts import Operating as OperatingFigures
from liquidlens.export.measure import operating
from liquidlens.manifest import Operating, abstains
from liquidlens.train.datasets import Scans


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a run's dataset, and what the trained network makes of it.

    scans, labels: n of them, raw.  logits (n, K): as the network gives them; probabilities (n, classes): calibrated.
    activations (n, slices, channels): what the out-of-distribution score reads.
    """

    scans: Scans
    labels: NDArray
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    activations: Tensor


def calibration(splits: Mapping[str, Split], temperature: float, multi_label: bool) -> Calibration:
    """What the temperature does to each split."""

    def reliability(labels: NDArray, p: NDArray) -> Reliability:
        return Reliability(
            ece=metrics.expected_calibration_error(labels, p),
            brier=metrics.brier(labels, p),
            bins=tuple(Bin(*counted) for counted in metrics.reliability(labels, p)),
        )

    helps = "it lowers the loss of scans that it was not fitted to"
    helps_not = "no temperature lowers the loss of scans that it was not fitted to: probabilities stay"
    return Calibration(
        temperature=temperature,
        reason=helps_not if temperature == 1.0 else helps,
        before={
            name: reliability(split.labels, metrics.probabilities(split.logits, multi_label))
            for name, split in splits.items()
        },
        after={name: reliability(split.labels, split.probabilities) for name, split in splits.items()},
    )


def operating_point(
    labels: NDArray, probabilities: NDArray, rule: operating.Rule, abstain: float, multi_label: bool
) -> Operating:
    """The operating point for these validation scans, abstaining on the share `abstain` of them that is least certain.

    Only a model of two classes has a threshold to choose; multi-label models predict a label above 0.5 and never
    abstain.  Raises LiquidLensError if a wanted sensitivity cannot be had.
    """
    if multi_label:
        return Operating(threshold=0.5, rule="0.5 for each label")
    if probabilities.shape[1] > 2:
        margin = operating.abstain_margin(probabilities, abstain)
        return Operating(threshold=0.5, rule="the likeliest class", abstain_margin=margin)
    positive = probabilities[:, 1]
    threshold = rule.threshold(labels, positive)
    band = operating.abstain_band(positive, threshold, abstain)
    return Operating(threshold=threshold, rule=str(rule), abstain=band)


def operating_figures(split: Split, point: Operating, multi_label: bool) -> OperatingFigures:
    """The figures at an operating point, with their intervals."""
    labels, probabilities = split.labels, split.probabilities
    accuracy = partial(accuracy_at, threshold=point.threshold, multi_label=multi_label)
    figures = {"auc": metrics.auc, "accuracy": accuracy}
    if probabilities.shape[1] == 2 and not multi_label:
        figures["sensitivity"] = partial(metrics.sensitivity, threshold=point.threshold)
        figures["specificity"] = partial(metrics.specificity, threshold=point.threshold)
    sure = ~abstains(point, probabilities)
    return OperatingFigures(
        figures={name: interval(metric, labels, probabilities) for name, metric in figures.items()},
        coverage=float(sure.mean()),
        accuracy_when_sure=accuracy(labels[sure], probabilities[sure]) if sure.any() else float("nan"),
    )


def accuracy_at(labels: NDArray, probabilities: NDArray, threshold: float, multi_label: bool = False) -> float:
    """Share of scans, of multi-label data share of labels, that are decided right."""
    return float(np.mean(metrics.decided(probabilities, threshold, multi_label) == labels))


def interval(metric, labels: NDArray, probabilities: NDArray) -> Interval:
    """A metric with its 95 % bootstrap interval."""
    return Interval(metric(labels, probabilities), *metrics.bootstrap(metric, labels, probabilities))
