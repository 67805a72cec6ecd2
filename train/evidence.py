"""How good a model of one's own scans is, as figures that a person can weigh: each names its class and has an interval,
and beside them stands how well the label can be told without looking at the scan."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pydantic
from numpy.typing import NDArray

from liquidlens import metrics
from liquidlens.train.datasets.dataset import Task

_PLAIN = pydantic.ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Figure(NamedTuple):
    """A figure and its 95 % interval, bootstrapped over patients; NaN where it is not defined, or not known."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "not defined"
        span = "" if math.isnan(self.low) else f" ({self.low:.3f} to {self.high:.3f})"
        return f"{self.value:.3f}{span}"


class Shortcut(pydantic.BaseModel):
    """How well the label is told by what should not tell it: the AUC of a forest, cross-validated by patient.

    auc: by how the scans are stored, see `train.datasets.shortcut`.  mask: by the volume and the diameter of the masks
    alone, where there are any, which may be a true sign and needs no network.
    """

    model_config = _PLAIN

    auc: Figure
    mask: Figure | None = None

    def beside(self, model: Figure) -> list[str]:
        """What it says about a model with this AUC, in sentences."""
        return [
            _compared("What should not tell the label (size, spacing, storage, mean value)", self.auc, model),
            *([_compared("The masks' volume and diameter", self.mask, model)] if self.mask is not None else []),
        ]


def _compared(what: str, found: Figure, model: Figure) -> str:
    if math.isnan(found.value):
        return f"{what}: its AUC is not defined."
    said = f"{what} alone: AUC {found}; the model: {model}"
    if model.low > found.value or (math.isnan(model.low) and model.value > found.high):
        return f"{said}."
    return f"{said}, which is NOT clearly above it: nothing shows that the model learned more than that."


class CrossValidation(pydantic.BaseModel):
    """What a cross-validation found: of every scan, the answer of a model that has not seen its patient.

    epochs: how many the best weights of each fold had; the final model was trained for their median.
    """

    model_config = _PLAIN

    folds: int
    scans: int
    patients: int
    epochs: tuple[int, ...]
    figures: dict[str, Figure]

    def __str__(self) -> str:
        return f"{self.folds}-fold cross-validation, {self.scans:,} scans of {self.patients:,} patients"


def figures(
    task: Task, names: Sequence[str], labels: NDArray, probabilities: NDArray, patients: NDArray, samples: int = 1000
) -> dict[str, Figure]:
    """The figures of probabilities (n, classes), each with the class it is about in its name, the AUC first.

    Answers are those at 0.5, or the most probable class of several.
    """

    def of(metric: metrics.Metric, truth: NDArray = labels, answers: NDArray = probabilities) -> Figure:
        interval = metrics.bootstrap(metric, truth, answers, samples, patients=patients)
        return Figure(metric(truth, answers), *interval)

    one_hot = metrics.one_hot(labels, len(names))
    found: dict[str, Figure] = {}
    if task == "classes" and len(names) == 2:
        found[f"AUC ({names[1]})"] = of(metrics.auc)
        found["accuracy"] = of(metrics.accuracy)
        found[f"sensitivity ({names[1]})"] = of(metrics.sensitivity)
        found[f"specificity ({names[1]})"] = of(metrics.specificity)
        found[f"AUPRC ({names[1]})"] = of(metrics.average_precision)
    else:
        found["AUC, mean over classes"] = of(metrics.auc)
        found["accuracy"] = of(metrics.accuracy)
        said = metrics.decided(probabilities, multi_label=task == "multi-label")
        answered = said if said.ndim == 2 else metrics.one_hot(said, len(names))
        for k, name in enumerate(names):
            found[f"AUC ({name})"] = of(partial(_of_class, k))
            two = np.stack([1 - answered[:, k], answered[:, k]], 1)
            found[f"sensitivity ({name})"] = of(metrics.sensitivity, one_hot[:, k].astype(int), two)
    found["ECE"] = of(metrics.expected_calibration_error)
    return found


def _of_class(k: int, labels: NDArray, probabilities: NDArray) -> float:
    """AUC of one class against the rest."""
    truth = (labels == k) if labels.ndim == 1 else labels[:, k] == 1
    score = probabilities[:, k]
    return metrics.auc(truth.astype(int), np.stack([1 - score, score], 1))


def first(found: dict[str, Figure]) -> Figure:
    """The AUC among the figures."""
    return next(iter(found.values()))
