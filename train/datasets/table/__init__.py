"""A table of one's own scans as a dataset: one row per scan, with its path, its label and what else is known.

``path`` is relative to the table, and anything that `imaging.read` reads: a file, a folder with a DICOM series, or one
scan of several after a ``#``.  `sheet` reads the table, `rows` understands it, `facts` reads the files, `values` finds
what their numbers mean, `splits` parts patients, and `collection` makes datasets of it.  Folders of classes
(`train.datasets.folders`) end in the same collection.
"""

from pathlib import Path

from liquidlens.train.datasets.reading import Reading
from liquidlens.train.datasets.table.collection import Collection, collect, survey
from liquidlens.train.datasets.table.rows import list_rows
from liquidlens.train.datasets.table.sheet import is_table, read_sheet

__all__ = ["Collection", "collect_table", "is_table", "survey_table"]


def collect_table(path: Path, reading: Reading, skip_bad: bool = False) -> Collection:
    """Read a table and every scan in it.  Raises LiquidLensError, naming table, column or row."""
    return collect(path, list_rows(read_sheet(path), reading), skip_bad)


def survey_table(path: Path, reading: Reading) -> Collection:
    """The same, with the sentences about scans that cannot be read and no error about them."""
    return survey(path, list_rows(read_sheet(path), reading))
