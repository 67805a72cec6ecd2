"""Metrics of classifiers, in one place for training, export, serving and studies.  Numpy alone.

labels: (n,) class numbers from 0; multi-label data has (n, classes) of 0 and 1.
probabilities: (n, classes) in [0, 1], as `probabilities` makes them.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

#: A figure of labels and probabilities, such as `auc`.
Metric = Callable[[NDArray, NDArray], float]


def sigmoid(logits: NDArray) -> NDArray[np.float64]:
    """Probabilities of logits, in float64 and without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, np.float64)))


def probabilities(logits: NDArray, multi_label: bool = False) -> NDArray[np.float64]:
    """Logits (n, K) as probabilities: one logit is that of the second of two classes, more go through a softmax;
    multi-label ones are independent."""
    logits = np.asarray(logits, np.float64)
    if multi_label:
        return sigmoid(logits)
    if logits.shape[1] == 1:
        positive = sigmoid(logits)
        return np.concatenate([1 - positive, positive], 1)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def one_hot(labels: NDArray, classes: int) -> NDArray[np.float64]:
    """(n, classes) of 0 and 1; multi-label data is that already."""
    return labels.astype(np.float64) if labels.ndim == 2 else np.eye(classes)[labels]


def decided(probabilities: NDArray, threshold: float = 0.5, multi_label: bool = False) -> NDArray[np.int64]:
    """What the probabilities decide: (n,) class numbers, of multi-label data (n, classes) of 0 and 1.

    The second of two classes, and a label of multi-label data, needs a probability above the threshold; of more
    classes the most probable one is taken, whatever the threshold.
    """
    if multi_label:
        return (probabilities > threshold).astype(np.int64)
    if probabilities.shape[1] == 2:
        return (probabilities[:, 1] > threshold).astype(np.int64)
    return probabilities.argmax(1)


def auc(labels: NDArray, probabilities: NDArray) -> float:
    """Area under the ROC curve of the second of two classes; of more classes, the mean of one-against-the-rest.

    Classes without scans, or without others, have no area and do not count; NaN if that leaves none, or if a
    probability is not a number.
    """
    return _mean_over_classes(_area, labels, probabilities)


def average_precision(labels: NDArray, probabilities: NDArray) -> float:
    """Area under the precision-recall curve (AUPRC) of the second of two classes; of more classes, the mean of
    one-against-the-rest.

    Precision at each probability times the recall that it adds, without interpolation, as scikit-learn's
    ``average_precision_score`` (Davis and Goadrich, ICML 2006, say why).  Classes count, and NaN is given, as by `auc`.
    """
    return _mean_over_classes(_precision, labels, probabilities)


def accuracy(labels: NDArray, probabilities: NDArray) -> float:
    """Share of scans whose most probable class is right (of two equal ones the first); of multi-label data, share of
    labels on the right side of 0.5."""
    if labels.ndim == 2:
        return float(np.mean((probabilities > 0.5) == (labels == 1)))
    return float(np.mean(probabilities.argmax(1) == labels))


def recall(labels: NDArray, probabilities: NDArray) -> float:
    """Macro recall of the most probable class: its mean over all classes that occur or are predicted.

    Of multi-label data, the mean over labels of the share of their scans with a probability above 0.5; NaN if no label
    occurs or is predicted.
    """
    hits, actual, predicted = _counts(labels, probabilities)
    return _mean(hits / np.maximum(actual, 1), (actual > 0) | (predicted > 0))


def f1(labels: NDArray, probabilities: NDArray) -> float:
    """F1 score of the second of two classes; of more, the mean over all classes that occur or are predicted; NaN if
    there is none."""
    hits, actual, predicted = _counts(labels, probabilities)
    scores = 2 * hits / np.maximum(actual + predicted, 1)
    if _binary(labels, probabilities):
        return float(scores[1])
    return _mean(scores, (actual > 0) | (predicted > 0))


def sensitivity(labels: NDArray, probabilities: NDArray, threshold: float = 0.5) -> float:
    """Share of the second of two classes' scans with a probability above the threshold; NaN if there are none."""
    return _share(probabilities[labels == 1, 1] > threshold)


def specificity(labels: NDArray, probabilities: NDArray, threshold: float = 0.5) -> float:
    """Share of the first of two classes' scans whose probability of the second is not above the threshold; NaN if there
    are none."""
    return _share(probabilities[labels == 0, 1] <= threshold)


def dice(labels: NDArray, probabilities: NDArray) -> float:
    """Soft Dice coefficient 2 sum(p y) / (sum(p) + sum(y)) over all scans: of the second of two classes; of more, over
    all classes with y one-hot, which is the mean probability of the right class."""
    truth = one_hot(labels, probabilities.shape[1])
    if _binary(labels, probabilities):
        probabilities, truth = probabilities[:, 1], truth[:, 1]
    return float(2 * (probabilities * truth).sum() / max(probabilities.sum() + truth.sum(), 1e-12))


def brier(labels: NDArray, probabilities: NDArray) -> float:
    """Brier score (Brier, "Verification of forecasts expressed in terms of probability", 1950): mean squared distance
    to the truth, of the probability of the second of two classes (half of Brier's own sum over both), of more classes
    the sum over all, of multi-label data the mean over labels."""
    squared = (probabilities - one_hot(labels, probabilities.shape[1])) ** 2
    if _binary(labels, probabilities):
        return float(squared[:, 1].mean())
    return float(squared.mean() if labels.ndim == 2 else squared.sum(1).mean())


def expected_calibration_error(labels: NDArray, probabilities: NDArray, bins: int = 10) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015), equally wide bins: of the probability of the second of two
    classes, of the most probable one of several (Guo et al., ICML 2017), of all of multi-label data.

    The gap between mean probability and share in each bin, averaged with the bins' sizes as weights; NaN if a
    probability is not a number.
    """
    if np.isnan(probabilities).any():
        return float("nan")
    confidence, right, count = _binned(labels, probabilities, bins)
    return float(np.abs(confidence - right).sum() / count.sum())


def reliability(labels: NDArray, probabilities: NDArray, bins: int = 10) -> list[tuple[float, float, int]]:
    """The bins of `expected_calibration_error` that are not empty, from low to high, each as mean probability, share of
    scans that are right (of two classes: that are of the second; of multi-label data: of labels that are true), and how
    many.  No bins if a probability is not a number."""
    if np.isnan(probabilities).any():
        return []
    sums = zip(*_binned(labels, probabilities, bins), strict=True)
    return [(float(confidence / count), float(right / count), int(count)) for confidence, right, count in sums if count]


def risk_coverage(labels: NDArray, probabilities: NDArray, threshold: float = 0.5) -> tuple[NDArray, NDArray]:
    """Selective classification (El-Yaniv and Wiener, JMLR 2010): (coverage, risk), the share of scans that are
    answered, growing up to 1, and the share of wrong answers among them, if only the most certain ones are answered.

    Of two classes, and of each label of multi-label data, what is decided at the threshold is the more certain the
    farther it lies from it, in logits, as the abstain band does.  Of more classes, the most probable one is answered,
    as certain as it is probable.  Equally certain answers come in together.
    """
    if _binary(labels, probabilities) or labels.ndim == 2:
        yes = probabilities[:, 1] if labels.ndim == 1 else probabilities.ravel()
        no = probabilities[:, 0] if labels.ndim == 1 else 1 - yes
        certainty = np.abs(_log(yes) - _log(no) - (_log(threshold) - _log(1 - threshold)))
        wrong = (yes > threshold) != (labels.ravel() == 1)
    else:
        certainty, wrong = probabilities.max(1), probabilities.argmax(1) != labels
    order = np.argsort(-certainty)
    last = np.append(np.diff(certainty[order]) != 0, True)[: len(order)]  # of those that are equally certain
    answered = np.flatnonzero(last) + 1
    return answered / len(order), np.cumsum(wrong[order])[last] / answered


def selective_accuracy(labels: NDArray, probabilities: NDArray, coverage: float = 0.9, threshold: float = 0.5) -> float:
    """Accuracy on the most certain scans, at least the share `coverage` of all; NaN if there are no scans."""
    answered, risk = risk_coverage(labels, probabilities, threshold)
    return float(1 - risk[answered >= coverage][0]) if len(risk) else float("nan")


def aurc(labels: NDArray, probabilities: NDArray, threshold: float = 0.5) -> float:
    """Area under the steps of `risk_coverage` (Geifman et al., ICLR 2019): 0 is best; NaN if there are no scans."""
    coverage, risk = risk_coverage(labels, probabilities, threshold)
    return float(np.diff(coverage, prepend=0.0) @ risk) if len(coverage) else float("nan")


def bootstrap(
    metric: Metric,
    labels: NDArray,
    probabilities: NDArray,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    patients: NDArray | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a metric (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993).

    As many scans as there are, drawn again with replacement, `samples` times; samples for which the metric is NaN, such
    as those of one class, do not count.  (NaN, NaN) if none does.  patients: whose each scan is: then patients are
    drawn, each with all of their scans, as scans of one patient say less than as many of several.
    """
    if metric in _OF_RANKS and not np.isnan(probabilities).any():
        probabilities = _ranks(probabilities)  # once, and not in each sample
    draws = _draws(len(labels), samples, seed) if patients is None else draws_of(patients, samples, seed)
    figures = [metric(labels.take(i, 0), probabilities.take(i, 0)) for i in draws]  # faster than labels[i]
    return interval(figures, level)


def paired_bootstrap(
    metric: Metric,
    labels: NDArray,
    first: NDArray,
    second: NDArray,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of metric(second) - metric(first), two models' probabilities of the same scans.

    Both are judged on the same drawn scans, so what is hard for both does not widen the interval; else as `bootstrap`.
    """
    draws = _draws(len(labels), samples, seed)
    return interval([metric(labels[i], second[i]) - metric(labels[i], first[i]) for i in draws], level)


def _draws(scans: int, samples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    for _ in range(samples if scans else 0):
        yield rng.integers(0, scans, scans)


def draws_of(patients: NDArray, samples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Which scans samples hold: as many patients as there are, drawn with replacement, each with all of their scans."""
    _, first, counts = np.unique(np.sort(patients), return_index=True, return_counts=True)
    order = np.argsort(patients, kind="stable")
    for drawn in _draws(len(first), samples, seed):
        # Of each patient drawn, the places of its scans in `order`: its first one and as many after it as it has.
        within = np.arange(counts[drawn].sum()) - np.repeat(np.cumsum(counts[drawn]) - counts[drawn], counts[drawn])
        yield order[np.repeat(first[drawn], counts[drawn]) + within]


def interval(figures: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The percentiles between which a share of bootstrapped figures lies; (NaN, NaN) if all of them are NaN."""
    known = np.array(figures)[~np.isnan(figures)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _mean_over_classes(figure: Callable[[NDArray, NDArray], float], labels: NDArray, probabilities: NDArray) -> float:
    """A figure of counts (`_tally`): the second of two classes', else the mean over classes with scans and others."""
    if np.isnan(probabilities).any():
        return float("nan")
    figures = []
    for k in [1] if _binary(labels, probabilities) else range(probabilities.shape[1]):
        positive = labels == k if labels.ndim == 1 else labels[:, k] == 1
        if positive.any() and not positive.all():
            figures.append(figure(*_tally(positive, probabilities[:, k])))
    return float(np.mean(figures)) if figures else float("nan")


def _tally(positive: NDArray[np.bool_], score: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many positives, and how many others, have each score, from the lowest on.  Whole numbers are taken for
    `_ranks`, which need no sorting; those that do not occur have none of either."""
    which = score if score.dtype.kind == "i" else np.unique(score, return_inverse=True)[1]
    scores = int(which.max()) + 1
    positives = np.bincount(which[positive], minlength=scores)
    return positives, np.bincount(which, minlength=scores) - positives


def _area(positives: NDArray[np.int64], negatives: NDArray[np.int64]) -> float:
    """Area under the ROC curve as the share of pairs in order, equal ones half (Mann and Whitney, 1947)."""
    below = np.cumsum(negatives) - negatives
    return float((positives * (2 * below + negatives)).sum() / (2 * positives.sum() * negatives.sum()))


def _precision(positives: NDArray[np.int64], negatives: NDArray[np.int64]) -> float:
    """Precision at the score of each positive, averaged."""
    found = np.cumsum(positives[::-1])
    precision = found / np.maximum(found + np.cumsum(negatives[::-1]), 1)
    return float(positives[::-1] @ precision / found[-1])


def _ranks(probabilities: NDArray) -> NDArray[np.int64]:
    """Each column's values as 0, 1, ..., equal ones alike: all that the figures in `_OF_RANKS` look at."""
    return np.stack([np.unique(column, return_inverse=True)[1] for column in probabilities.T], 1)


_OF_RANKS = (auc, average_precision)


def _log(probability: NDArray | float) -> NDArray[np.float64]:
    """Logarithm; of 0 it is finite, so that differences are numbers."""
    return np.log(np.maximum(np.asarray(probability, np.float64), 1e-12))


def _binned(labels: NDArray, probabilities: NDArray, bins: int) -> tuple[NDArray, NDArray, NDArray]:
    """Per bin: sum of probabilities, number of scans that are right (or positive), number of scans."""
    if _binary(labels, probabilities):
        confidence, right = probabilities[:, 1], labels == 1
    elif labels.ndim == 2:
        confidence, right = probabilities.ravel(), labels.ravel() == 1
    else:
        confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    return np.bincount(bin_of, confidence, minlength=bins), np.bincount(bin_of, right, minlength=bins), counts


def _share(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _mean(values: NDArray, which: NDArray[np.bool_]) -> float:
    return float(values[which].mean()) if which.any() else float("nan")


def _binary(labels: NDArray, probabilities: NDArray) -> bool:
    return labels.ndim == 1 and probabilities.shape[1] == 2


def _counts(labels: NDArray, probabilities: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Per class: scans of it that are found, scans of it, scans taken for it."""
    classes = probabilities.shape[1]
    if labels.ndim == 2:
        taken, truth = probabilities > 0.5, labels == 1
        return (taken & truth).sum(0), truth.sum(0), taken.sum(0)
    taken = probabilities.argmax(1)
    hits = np.bincount(labels[taken == labels], minlength=classes)
    return hits, np.bincount(labels, minlength=classes), np.bincount(taken, minlength=classes)
