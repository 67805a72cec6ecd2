"""The operating point: the probability above which a scan is positive, and the band in which a model abstains.

Everything here is chosen on validation scans and written into the manifest.  `labels` are (n,) class numbers 0 and 1,
`positive` (n,) probabilities of class 1.  A scan is positive if its probability is *above* the threshold.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError
from liquidlens.metrics import sigmoid

#: Probabilities nearer to 0 and 1 than this count as this near, so that their logits stay finite.
NEAREST = 1e-6
#: Logits nearer to each other than this are not parted: parity allows a file half of it on either side.
ROUNDING = 2e-4


@dataclass(frozen=True)
class Rule:
    """How a threshold is chosen; `value` is the threshold itself, or the wanted sensitivity."""

    kind: Literal["youden", "fixed", "sensitivity"]
    value: float = 0.5

    def __str__(self) -> str:
        return {"youden": "youden", "fixed": f"{self.value}", "sensitivity": f"sensitivity={self.value}"}[self.kind]

    def threshold(self, labels: NDArray, positive: NDArray) -> float:
        """The threshold for these scans.  Raises LiquidLensError if the wanted sensitivity cannot be had."""
        if self.kind == "youden":
            return youden(labels, positive)
        return self.value if self.kind == "fixed" else for_sensitivity(labels, positive, self.value)


def parse_rule(text: str) -> Rule:
    """ "youden", "0.5" or "sensitivity=0.95" as a rule.  Raises LiquidLensError for anything else."""
    if text == "youden":
        return Rule("youden")
    wanted, equals, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not equals and 0 <= value <= 1:
        return Rule("fixed", value)
    if wanted == "sensitivity" and 0 < value <= 1:
        return Rule("sensitivity", value)
    raise LiquidLensError(f"A threshold is youden, a number from 0 to 1, or sensitivity=0.95, not {text!r}.")


def youden(labels: NDArray, positive: NDArray) -> float:
    """The threshold with the largest sensitivity + specificity - 1 (Youden, "Index for rating diagnostic tests", 1950).

    It lies in the middle between two neighbouring probabilities that differ by more than rounding; of several equally
    good ones it is the nearest to 0.5.  0.5 if none is better than chance, as with labels of one class.
    """
    values, which = np.unique(positive, return_inverse=True)
    positives = np.bincount(which[labels == 1], minlength=len(values))
    negatives = np.bincount(which[labels == 0], minlength=len(values))
    found = positives.sum() - np.cumsum(positives)[:-1]  # for a threshold above the first value, the second, ...
    spared = np.cumsum(negatives)[:-1]
    # The index times both numbers of scans, plus their product: whole numbers, so that ties are ties.
    index = found * negatives.sum() + spared * positives.sum()
    with np.errstate(divide="ignore"):  # logits of 0 and 1
        logits = np.log(values, dtype=np.float64) - np.log1p(-values, dtype=np.float64)
    index[np.diff(logits) < ROUNDING] = 0
    if not (index > positives.sum() * negatives.sum()).any():
        return 0.5
    best = [_middle(values[i], values[i + 1]) for i in np.flatnonzero(index == index.max())]
    return min(best, key=lambda threshold: abs(threshold - 0.5))


def for_sensitivity(labels: NDArray, positive: NDArray, wanted: float) -> float:
    """The highest threshold that finds at least the share `wanted` of the positive scans.

    All thresholds between two neighbouring probabilities find the same scans; this is their middle.  Raises
    LiquidLensError if labels are of one class only, or if so many scans have probability 0 that no threshold finds
    enough of the others.
    """
    found = np.sort(positive[labels == 1])[::-1]
    if not 0 < len(found) < len(labels):
        raise LiquidLensError(f"A sensitivity of {wanted:g} needs validation scans of both classes to choose it on.")
    lowest = found[max(1, int(np.ceil(wanted * len(found) - 1e-9))) - 1]
    if not lowest > 0:
        raise LiquidLensError(f"No threshold finds {wanted:.0%} of the positive validation scans: try a lower share.")
    return _middle(positive[positive < lowest].max(initial=0), lowest)


def abstain_band(positive: NDArray, threshold: float, share: float) -> tuple[float, float] | None:
    """(low, high) around the threshold, equally far from it in logit space, with this share of the scans between.

    The model of two classes abstains where low < probability < high (selective classification: Geifman and El-Yaniv,
    "Selective Classification for Deep Neural Networks", NeurIPS 2017).  None if the share is less than one scan, or if
    that many lie on the threshold.
    """
    distance = np.abs(_logit(positive) - _logit(threshold))
    half = _between(distance, share)
    if half is None:
        return None
    low, high = sigmoid(_logit(threshold) + np.array([-half, half]))
    return (float(low), float(high)) if low < high else None


def abstain_margin(probabilities: NDArray, share: float) -> float | None:
    """The distance between the two most probable of several classes below which a model abstains: the quantile `share`
    of the distances of the scans, probabilities (n, classes).  None if the share is less than one scan."""
    second, first = np.sort(probabilities, 1)[:, -2:].T
    return _between(first - second, share)


def _between(values: NDArray, share: float) -> float | None:
    """A number below which `share` of the values lie, in the middle between two of them; None if that is none."""
    count = min(round(share * len(values)), len(values) - 1)
    if count <= 0:
        return None
    ordered = np.sort(values)
    return float((ordered[count - 1] + ordered[count]) / 2)


def _middle(low: float, high: float) -> float:
    """A threshold that parts two probabilities: the middle of their logits, so that 0.001 and 0.1 are parted at 0.01.

    Where both are so extreme that float32 does not part them in the middle, the lower one.
    """
    middle = float(sigmoid((_logit(low) + _logit(high)) / 2))
    return middle if low < np.float32(middle) < high else float(low)


def _logit(probability: NDArray | float) -> NDArray[np.float64]:
    p = np.clip(np.asarray(probability, np.float64), NEAREST, 1 - NEAREST)
    return np.log(p) - np.log1p(-p)
