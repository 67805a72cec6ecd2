"""The complete model: raw pixels in, calibrated probabilities out, as one torch module."""
