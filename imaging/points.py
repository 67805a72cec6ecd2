"""Points of volumes as tables and lists name them: three columns, of a voxel or of the patient's millimetres."""

import math
from collections.abc import Sequence

from liquidlens.errors import LiquidLensError

#: A voxel, counted from 0, and a point of the patient in DICOM's coordinates (LPS).
POINT, POINT_MM = ("slice", "row", "column"), ("x", "y", "z")


def point_of(texts: Sequence[str], names: Sequence[str], where: str) -> tuple[float, ...] | None:
    """The numbers in the columns `names` of a row that is called `where`; None if all are empty.  Raises
    LiquidLensError if they are no numbers."""
    if not any(texts):
        return None
    try:
        numbers = tuple(map(float, texts))
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise LiquidLensError(f"{where}: {', '.join(names)} are three numbers, not {', '.join(map(repr, texts))}.")
    return numbers
