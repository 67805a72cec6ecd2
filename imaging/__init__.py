"""Reading scans into arrays, and phantoms.  No torch, nothing about models."""

from liquidlens.imaging.budget import Budget
from liquidlens.imaging.read import read
from liquidlens.imaging.scan import Scan
from liquidlens.imaging.worker import read_safely

__all__ = ["Budget", "Scan", "read", "read_safely"]
