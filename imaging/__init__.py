"""Reading scans into arrays, and phantoms.  No torch, nothing about models."""

from liquidlens.imaging.budget import Budget
from liquidlens.imaging.read import read
from liquidlens.imaging.safely import read_safely
from liquidlens.imaging.scan import Scan

__all__ = ["Budget", "Scan", "read", "read_safely"]
