"""Metrics on cases that can be checked by hand."""

import math
from functools import partial

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, recall_score, roc_auc_score

from liquidlens import metrics


def binary(*positive):
    """Probabilities of two classes from those of the second."""
    return np.array([[1 - p, p] for p in positive])


def test_probabilities_of_one_logit_of_several_and_of_independent_ones():
    assert metrics.probabilities(np.array([[math.log(3)]])) == pytest.approx(np.array([[0.25, 0.75]]))
    assert metrics.probabilities(np.array([[1000.0, 1000.0 + math.log(3)]])) == pytest.approx(np.array([[0.25, 0.75]]))
    assert metrics.probabilities(np.zeros((1, 3)), multi_label=True) == pytest.approx(np.full((1, 3), 0.5))


def test_auc():
    assert metrics.auc(np.array([0, 0, 1, 1]), binary(0.1, 0.4, 0.35, 0.8)) == 0.75
    assert math.isnan(metrics.auc(np.array([1, 1]), binary(0.1, 0.2))), "not defined for one class"
    assert math.isnan(metrics.auc(np.array([0, 1]), binary(0.1, math.nan))), "a training that has diverged"


def test_auc_of_several_classes_is_the_mean_of_those_that_have_one():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1]])
    assert metrics.auc(labels, probabilities) == pytest.approx((0.75 + 0.75) / 2), "no scan is of the third class"
    findings = np.array([[0, 1], [1, 1], [1, 1]])
    assert metrics.auc(findings, np.array([[0.1, 0.5], [0.8, 0.5], [0.9, 0.5]])) == 1.0


def test_auc_is_that_of_scikit_learn_with_and_without_ties():
    rng = np.random.default_rng(0)
    for digits in (1, 2, 9):
        labels, positive = rng.integers(0, 2, 60), rng.random(60).round(digits).astype(np.float32)
        expected = roc_auc_score(labels, positive)
        assert metrics.auc(labels, np.stack([1 - positive, positive], 1)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("digits", [1, 9])
def test_average_precision_is_that_of_scikit_learn_with_and_without_ties(digits):
    rng = np.random.default_rng(0)
    labels, positive = rng.integers(0, 2, 60), rng.random(60).round(digits)
    found = metrics.average_precision(labels, np.stack([1 - positive, positive], 1))
    assert found == pytest.approx(average_precision_score(labels, positive), abs=1e-12)
    labels, probabilities = rng.integers(0, 4, 60), rng.random((60, 4)).round(digits)
    expected = average_precision_score(np.eye(4)[labels], probabilities, average="macro")
    assert metrics.average_precision(labels, probabilities) == pytest.approx(expected, abs=1e-12)
    findings = rng.integers(0, 2, (60, 4))
    expected = average_precision_score(findings, probabilities, average="macro")
    assert metrics.average_precision(findings, probabilities) == pytest.approx(expected, abs=1e-12)


def test_average_precision_of_a_hand_example():
    labels, probabilities = np.array([1, 0, 1, 0]), binary(0.9, 0.8, 0.7, 0.1)
    assert metrics.average_precision(labels, probabilities) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert metrics.average_precision(labels, binary(*[0.5] * 4)) == 0.5, "all alike: the share of positives"
    assert math.isnan(metrics.average_precision(labels[:1], probabilities[:1])), "not defined for one class"
    assert math.isnan(metrics.average_precision(labels, binary(0.9, 0.8, 0.7, math.nan)))


def test_decided_takes_the_threshold_where_there_is_one_to_take():
    assert metrics.decided(binary(0.2, 0.3, 0.31), 0.3).tolist() == [0, 0, 1]
    assert metrics.decided(np.array([[0.1, 0.5, 0.4]]), 0.9).tolist() == [1]
    assert metrics.decided(np.array([[0.1, 0.5], [0.8, 0.5]]), 0.4, multi_label=True).tolist() == [[0, 1], [1, 1]]


def test_sensitivity_and_specificity_move_with_the_threshold():
    labels, probabilities = np.array([0, 0, 1, 1]), binary(0.1, 0.6, 0.4, 0.9)
    assert metrics.sensitivity(labels, probabilities, 0.5) == metrics.specificity(labels, probabilities, 0.5) == 0.5
    assert metrics.sensitivity(labels, probabilities, 0.3) == 1
    assert metrics.specificity(labels, probabilities, 0.6) == 1, "at the threshold is not above it"
    assert math.isnan(metrics.sensitivity(labels[:2], probabilities[:2], 0.5))
    assert math.isnan(metrics.specificity(labels[2:], probabilities[2:], 0.5))


def test_accuracy_takes_the_first_of_two_equal_classes():
    assert metrics.accuracy(np.array([0, 1, 1]), binary(0.5, 0.5, 0.51)) == pytest.approx(2 / 3)
    assert metrics.accuracy(np.array([[0, 1], [1, 1]]), np.array([[0.1, 0.9], [0.9, 0.1]])) == 0.75


def test_recall_and_f1_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    for classes in (2, 5):
        labels, probabilities = rng.integers(0, classes, 40), rng.random((40, classes))
        taken = probabilities.argmax(1)
        assert metrics.recall(labels, probabilities) == pytest.approx(recall_score(labels, taken, average="macro"))
        expected = f1_score(labels, taken, average="binary" if classes == 2 else "macro")
        assert metrics.f1(labels, probabilities) == pytest.approx(expected)
    findings, probabilities = rng.integers(0, 2, (40, 3)), rng.random((40, 3))
    expected = f1_score(findings, probabilities > 0.5, average="macro")
    assert metrics.f1(findings, probabilities) == pytest.approx(expected)


def test_where_no_label_occurs_or_is_predicted_recall_and_f1_are_not_defined():
    nothing = np.zeros((3, 2)), np.full((3, 2), 0.1)
    assert math.isnan(metrics.recall(*nothing))
    assert math.isnan(metrics.f1(*nothing))


def test_classes_that_neither_occur_nor_are_predicted_do_not_count():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    assert metrics.recall(np.array([0, 1]), probabilities) == 1.0
    assert metrics.f1(np.array([0, 1]), probabilities) == 1.0


def test_dice_of_a_hand_example():
    assert metrics.dice(np.array([1, 1, 0]), binary(0.8, 0.4, 0.3)) == pytest.approx(2 * 1.2 / (1.5 + 2))
    three = np.array([[0.8, 0.1, 0.1], [0.2, 0.4, 0.4]])
    assert metrics.dice(np.array([0, 1]), three) == pytest.approx((0.8 + 0.4) / 2)


def test_expected_calibration_error():
    labels = np.array([0, 1, 1, 1])
    assert metrics.expected_calibration_error(labels, binary(0.05, 0.95, 0.95, 0.95)) == pytest.approx(0.05)
    assert metrics.expected_calibration_error(labels, binary(*[0.75] * 4)) == 0
    assert metrics.expected_calibration_error(labels, binary(1.0, 0.0, 0.0, 0.0)) == 1
    assert math.isnan(metrics.expected_calibration_error(labels, binary(*[math.nan] * 4)))


def test_calibration_of_several_classes_is_that_of_the_most_probable():
    labels = np.array([2, 0])
    probabilities = np.array([[0.1, 0.2, 0.7], [0.1, 0.2, 0.7]])
    assert metrics.expected_calibration_error(labels, probabilities) == pytest.approx(0.2)  # 0.7 certain, half right


def test_brier_score():
    labels, probabilities = np.array([1, 0, 1]), binary(0.8, 0.4, 0.3)
    assert metrics.brier(labels, probabilities) == pytest.approx(brier_score_loss(labels, probabilities[:, 1]))
    assert metrics.brier(np.array([2]), np.array([[0.1, 0.2, 0.7]])) == pytest.approx(0.01 + 0.04 + 0.09)
    assert metrics.brier(np.array([[0, 1]]), np.array([[0.1, 0.6]])) == pytest.approx((0.01 + 0.16) / 2)


@pytest.mark.parametrize("classes", [2, 4])
def test_reliability_has_the_bins_of_the_calibration_error(classes):
    rng = np.random.default_rng(classes)
    labels, probabilities = rng.integers(0, classes, 300), metrics.probabilities(rng.normal(0, 2, (300, classes)))
    bins = metrics.reliability(labels, probabilities)
    assert sum(count for _, _, count in bins) == 300
    assert [confidence for confidence, _, _ in bins] == sorted(confidence for confidence, _, _ in bins)
    gap = sum(count * abs(confidence - share) for confidence, share, count in bins) / 300
    assert gap == pytest.approx(metrics.expected_calibration_error(labels, probabilities))


def test_reliability_of_a_hand_example():
    labels, probabilities = np.array([0, 1, 1, 1]), binary(0.05, 0.94, 0.96, 1.0)
    assert metrics.reliability(labels, probabilities, bins=5) == [(0.05, 0.0, 1), (pytest.approx(2.9 / 3), 1.0, 3)]
    assert metrics.reliability(labels, binary(*[math.nan] * 4)) == []


def test_risk_grows_as_less_certain_scans_are_answered():
    labels = np.array([1, 1, 0, 0, 1])
    coverage, risk = metrics.risk_coverage(labels, binary(0.95, 0.6, 0.4, 0.2, 0.3))
    # By certainty: 0.95 right, 0.2 right, 0.3 wrong, then 0.6 and 0.4 together, both right.
    assert coverage == pytest.approx([1 / 5, 2 / 5, 3 / 5, 5 / 5])
    assert risk == pytest.approx([0, 0, 1 / 3, 1 / 5])
    assert metrics.aurc(labels, binary(0.95, 0.6, 0.4, 0.2, 0.3)) == pytest.approx(1 / 5 * 1 / 3 + 2 / 5 * 1 / 5)
    assert math.isnan(metrics.aurc(labels[:0], binary(0.5)[:0]))


def test_selective_accuracy_leaves_out_the_least_certain():
    labels = np.array([1, 0, 1, 0, 1])
    found = binary(0.9, 0.2, 0.45, 0.1, 0.7)  # the third is wrong, and the least certain
    assert metrics.selective_accuracy(labels, found, 0.8) == 1
    assert metrics.selective_accuracy(labels, found, 0.81) == pytest.approx(0.8)
    assert metrics.selective_accuracy(labels, found, 1.0) == metrics.accuracy(labels, found)
    assert math.isnan(metrics.selective_accuracy(labels[:0], found[:0]))


def test_certainty_of_two_classes_is_the_distance_from_the_threshold_in_logits():
    labels, probabilities = np.array([0, 1, 1]), binary(0.05, 0.25, 0.99)
    _, risk = metrics.risk_coverage(labels, probabilities, threshold=0.2)
    assert risk == pytest.approx([0, 0, 0])
    coverage, risk = metrics.risk_coverage(labels, binary(0.0, 1.0, 0.1), threshold=0.1)
    assert coverage.tolist() == pytest.approx([1 / 3, 2 / 3, 1]), "0 and 1 are as certain as can be, by other distances"
    assert risk[-1] == pytest.approx(1 / 3), "at the threshold is not above it"


@pytest.mark.parametrize("classes", [2, 5])
def test_risk_at_full_coverage_is_the_error_and_chance_has_a_flat_curve(classes):
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, classes, 4000), rng.dirichlet(np.ones(classes), 4000)
    coverage, risk = metrics.risk_coverage(labels, probabilities)
    assert (coverage[-1], risk[-1]) == (1, pytest.approx(1 - metrics.accuracy(labels, probabilities)))
    assert metrics.aurc(labels, probabilities) == pytest.approx(1 - 1 / classes, abs=0.05)
    drawn = (probabilities.cumsum(1) < rng.random((4000, 1))).sum(1)  # labels that follow the probabilities
    assert metrics.aurc(drawn, probabilities) < 1 - metrics.accuracy(drawn, probabilities) - 0.05


def test_risk_of_multi_label_data_is_of_labels():
    findings, probabilities = np.array([[1, 0], [1, 1]]), np.array([[0.9, 0.2], [0.3, 0.6]])
    coverage, risk = metrics.risk_coverage(findings, probabilities)
    assert coverage == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1])
    assert risk == pytest.approx([0, 0, 1 / 3, 1 / 4])


@pytest.mark.parametrize("metric", [metrics.auc, metrics.average_precision, metrics.brier])
def test_bootstrap_is_the_metric_of_drawn_scans(metric):
    """Word by word what it says, without what makes it fast."""
    rng = np.random.default_rng(5)
    labels, probabilities = rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50).round(2)
    rng = np.random.default_rng(7)
    draws = [rng.integers(0, 50, 50) for _ in range(40)]
    expected = np.quantile([metric(labels[i], probabilities[i]) for i in draws], [0.025, 0.975])
    assert metrics.bootstrap(metric, labels, probabilities, samples=40, seed=7) == pytest.approx(tuple(expected))


def test_bootstrap_interval_of_an_accuracy_is_that_of_its_binomial():
    rng = np.random.default_rng(0)
    labels = np.ones(400, int)
    probabilities = binary(*(0.9 if right else 0.1 for right in rng.random(400) < 0.8))
    share = metrics.accuracy(labels, probabilities)
    low, high = metrics.bootstrap(metrics.accuracy, labels, probabilities, samples=2000)
    half = 1.96 * math.sqrt(share * (1 - share) / 400)
    assert (low, high) == (pytest.approx(share - half, abs=0.005), pytest.approx(share + half, abs=0.005))
    assert (low, high) == metrics.bootstrap(metrics.accuracy, labels, probabilities, samples=2000), "the seed decides"
    narrow = metrics.bootstrap(metrics.accuracy, labels, probabilities, level=0.5)
    assert low < narrow[0] < share < narrow[1] < high


def test_bootstrap_leaves_out_samples_without_a_figure():
    labels, probabilities = np.array([0, 0, 0, 1]), binary(0.1, 0.2, 0.3, 0.9)
    assert metrics.bootstrap(metrics.auc, labels, probabilities) == (1, 1), "a third of the samples has no positive"
    nothing = metrics.bootstrap(partial(metrics.sensitivity, threshold=0.5), labels[:3], probabilities[:3])
    assert all(map(math.isnan, nothing))
    assert all(map(math.isnan, metrics.bootstrap(metrics.auc, labels[:0], probabilities[:0])))


def test_paired_bootstrap_sees_what_separate_intervals_hide():
    """A variant that is wrong on five scans more, out of 300 of which a third is hard for both."""
    labels = np.ones(300, int)
    first = binary(*(0.1 if i % 3 == 0 else 0.9 for i in range(300)))
    second = first.copy()
    second[1:16:3] = [0.9, 0.1]
    low, high = metrics.paired_bootstrap(metrics.accuracy, labels, first, second)
    assert low < -5 / 300 < high < 0
    apart = [metrics.bootstrap(metrics.accuracy, labels, p) for p in (first, second)]
    assert apart[0][0] < apart[1][1], "alone, the intervals overlap"
    assert metrics.paired_bootstrap(metrics.accuracy, labels, first, first) == (0, 0)


def test_sigmoid_does_not_overflow():
    assert metrics.sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist() == [0, 0.5, 1]


def test_intervals_over_patients_are_wider_than_over_their_scans():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 5)
    labels = np.repeat(rng.integers(0, 2, 40), 5)
    score = np.repeat(labels[::5] + rng.normal(0, 1, 40), 5) + rng.normal(0, 0.01, 200)
    probabilities = np.stack([-score, score], 1)
    shuffled = rng.permutation(200)
    low, high = metrics.bootstrap(metrics.auc, labels, probabilities, 300)
    wide = metrics.bootstrap(metrics.auc, labels, probabilities, 300, patients=patients)
    assert wide[1] - wide[0] > 1.5 * (high - low)
    mixed = metrics.bootstrap(
        metrics.auc, labels[shuffled], probabilities[shuffled], 300, patients=patients[shuffled].astype(str)
    )
    assert mixed == pytest.approx(wide, abs=0.05)
    alone = metrics.bootstrap(metrics.auc, labels, probabilities, 300, patients=np.arange(200))
    assert alone == (low, high)
