"""Explanations: what moved the answer for one scan."""

from liquidlens.serve.explain.occlusion import NeuronTrace, Occlusion, SliceContribution, occlusion, slices, trace

__all__ = ["NeuronTrace", "Occlusion", "SliceContribution", "occlusion", "slices", "trace"]
