"""A table as text: .csv and .tsv with any usual separator and encoding, .jsonl, .parquet and .xlsx."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liquidlens.errors import LiquidLensError, reading

ENDINGS = (".csv", ".tsv", ".txt", ".jsonl", ".parquet", ".xlsx")
SEPARATORS = (",", ";", "\t", "|")
#: A cell says nothing if it is one of these.
NOTHING = {"", "nan", "null", "n/a"}


@dataclass(frozen=True)
class Sheet:
    """The cells of a table.

    header: names of the columns.  rows: for each line its number, as a spreadsheet shows it, and a text for each
    column, '' where there is none.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]


def is_table(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and path.is_file()


def read_sheet(path: Path) -> Sheet:
    """Read a table.  Raises LiquidLensError, naming it, if it is damaged or empty."""
    lines: Iterable[Sequence[Any]]
    with reading(path, "table"):
        match path.suffix.lower():
            case ".jsonl":
                lines = _of_records(json.loads(line) for line in _text(path).splitlines() if line.strip())
            case ".parquet":
                import pyarrow.parquet

                lines = _of_records(pyarrow.parquet.read_table(path).to_pylist())
            case ".xlsx":
                lines = _of_workbook(path)
            case _:
                lines = _of_text(_text(path))
        numbered = [(number, [_cell(cell) for cell in line]) for number, line in enumerate(lines, 1)]
        numbered = [(number, line) for number, line in numbered if any(line)]
        if not numbered:
            raise LiquidLensError("the table is empty; it needs a header with the columns path and label.")
        header = numbered[0][1]
        while header and not header[-1]:
            header.pop()
        twice = next((name for name in header if name and header.count(name) > 1), None)
        if twice:
            raise LiquidLensError(f"the header has two columns {twice!r}.")
        rows = []
        for number, line in numbered[1:]:
            if any(line[len(header) :]):
                raise LiquidLensError(f"row {number} has more cells than the header ({len(line)} and {len(header)}).")
            rows.append((number, tuple((line + [""] * len(header))[: len(header)])))
        if not rows:
            raise LiquidLensError("the table is empty: there is no row below its header.")
        return Sheet(path, tuple(header), tuple(rows))


def _text(path: Path) -> str:
    """A file's text: UTF-8 or, by its mark, UTF-16; else what Windows writes in the West."""
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def _of_text(text: str) -> Iterable[list[str]]:
    """Lines of cells; the separator is the one that the header holds most of, outside of quotes."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    unquoted = "".join(first.split('"')[::2])
    separator = max(SEPARATORS, key=unquoted.count)
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)


def _of_records(records: Iterable[Any]) -> list[list[Any]]:
    found = list(records)
    for number, record in enumerate(found, 1):
        if not isinstance(record, dict):
            raise LiquidLensError(f"line {number} is no record with names, as in {{'path': ..., 'label': ...}}.")
    header = list(dict.fromkeys(name for record in found for name in record))
    return [header, *([record.get(name) for name in header] for record in found)]


def _of_workbook(path: Path) -> list[tuple[Any, ...]]:
    """The first sheet of a workbook: what its cells show, not their formulas."""
    from openpyxl import load_workbook

    workbook = load_workbook(path, read_only=True, data_only=True)
    try:
        return list(workbook.worksheets[0].iter_rows(values_only=True))
    finally:
        workbook.close()


def _cell(value: Any) -> str:
    """A cell as text; whole numbers without the fraction that a spreadsheet gives them."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return "" if text.lower() in NOTHING else text
