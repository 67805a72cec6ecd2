"""Drawings for pages: plain SVG, and the wiring of a liquid layer."""
