"""Reading scans into arrays, and phantoms.  No torch, nothing about models."""

from imaging.budget import Budget
from imaging.errors import LiquidLensError
from imaging.read import read
from imaging.scan import Scan
from imaging.worker import read_safely

__all__ = ["Budget", "LiquidLensError", "Scan", "read", "read_safely"]
