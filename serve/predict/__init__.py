"""Prediction: one exported file, loaded on a device, and what it says of a scan."""

from liquidlens.serve.predict.prediction import Prediction
from liquidlens.serve.predict.predictor import Predictor

__all__ = ["Prediction", "Predictor"]
