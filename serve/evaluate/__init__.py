"""Evaluation of a results table against true labels."""
