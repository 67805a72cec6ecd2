"""Prediction: one exported file, loaded on a device, and its answer for a scan."""

from liquidlens.serve.predict.prediction import Prediction
from liquidlens.serve.predict.predictor import Predictor

__all__ = ["Prediction", "Predictor"]
