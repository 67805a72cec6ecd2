"""Temperature scaling on logits whose right temperature is known."""

import numpy as np
import pytest

from serve.metrics import expected_calibration_error, sigmoid
from train.calibration import fit_temperature, negative_log_likelihood


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(temperature):
    rng = np.random.default_rng(0)
    true_logits = rng.normal(0, 2, 20_000)
    labels = (rng.random(20_000) < sigmoid(true_logits)).astype(float)
    logits = true_logits * temperature
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    before = expected_calibration_error(labels, sigmoid(logits))
    after = expected_calibration_error(labels, sigmoid(logits / found))
    assert after <= before + 0.002


def test_never_worse_than_no_temperature():
    labels = np.array([0.0, 1.0, 1.0, 0.0])
    logits = np.array([3.0, -3.0, -3.0, 3.0])  # always wrong: hotter is better, up to the bound
    found = fit_temperature(logits, labels)
    assert found > 19
    assert negative_log_likelihood(logits / found, labels) < negative_log_likelihood(logits, labels)
