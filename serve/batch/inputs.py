"""Inputs: the places of scans that a person means by files, folders, patterns and lists."""

import codecs
import csv
import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.collection import Place
from liquidlens.imaging.formats.kinds import Kind, kind_by_content, kind_of
from liquidlens.imaging.points import POINT, POINT_MM, point_of
from liquidlens.imaging.read import exists, split

#: Standard input as an input: a path per line.
STDIN = "-"
LISTS = (".csv", ".parquet")
#: Folders within folders that are searched here; the rest is one place.
_DEEP = 100
#: Arrays are split between shards, all other files go to one of them whole: to see that a file holds one scan only, it
#: would have to be opened by all.
STACKS: tuple[Kind, ...] = ("NPY", "NPZ")


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 0."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """ "2/8" as the second of eight.  Raises LiquidLensError for anything else."""
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise LiquidLensError(f"--shard is a part and the number of parts, from 1/8 to 8/8, not {text!r}.")
        return cls(int(index) - 1, int(count))

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"


def is_told_elsewhere(place: Place, of: int) -> bool:
    """Whether a place whose content cannot be opened (`of` is 0, see `imaging.collection.Found`) is another shard's to
    tell: of those who share an array, the first one does."""
    return of == 0 and 0 < place.first < place.step


class Inputs:
    """The places of scans, numbered from 0 in the order in which they were named, those of a folder sorted by name.

    Going through them twice gives the same places, as long as no file comes or goes.

    count: how many places are in the shard.
    fingerprint: the SHA-256 of all of them.
    """

    def __init__(
        self,
        sources: Sequence[str],
        axes: int,
        lines: Iterable[str] = (),
        shard: Shard = Shard(),
        pointed: bool = False,
    ):
        """sources: files, folders, patterns such as ``scans/*.png``, lists (.csv, .parquet, with a column ``path`` and
            perhaps ``item``) and ``-``, which stands for `lines`.
        axes: of the wanted scans, 2 or 3.  Volumes are looked for as DICOM series, images as DICOM files.
        shard: the part of all scans that is meant.
        pointed: lists also say where in a volume to look, by the columns ``slice``, ``row``, ``column`` (a voxel),
            ``x``, ``y``, ``z`` (millimetres in the patient) or ``mask``; for models that see a part of it.

        Raises LiquidLensError for what does not exist, for a list without paths, and if there is no place of a scan.
        """
        self.shard = shard
        self._sources, self._axes, self._pointed = list(sources), axes, pointed
        self._lines = [line for line in map(str.strip, lines) if line]
        for source in self._sources:
            _check(source)
        digest, count = hashlib.sha256(), 0
        for place in self._places():
            where = f"{place.where}\n" if place.where else ""
            digest.update(f"{place}\n{where}".encode("utf-8", "surrogateescape"))
            count += 1
        if not count:
            named = ", ".join("standard input" if source == STDIN else source for source in self._sources)
            raise LiquidLensError(f"{named}: no scans were found.")
        self.fingerprint = digest.hexdigest()
        self.count = sum(1 for _ in self) if shard.count > 1 else count

    def __iter__(self) -> Iterator[tuple[int, Place]]:
        for number, place in enumerate(self._places()):
            if self.shard.count == 1:
                yield number, place
            elif kind_of(Path(place.path)) in STACKS and not place.series:
                yield number, replace(place, first=self._first(number), step=self.shard.count)
            elif self._first(number) == 0:
                yield number, place

    def _first(self, number: int) -> int:
        return (self.shard.index - number) % self.shard.count

    def _places(self) -> Iterator[Place]:
        for source in self._sources:
            if source == STDIN:
                for line in self._lines:
                    yield from self._named(line)
            elif _is_list(source):
                for listed in _listed(Path(source), self._pointed):
                    yield from (replace(place, **listed.where) for place in self._named(listed.source))
            elif not _exists(source):
                yield from self._matching(source)
            else:
                yield from self._named(source)

    def _matching(self, pattern: str) -> Iterator[Place]:
        """The places of what a pattern matches, each once: what lies in a folder that matches may match as well."""
        parts = pattern.split(os.sep)
        every = parts[-1] == "**" or parts[-2:] == ["**", "*"]  # all that is in a folder does
        walked: set[Path] = set()
        for path in sorted(glob.iglob(pattern, recursive=True)):
            if os.path.isdir(path):
                if every:
                    continue
                walked.add(Path(path))
            if walked.isdisjoint(Path(path).parents):
                yield from self._named(path)

    def _named(self, source: str) -> Iterator[Place]:
        """The places of a file, a folder, or one scan of either; what does not exist is one, too, with an error."""
        path, selection = split(source)
        if not selection and os.path.isdir(path):
            yield from self._walk(str(path), frozenset())
        else:
            yield Place(str(path), selection)

    def _walk(self, folder: str, above: frozenset[tuple[int, int]]) -> Iterator[Place]:
        """The places in a folder and its subfolders; what is hidden, and files of other kinds, are left out."""
        try:
            state = os.stat(folder)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            yield Place(folder)  # whose reader raises what is wrong with it
            return
        here = (state.st_dev, state.st_ino)
        if here in above:  # a link to a folder that holds it
            return
        if len(above) == _DEEP:
            yield Place(folder)
            return
        has_series = False
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if os.path.isdir(entry.path):
                yield from self._walk(entry.path, above | {here})
            elif (kind := _kind(entry)) == "DICOM" and self._axes == 3:
                if not has_series:
                    yield Place(folder, series=True)
                has_series = True
            elif kind is not None:
                yield Place(entry.path)


def _check(source: str) -> None:
    if source == STDIN or _exists(source):
        if _is_list(source):
            next(_listed(Path(source), pointed=False), None)
    elif not glob.has_magic(source):
        raise LiquidLensError(f"{source}: there is no such file or folder.")
    elif next(glob.iglob(source, recursive=True), None) is None:
        raise LiquidLensError(f"{source}: no file has such a name.")


def _exists(source: str) -> bool:
    return exists(str(split(source)[0]))


def _is_list(source: str) -> bool:
    return Path(source).suffix.lower() in LISTS and Path(source).is_file()


def _kind(entry: os.DirEntry[str]) -> Kind | None:
    path = Path(entry.path)
    kind = kind_of(path)
    if kind is None and os.path.isfile(entry.path):
        try:
            with path.open("rb") as file:
                return kind_by_content(file)
        except OSError:
            return None
    return kind


@dataclass(frozen=True)
class _Listed:
    """A scan that a list names, as `imaging.read` takes it, and where in it to look, as of `Place`."""

    source: str
    where: dict[str, Any]


def _listed(path: Path, pointed: bool) -> Iterator[_Listed]:
    """The scans that a list names; pointed: with their points and masks.  Files that do not exist from here are looked
    for beside the list."""
    for number, row in enumerate(_rows(path), start=2):
        name, item, mask = (_text(row, column) for column in ("path", "item", "mask"))
        if name:
            where: dict[str, Any] = {}
            if pointed:
                at, at_mm = (_point(row, names, f"{path}, row {number}") for names in (POINT, POINT_MM))
                where = {"at": at, "at_mm": at_mm, "mask": _here(path, mask) if mask else ""}
            here = _here(path, name)
            yield _Listed(f"{here}#{item}" if item else here, where)


def _here(path: Path, name: str) -> str:
    beside = path.parent / name
    return name if exists(name) or not exists(str(beside)) else str(beside)


def _text(row: Mapping[str, object], column: str) -> str:
    value = row.get(column)
    return "" if value is None or value != value else str(value).strip()  # Parquet has NaN for nothing


def _point(row: Mapping[str, object], names: tuple[str, ...], where: str) -> tuple[float, ...] | None:
    """The point in three columns of a row; None if not all of them are there."""
    return point_of([_text(row, name) for name in names], names, where) if all(name in row for name in names) else None


def _rows(path: Path) -> Iterator[Mapping[str, object]]:
    try:
        yield from _csv(path) if path.suffix.lower() == ".csv" else _parquet(path)
    except LiquidLensError:
        raise
    except Exception as error:  # Parquet's errors have no common class
        raise LiquidLensError(f"{path}: not a readable list; it may be damaged ({type(error).__name__}).") from error


def _csv(path: Path) -> Iterator[dict[str, str]]:
    with path.open("rb") as start:
        if start.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise LiquidLensError(f"{path}: this list is written in UTF-16; save it as UTF-8.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        _check_columns(path, reader.fieldnames or ())
        yield from reader


def _parquet(path: Path) -> Iterator[dict[str, object]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        _check_columns(path, names)
        columns = [name for name in ("path", "item", "mask", *POINT, *POINT_MM) if name in names]
        for batch in file.iter_batches(columns=columns):
            yield from batch.to_pylist()


def _check_columns(path: Path, names: Sequence[str]) -> None:
    if "path" not in names:
        for name, mark in (("semicolons", ";"), ("tabs", "\t")):
            if "path" in str(next(iter(names), "")).split(mark):
                raise LiquidLensError(f"{path}: the columns of this list are parted by {name}; save it with commas.")
        found = f"its columns are {', '.join(map(str, names))[:200]}" if names else "it is empty"
        raise LiquidLensError(f"{path}: a list of scans has a column named path; {found}.")
