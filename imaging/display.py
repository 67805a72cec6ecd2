"""Grey values as they are to be seen: what models of grey values learn from and are given."""

import numpy as np
from numpy.typing import NDArray

from liquidlens.imaging.scan import Scan


def display_window(scan: Scan) -> tuple[float, float] | None:
    """The grey values to be seen as black and as white; None if the pixels are to be seen as they are."""
    if scan.window is not None or scan.modality is None:
        return scan.window
    low, high = float(scan.pixels.min()), float(scan.pixels.max())
    return (low, high) if low < high and (low < 0 or high > 255) else None


def displayed(scan: Scan) -> NDArray[np.float32]:
    """The pixels of files that are to be seen as they are; else grey values go through the window that the file wants,
    or through all that occur if it is a DICOM file of more than 8 bits that wants none, to 0..255."""
    if (window := display_window(scan)) is None:
        return scan.pixels
    low, high = window
    return ((scan.pixels - low) * (255 / (high - low))).clip(0, 255).astype(np.float32)
