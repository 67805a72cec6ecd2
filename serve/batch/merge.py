"""Joining the tables of shards into the table that one job would have written."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from liquidlens.errors import LiquidLensError, reading
from liquidlens.imaging.collection import named
from liquidlens.serve.batch import tables
from liquidlens.serve.batch.inputs import Shard
from liquidlens.serve.batch.job import Summary
from liquidlens.serve.batch.tables import Row


def merge(parts: Sequence[Path], out: Path, overwrite: bool = False) -> Summary:
    """Write the rows of all parts into one table, in the order of the inputs, a row of each at a time.

    Raises LiquidLensError if a part is missing, given twice, or of another model, or if the table is there already and
    `overwrite` is not set.
    """
    tables.check(out)
    if out.exists() and not overwrite:
        raise LiquidLensError(f"{out} is there already: replace it with --overwrite, or name another --out.")
    if out.resolve() in {part.resolve() for part in parts}:
        raise LiquidLensError(f"{out} is one of the parts; name another --out.")
    firsts = [(part, first) for part in parts if (first := next(tables.rows(part), None))]
    if not firsts:
        raise LiquidLensError(f"{', '.join(map(str, parts))}: there are no rows to join.")
    (part, first), *others = firsts
    for other, row in others:
        if row["model_sha256"] != first["model_sha256"]:
            raise LiquidLensError(f"{part} and {other} are tables of different models.")
    with reading(part, None):
        number = Shard.parse(first["shard"]).count
    if len(parts) != number:
        raise LiquidLensError(f"{part} is one of {number} parts, and {len(parts)} were named: name each once.")
    summary = Summary()
    joined = heapq.merge(*(tables.rows(part) for part, _ in firsts), key=_place)
    whole = (row | {"shard": "1/1"} for row in _complete(joined, number))
    tables.write(out, tables.columns(tables.labels_of(first), "at" in first), summary.watch(whole))
    return summary


def _place(row: Row) -> tuple[int, int]:
    return row["input"], row["number"]


def _complete(rows: Iterable[Row], parts: int) -> Iterator[Row]:
    """The same rows, but one alone of a place that several parts could not open.

    Raises LiquidLensError where one is missing or comes twice: inputs and their scans are numbered from 0 without a
    gap, but for what a part lost with a place that it could not open any more.
    """
    last, number = -1, 0
    ends: dict[int, Row] = {}  # part -> its last row so far of this input
    for row in rows:
        (here, at), what = _place(row), named(row["path"], row["item"])
        if (here, at) == (last, number - 1):
            raise LiquidLensError(f"{what} comes twice: is a part given twice?")
        skipped = here > last + 1
        if here > last:
            last, number, ends = here, 0, {}
        whose = [(here + each) % parts for each in range(number, at)]
        if skipped or not all(part in ends and ends[part]["error"] for part in whose):
            raise LiquidLensError(f"Rows before {what} are missing: name all parts.")
        first, number = next(iter(ends.values()), row), at + 1
        ends[Shard.parse(row["shard"]).index] = row
        if not (0 < at < parts and row["error"] and all(row[name] == first[name] for name in ("item", "error"))):
            yield row
