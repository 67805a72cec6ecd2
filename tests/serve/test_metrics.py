"""Metrics on cases that can be checked by hand."""

import math

import numpy as np
import pytest

from serve import metrics


def test_auc():
    assert metrics.auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert math.isnan(metrics.auc(np.array([1, 1]), np.array([0.1, 0.2]))), "not defined for one class"


def test_accuracy_counts_the_threshold_itself_as_class_0():
    labels, probabilities = np.array([0, 1, 1]), np.array([0.5, 0.5, 0.51])
    assert metrics.accuracy(labels, probabilities) == pytest.approx(2 / 3)
    assert metrics.accuracy(labels, probabilities, threshold=0.4) == pytest.approx(2 / 3)


def test_expected_calibration_error():
    labels = np.array([0, 1, 1, 1])
    assert metrics.expected_calibration_error(labels, np.array([0.05, 0.95, 0.95, 0.95])) == pytest.approx(0.05)
    assert metrics.expected_calibration_error(labels, np.full(4, 0.75)) == 0
    assert metrics.expected_calibration_error(labels, np.array([1.0, 0.0, 0.0, 0.0])) == 1


def test_sigmoid_does_not_overflow():
    assert metrics.sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist() == [0, 0.5, 1]
