"""Choosing thresholds and abstain bands, against an exhaustive search and cases that can be checked by hand."""

import numpy as np
import pytest

from liquidlens import metrics
from liquidlens.errors import LiquidLensError
from liquidlens.export.measure.operating import abstain_band, abstain_margin, for_sensitivity, parse_rule, youden


def two_classes(positive):
    return np.stack([1 - positive, positive], 1)


def youden_index(labels, positive, threshold) -> float:
    both = two_classes(positive)
    return metrics.sensitivity(labels, both, threshold) + metrics.specificity(labels, both, threshold) - 1


def validation(seed, scans=80):
    """Labels, and float32 probabilities that say something about them; some are equal, some extreme."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, scans)
    logits = 6 * labels - 3 + rng.normal(0, 4, scans)
    return labels, metrics.sigmoid(logits.round(1)).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better_than_youdens(seed):
    labels, positive = validation(seed)
    threshold = youden(labels, positive)
    everywhere = [0.0, *np.unique(positive).astype(float)]
    best = max(youden_index(labels, positive, t) for t in everywhere)
    assert youden_index(labels, positive, threshold) == pytest.approx(best)
    assert threshold not in positive, "a threshold on a scan's own probability turns with rounding"


def test_youdens_threshold_is_the_middle_of_logits():
    assert youden(np.array([0, 1]), np.array([0.4, 0.6])) == pytest.approx(0.5)
    assert youden(np.array([0, 1]), np.array([1e-4, 1e-2])) == pytest.approx(1e-3, rel=0.01)


def test_of_equally_good_thresholds_the_nearest_to_a_half_is_taken():
    labels, positive = np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.5, 0.7])
    assert youden_index(labels, positive, 0.15) == youden_index(labels, positive, 0.6) == 0.5
    assert youden(labels, positive) == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize(
    ("labels", "positive"),
    [([1, 1], [0.1, 0.9]), ([0, 0], [0.1, 0.9]), ([1, 0], [0.1, 0.9]), ([0, 1], [0.3, 0.3]), ([1], [0.2]), ([], [])],
)
def test_without_a_threshold_better_than_chance_it_is_a_half(labels, positive):
    assert youden(np.array(labels, int), np.array(positive)) == 0.5


def test_answers_that_differ_by_rounding_are_not_parted():
    labels, logits = np.array([0, 0, 1, 1]), np.array([-1.0, 0.0, 1e-4, 1.0])
    assert youden(labels, metrics.sigmoid(logits)) == pytest.approx(metrics.sigmoid(np.array(-0.5)), abs=1e-4)
    assert youden(labels[1:3], metrics.sigmoid(logits[1:3])) == 0.5
    logits[2] = 3e-4
    assert youden(labels, metrics.sigmoid(logits)) == pytest.approx(metrics.sigmoid(np.array(1.5e-4)), abs=1e-7)


@pytest.mark.parametrize("wanted", [0.05, 0.5, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_no_higher_threshold_has_the_wanted_sensitivity(seed, wanted):
    labels, positive = validation(seed)
    threshold = for_sensitivity(labels, positive, wanted)
    assert metrics.sensitivity(labels, two_classes(positive), threshold) >= wanted
    next_higher = positive[positive > threshold].min()
    assert metrics.sensitivity(labels, two_classes(positive), next_higher) < wanted


def test_saturated_probabilities_are_parted_in_float32():
    """The file's probabilities are float32, and so the comparison with the threshold is."""
    almost = np.nextafter(np.float32(1), np.float32(0))
    positive = np.array([0.0, almost, 1.0, 1.0], np.float32)
    labels = np.array([0, 0, 1, 1])
    for threshold in (youden(labels, positive), for_sensitivity(labels, positive, 1)):
        assert metrics.decided(two_classes(positive), threshold).tolist() == [0, 0, 1, 1]
    tiny = np.array([1e-30, 1e-20], np.float32)
    assert metrics.decided(two_classes(tiny), youden(np.array([0, 1]), tiny)).tolist() == [0, 1]


def test_a_sensitivity_that_cannot_be_had_is_an_error():
    for labels in ([0, 0], [1, 1]):
        with pytest.raises(LiquidLensError, match="scans of both classes"):
            for_sensitivity(np.array(labels), np.array([0.2, 0.8]), 0.9)
    with pytest.raises(LiquidLensError, match="No threshold finds 100%"):
        for_sensitivity(np.array([0, 1, 1]), np.array([0.2, 0.8, 0.0]), 1.0)


@pytest.mark.parametrize("threshold", [0.5, 0.02])
@pytest.mark.parametrize("share", [0.1, 0.25])
def test_the_abstain_band_holds_its_share(threshold, share):
    positive = metrics.sigmoid(np.random.default_rng(0).normal(0, 3, 200))
    low, high = abstain_band(positive, threshold, share)
    assert low < threshold < high
    assert np.mean((positive > low) & (positive < high)) == pytest.approx(share)
    odds = [p / (1 - p) for p in (low, threshold, high)]
    assert odds[0] * odds[2] == pytest.approx(odds[1] ** 2), "symmetric in logit space"


def test_the_abstain_margin_holds_its_share():
    probabilities = metrics.probabilities(np.random.default_rng(0).normal(0, 1, (200, 5)))
    margin = abstain_margin(probabilities, 0.1)
    ordered = np.sort(probabilities, 1)
    assert np.mean(ordered[:, -1] - ordered[:, -2] < margin) == pytest.approx(0.1)


def test_abstaining_on_less_than_a_scan_is_not_abstaining():
    probabilities = two_classes(np.array([0.2, 0.6, 0.9]))
    for share in (0.0, 0.1):
        assert abstain_band(probabilities[:, 1], 0.5, share) is None
        assert abstain_margin(probabilities, share) is None


@pytest.mark.parametrize("text", ["youden", "0.5", "0.25", "sensitivity=0.95"])
def test_rules_say_what_they_were_read_from(text):
    assert str(parse_rule(text)) == text


def test_rules_choose():
    labels, positive = validation(0)
    assert parse_rule("youden").threshold(labels, positive) == youden(labels, positive)
    assert parse_rule("0.3").threshold(labels, positive) == 0.3
    assert parse_rule("sensitivity=0.9").threshold(labels, positive) == for_sensitivity(labels, positive, 0.9)


@pytest.mark.parametrize(
    "text",
    ["", "best", "1.5", "-0.1", "nan", "sensitivity", "sensitivity=", "sensitivity=0", "specificity=0.9", "=0.5"],
)
def test_other_rules_are_refused(text):
    with pytest.raises(LiquidLensError, match="youden, a number from 0 to 1, or sensitivity="):
        parse_rule(text)
