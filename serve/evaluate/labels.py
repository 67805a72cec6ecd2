"""The true labels of scans, read from a sheet or an array, and found again for the rows of a results table.

A sheet is a CSV file with a header: a column ``path`` (``item`` too, or FILE#ITEM, where the table names items), and
``label``, the name of a label or its number counted from 0; for a model of several labels at once, a column of 0 and 1
for each label instead of ``label``.  Other columns, and rows without a label, do not matter.

An array is a ``.npy`` file, or one in an ``.npz`` archive, as in ``vesselmnist3d.npz#test_labels``: numbers counted
from 0, (scans,) or (scans, 1), or 0 and 1 as (scans, labels).  It has no paths, and goes by the order of the scans.
"""

import csv
import functools
import os
import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError, reading, unknown
from liquidlens.imaging.read import exists

#: How a sheet says of a label that a scan does not have it, and that it has.
_NO, _YES = ("0", "0.0"), ("1", "1.0")


@dataclass(frozen=True, eq=False)
class Labels:
    """What `read_labels` found, before the model is known.

    source: what was read.
    values: of a sheet its texts, (rows,) or (rows, columns), '' where there is none; of an array its whole numbers.
    columns: what a sheet calls its columns of values.
    scans: path and item of a sheet's rows; None if the labels go by order.
    """

    source: str
    values: NDArray
    columns: tuple[str, ...] = ()
    scans: tuple[tuple[str, str], ...] | None = None

    def numbers(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The labels as numbers of the model's labels `names`: (rows,), or (rows, names) of 0 and 1; -1 where a row has
        none.  Raises LiquidLensError if there are others than the model's."""
        if self.scans is None:
            return self._array(names)
        if self.columns == ("label",):
            known = _meaning(self.source, set(self.values.tolist()) - {""}, names)
            return np.array([known[text] if text else -1 for text in self.values.tolist()], np.int64)
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise LiquidLensError(
                f"{self.source} has no column 'label', nor one of 0 and 1 for each of the model's labels: "
                f"{missing[0]!r} is missing."
            )
        texts = self.values[:, [self.columns.index(name) for name in names]]
        for i in np.flatnonzero((texts != "").any(1) & ~np.isin(texts, _NO + _YES).all(1)):
            raise LiquidLensError(
                f"{self.source}: {self.scans[i][0]} has {', '.join(map(repr, texts[i].tolist()))} where each label "
                "needs 0 or 1."
            )
        return np.where(texts == "", -1, np.isin(texts, _YES)).astype(np.int64)

    def find(self, scans: Sequence[tuple[str, str]], table: str, whole: bool) -> NDArray[np.int64]:
        """For each scan, path and item as in the results table called `table`, which row of the labels is its own; -1
        if none is.  whole: the table has all scans of its job in order, as far as it shows.

        A path is found as it is written; or as the same file, from the working folder or from that of the sheet; or
        where one path is the end of the other, and of no other.  Items must be equal.  Raises LiquidLensError if no
        scan has a label, and, of labels that go by order, if the table is not whole or they are not as many as scans.
        """
        if self.scans is None:
            if not whole:
                raise LiquidLensError(
                    f"{self.source} goes by the order of the scans, and {table} lacks some in between, or has them in "
                    "another order: join the tables of all shards with `merge` first, or use a sheet with paths."
                )
            if len(scans) != len(self.values):
                raise LiquidLensError(
                    f"{self.source} and {table} differ in length, {len(self.values):,} and {len(scans):,}: labels in "
                    "an array go by the order of the scans, so there must be as many."
                )
            return np.arange(len(scans))
        row_of = {scan: row for row, scan in enumerate(self.scans)}
        file_of = self._files({path for path, _ in scans})
        found = np.array([row_of.get((file_of.get(path, path), item), -1) for path, item in scans], np.int64)
        if len(scans) and (found < 0).all():
            raise LiquidLensError(
                f"No scan of {table} ({_example(scans)}) has a label in {self.source} ({_example(self.scans)}): items "
                "must be equal, and paths equal or one the end of the other, and of no other."
            )
        return found

    def _array(self, names: Sequence[str]) -> NDArray[np.int64]:
        if self.values.ndim == 2 and self.values.shape[1] != len(names):
            raise LiquidLensError(
                f"{self.source} has {self.values.shape[1]} labels for each scan, the model {len(names)}: "
                f"{', '.join(names)}."
            )
        if self.values.ndim == 1 and self.values.max() >= len(names):
            raise LiquidLensError(
                f"{self.source} holds the label {self.values.max()}: the model's {len(names)} labels are counted from "
                f"0 to {len(names) - 1}."
            )
        return self.values

    def _files(self, paths: set[str]) -> dict[str, str]:
        """The sheet's path for each of the table's `paths` that has one."""
        assert self.scans is not None  # noqa: S101  (for the type checker: `find` asks)
        written = dict.fromkeys(path for path, _ in self.scans)
        resolve = functools.cache(os.path.realpath)
        files: dict[str, str] = {}
        for folder in _folders(self.source):
            for path in written:
                files.setdefault(_file(folder, path, resolve), path)
        working = _folders(self.source)[0]
        found = _by_ends(paths, written)
        for path in paths:
            if path in written:
                found[path] = path
            elif (same := files.get(_file(working, path, resolve))) is not None:
                found[path] = same
        return found


def read_labels(source: str) -> Labels:
    """Read a sheet or an array of labels, see above.

    Raises LiquidLensError if there is no such file or array, if it is damaged or lacks what it needs, and if a scan has
    two different labels.
    """
    path, array = Path(source), ""
    if not path.exists():
        file, _, array = source.rpartition("#")
        path = Path(file or array)
    if not path.is_file():
        raise LiquidLensError(f"{path}: there is no such file of labels.")
    kind = path.suffix.lower()
    if kind == ".csv" and not array:
        with reading(source, "CSV"):
            return _read_sheet(path)
    if kind == ".npz" or (kind == ".npy" and not array):
        with reading(source, "NumPy"):
            return Labels(source, _read_array(path, array))
    raise LiquidLensError(f"{source}: labels are a .csv or .npy file, or an array in an .npz file, named after a '#'.")


def _read_sheet(path: Path) -> Labels:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        header = [name.strip() for name in next(lines, [])]
        rows = [[cell.strip() for cell in row] for row in _complete(lines, len(header))]
    if "path" not in header:
        raise LiquidLensError(
            f"the header must name a column 'path', and has {', '.join(map(repr, header)) or 'nothing'}."
        )
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise LiquidLensError(f"the header has two columns {twice[0]!r}.")
    columns = ("label",) if "label" in header else tuple(name for name in header if name not in ("path", "item", ""))
    if not columns:
        raise LiquidLensError("the header names no column 'label', nor one for each label of the model.")
    if not rows:
        raise LiquidLensError("there are no labels below the header.")
    values = np.array([[row[header.index(name)] for name in columns] for row in rows], object)
    paths = [row[header.index("path")] for row in rows]
    if "item" in header:
        scans = list(zip(paths, (row[header.index("item")] for row in rows), strict=True))
    else:
        scans = [_file_and_item(path, written) for written in paths]
    # Which columns are the model's labels is not known yet: those of 0 and 1 can be.
    labels = values if columns == ("label",) else values[:, np.isin(values, ("", *_NO, *_YES)).all(0)]
    once = _once(path, scans, labels)
    values = values[once, 0] if columns == ("label",) else values[once]
    return Labels(str(path), values, columns, tuple(scans[row] for row in once))


def _file_and_item(sheet: Path, written: str) -> tuple[str, str]:
    """FILE#ITEM in two, as `imaging.read.split` has it: after the longest path that exists, from here or beside
    the sheet, else at the last ``#``."""
    marks = [len(written), *(at for at in range(len(written) - 1, 0, -1) if written[at] == "#")]
    files = (at for at in marks if exists(written[:at]) or exists(str(sheet.parent / written[:at])))
    at = next(files, marks[min(1, len(marks) - 1)])
    return written[:at], written[at + 1 :]


def _complete(lines: Iterator[list[str]], cells: int) -> Iterator[list[str]]:
    """The lines of a sheet that are not empty.  Raises LiquidLensError for those that have not as many cells as the
    header."""
    for number, line in enumerate(lines, 2):
        if len(line) not in (0, cells):
            raise LiquidLensError(f"row {number} differs in length from the header: {len(line)} and {cells} cells.")
        if any(map(str.strip, line)):
            yield line


def _once(sheet: Path, scans: Sequence[tuple[str, str]], labels: NDArray) -> list[int]:
    """The rows of a sheet that have labels (rows, columns), without those that repeat an earlier one, perhaps by
    another spelling of its path.  Raises LiquidLensError if one scan has two different labels."""
    resolve = functools.cache(os.path.realpath)
    rows = np.flatnonzero((labels != "").any(1)).tolist() or range(len(labels))
    repeated = set()
    for folder in _folders(str(sheet)):
        first: dict[tuple[str, str], int] = {}
        for row in rows:
            path, item = scans[row]
            before = first.setdefault((_file(folder, path, resolve), item), row)
            if (labels[before] != labels[row]).any():
                spelling = "" if scans[before][0] == path else f", the second time as {path}"
                scan = "#".join(filter(None, scans[before]))
                raise LiquidLensError(f"{scan} is there twice with different labels{spelling}.")
            if before != row:
                repeated.add(row)
    return [row for row in rows if row not in repeated]


def _read_array(path: Path, name: str) -> NDArray[np.int64]:
    with path.open("rb") as file:
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            labels = content
        else:
            if not name and len(content.files) == 1:
                name = content.files[0]
            if name not in content.files:
                fitting = next((each for each in content.files if "label" in each), "labels")
                raise LiquidLensError(
                    f"the archive holds {', '.join(content.files) or 'nothing'}; name the labels, as in "
                    f"{path.name}#{fitting}."
                )
            labels = content[name]
    if labels.ndim not in (1, 2) or labels.size == 0:
        shape = "x".join(map(str, labels.shape))
        raise LiquidLensError(f"labels are (scans,) or (scans, labels), and this array is of shape {shape or '()'}.")
    if labels.dtype.kind not in "biuf" or not _countable(labels):
        raise LiquidLensError("labels in an array are whole numbers, counted from 0.")
    labels = labels.astype(np.int64)
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    if labels.ndim == 2 and labels.max() > 1:
        raise LiquidLensError("of several labels for each scan, each is 0 or 1.")
    return labels


def _countable(numbers: NDArray) -> bool:
    return bool((numbers == np.trunc(numbers)).all() and numbers.min() >= 0 and numbers.max() < 2**31)


def _meaning(source: str, texts: set[str], names: Sequence[str]) -> dict[str, int]:
    """The number of the label that each text stands for.  All are names, or all are numbers: of a model whose labels
    are called 1, 2 and 3, a mixture could mean anything."""
    by_name = {name.strip(): number for number, name in enumerate(names)}
    by_number = {f"{number}{zeros}": number for number in range(len(names)) for zeros in ("", ".0")}
    for known in (by_name, by_number):
        if texts <= known.keys():
            return known
    neither = sorted(texts - by_name.keys() - by_number.keys())
    if neither:
        raise LiquidLensError(f"{source}: {unknown('label', neither[0], names)}")
    raise LiquidLensError(f"{source} gives some labels by name and others by number: use one of both.")


def _example(scans: Sequence[tuple[str, str]]) -> str:
    return repr("#".join(filter(None, scans[0]))) + (", ..." if len(scans) > 1 else "")


def _folders(source: str) -> tuple[str, str]:
    """From where paths may be written: the working folder, and that of the sheet."""
    return os.getcwd(), os.path.dirname(os.path.abspath(source))


def _file(folder: str, path: str, resolve: Callable[[str], str]) -> str:
    """One spelling for each file; only folders are resolved, of which there are few."""
    parent, name = os.path.split(os.path.normpath(os.path.join(folder, path)))
    return os.path.join(resolve(parent), name)


def _by_ends(paths: Iterable[str], written: Iterable[str]) -> dict[str, str]:
    """For each of `paths` the one of `written` that is its end, or whose end it is: ``test/1.png`` of
    ``/data/test/1.png``, not of ``train/1.png``.  Left out where several could be meant, on either side."""
    pairs = {*_that_end(paths, written), *((path, each) for each, path in _that_end(written, paths))}
    times = Counter(path for path, _ in pairs), Counter(each for _, each in pairs)
    return {path: each for path, each in pairs if times[0][path] == times[1][each] == 1}


def _that_end(paths: Iterable[str], ends: Iterable[str]) -> Iterator[tuple[str, str]]:
    """All pairs of a path and one of `ends` that is its end, in whole folders; some are written on Windows."""
    written = defaultdict(list)
    for end in ends:
        written[posixpath.normpath(end.replace("\\", "/"))].append(end)
    for path in paths:
        parts = posixpath.normpath(path.replace("\\", "/")).split("/")
        for first in range(len(parts)):
            yield from ((path, end) for end in written.get("/".join(parts[first:]), ()))
