"""Reading scans into arrays, and phantoms.  No torch, nothing about models."""

from imaging.errors import LiquidLensError
from imaging.read import read
from imaging.scan import Scan

__all__ = ["LiquidLensError", "Scan", "read"]
