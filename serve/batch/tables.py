"""Results tables: a row per scan, as CSV, JSON Lines or Parquet, written and read row by row.

input, number            which input of the job it came from, and which scan of that input it is, both from 0
shard                    the part of the job that this is, ``1/1`` if it has one
path, item               where it lies: ``path#item`` is what `imaging.read` takes, ``path`` if there is no item
at                       of models that look at a point alone: where the list says, ``40,120,88`` (a voxel),
                         ``1,2,3 mm`` (in the patient) or ``mask FILE``; empty for the middle of the scan
sha256                   of the file, or of what `imaging.collection.Found` names
label                    what the model predicts
p_LABEL                  the probability of each label, in the model's order, with seven digits
threshold                a label is predicted if its probability is above; empty for models of several classes
abstained                whether the model is not sure
ood_score, ood           how far from the training scans the scan is, and whether it is out-of-distribution
device, milliseconds     where it ran, and for how long: the time of a batch divided by its scans
model, model_sha256      the model's name, and the SHA-256 of its file
task                     ``classes``, whose probabilities sum to 1, or ``multi-label``; not in tables of older versions
notes                    what had to be assumed, in sentences
error                    why there is no answer; all but the place and the model are empty then

A text that a spreadsheet would run as a formula (it begins with one of ``= + - @``, a tab or a line's end) has an
apostrophe before it in CSV, and there alone; reading the table here takes it off again.  Letters that are not printable
stand as escapes such as ``\\x1b`` in all formats.
"""

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from liquidlens.errors import LiquidLensError
from liquidlens.files import replacing

FORMATS = (".csv", ".jsonl", ".parquet")
#: Rows per group of a Parquet file.
_GROUP = 10_000
_BEFORE = {"input": int, "number": int, "shard": str, "path": str, "item": str, "sha256": str, "label": str}
_AFTER = {
    "threshold": float,
    "abstained": bool,
    "ood_score": float,
    "ood": bool,
    "device": str,
    "milliseconds": float,
    "model": str,
    "model_sha256": str,
    "task": str,
    "notes": str,
    "error": str,
}

#: Columns without which a row says nothing.
_ALWAYS = ("input", "number", "shard", "path", "item", "model", "model_sha256")
#: What spreadsheets take for the beginning of a formula, in letters of either width, behind apostrophes that were put
#: before one.
_FORMULA = re.compile("'*[=+@\t\r\n\uff1d\uff0b\uff0d\uff20-]")

Row = dict[str, Any]


def columns(labels: Iterable[str], pointed: bool = False) -> dict[str, type]:
    """The columns of a table for a model with these labels, and the types of what they hold beside None.  pointed: it
    looks at a point."""
    at: dict[str, type] = {"at": str} if pointed else {}
    return {**_BEFORE, **at, **{f"p_{label}": float for label in labels}, **_AFTER}


def labels_of(names: Iterable[str]) -> list[str]:
    """The labels of a table by the names of its columns."""
    return [name[2:] for name in names if name.startswith("p_")]


def check(path: Path) -> None:
    """Raise LiquidLensError if a table cannot be written under this name."""
    if path.suffix.lower() not in FORMATS:
        raise LiquidLensError(f"{path}: a table's name ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    if path.is_dir():
        raise LiquidLensError(f"{path} is a folder; name a file in it.")


def write(path: Path, kinds: dict[str, type], rows: Iterable[Row]) -> None:
    """Write a table whole or not at all.  kinds: its columns."""
    check(path)
    with replacing(path) as partial:
        _WRITERS[path.suffix.lower()](partial, kinds, rows)
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # what the rows came from may be removed next


def rows(path: Path) -> Iterator[Row]:
    """The rows of a table.  Raises LiquidLensError if it is none that was written here."""
    check(path)
    try:
        yield from map(with_task, _READERS[path.suffix.lower()](path))
    except LiquidLensError:
        raise
    except FileNotFoundError:
        raise LiquidLensError(f"{path}: there is no such table.") from None
    except Exception as error:  # Parquet's errors have no common class
        raise LiquidLensError(f"{path}: not a readable table of results ({type(error).__name__}).") from error


def with_task(row: Row) -> Row:
    """The same row, with an empty column ``task`` if it was written before there was one."""
    return row if "task" in row else {**row, "task": None}


def _write_csv(path: Path, kinds: dict[str, type], rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(kinds)
        writer.writerows([_text(row[name]) for name in kinds] for row in rows)


def _text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        kinds = _checked(path, reader.fieldnames or ())
        for row in reader:
            yield {name: _value(row[name], kind) for name, kind in kinds.items()} | {
                "item": _value(row["item"], str) or ""
            }


def _value(text: str, kind: type) -> object:
    if kind is bool:
        return {"true": True, "false": False, "": None}[text]
    if kind is str and _FORMULA.match(text.removeprefix("'")):
        text = text.removeprefix("'")
    return kind(text) if text else None


def _write_jsonl(path: Path, kinds: dict[str, type], rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({name: row[name] for name in kinds}, ensure_ascii=False) + "\n")


def _read_jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield _typed(path, row, _checked(path, row))


def _write_parquet(path: Path, kinds: dict[str, type], rows: Iterable[Row]) -> None:
    import pyarrow
    from pyarrow import parquet

    arrow = {int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_(), str: pyarrow.string()}
    schema = pyarrow.schema([(name, arrow[kind]) for name, kind in kinds.items()])
    with parquet.ParquetWriter(path, schema) as writer:
        for group in _groups(rows):
            writer.write_table(pyarrow.Table.from_pylist(group, schema))


def _read_parquet(path: Path) -> Iterator[Row]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        kinds = _checked(path, file.schema_arrow.names)
        for batch in file.iter_batches(_GROUP):
            for row in batch.to_pylist():
                yield _typed(path, row, kinds)


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    for row in rows:
        group.append(row)
        if len(group) == _GROUP:
            yield group
            group = []
    if group:
        yield group


def _checked(path: Path, names: Iterable[str]) -> dict[str, type]:
    names = list(names)
    kinds = columns(labels_of(names), "at" in names)
    if names not in (list(kinds), [name for name in kinds if name != "task"]):
        raise LiquidLensError(f"{path} is not a table of results that `liquidlens batch` wrote.")
    return {name: kinds[name] for name in names}


def _typed(path: Path, row: Row, kinds: dict[str, type]) -> Row:
    """The row.  Raises LiquidLensError if a value is of another type than its column, or one is missing that every row
    has."""
    for name, kind in kinds.items():
        value = row[name]
        fits = value is None if name not in _ALWAYS else False
        fits = fits or type(value) is kind or (kind is float and type(value) is int)
        if not fits:
            raise LiquidLensError(
                f"{path}: a row has {str(value)[:80]!r} in the column {name}: it was changed by hand."
            )
    return row


_WRITERS = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}
_READERS = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
