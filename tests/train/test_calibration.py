"""Temperature scaling on logits whose right temperature is known."""

import numpy as np
import pytest

from liquidlens.metrics import expected_calibration_error, probabilities, sigmoid
from liquidlens.train.loop.calibration import fit_temperature, negative_log_likelihood


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(temperature):
    rng = np.random.default_rng(0)
    true_logits = rng.normal(0, 2, 20_000)
    labels = (rng.random(20_000) < sigmoid(true_logits)).astype(int)
    logits = (true_logits * temperature)[:, None]
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    before = expected_calibration_error(labels, probabilities(logits))
    after = expected_calibration_error(labels, probabilities(logits / found))
    assert after <= before + 0.002


def test_never_worse_than_no_temperature():
    labels = np.array([0, 1, 1, 0])
    logits = np.array([[3.0], [-3.0], [-3.0], [3.0]])  # always wrong: hotter is better, up to the bound
    found = fit_temperature(logits, labels)
    assert found > 19
    assert negative_log_likelihood(logits / found, labels) < negative_log_likelihood(logits, labels)


def test_several_classes_and_labels():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 4))
    labels = np.array([rng.choice(4, p=p) for p in probabilities(logits)])
    assert fit_temperature(logits * 2, labels) == pytest.approx(2, rel=0.05)
    findings = (rng.random(logits.shape) < sigmoid(logits)).astype(float)
    assert fit_temperature(logits * 2, findings) == pytest.approx(2, rel=0.05)


def test_a_training_that_has_diverged_stays_as_it_is():
    assert fit_temperature(np.array([[np.nan, 0.0]]), np.array([1])) == 1.0
