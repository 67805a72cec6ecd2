"""Metrics on cases that can be checked by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from serve import metrics


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


def test_sigmoid_does_not_overflow():
    assert metrics.sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist() == [0, 0.5, 1]
