"""Files that are written whole or not at all, tables that grow, and files that are what they seem to be."""

import csv
import io
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO

from liquidlens.errors import LiquidLensError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to; at the end that file takes its place.

    If anything fails before, `path` is as it was, and nothing is left beside it.  Raises LiquidLensError, which names
    `path`, if the disk is full or read-only.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        # A link that somebody laid there would lead elsewhere.
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise LiquidLensError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        if partial.is_file():  # also False below a file, where unlink would fail
            partial.unlink()


def lock(file: IO, path: Path) -> None:
    """Keep other processes from this file until it is closed.  Raises LiquidLensError if one of them has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LiquidLensError(f"{path}: another process is at work on it.") from None
    except OSError:  # a file system without locks
        return


@contextmanager
def growing(path: Path) -> Iterator[TextIO]:
    """A table to which this process alone may `add_line` until the end; one that stays empty is removed.

    Raises LiquidLensError if another process has it, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8", newline="")
    except OSError as error:
        raise LiquidLensError(f"{path}: cannot be written ({error.strerror}).") from error
    with file:
        lock(file, path)
        try:
            yield file
        finally:
            if not os.fstat(file.fileno()).st_size:
                path.unlink(missing_ok=True)


def add_line(file: TextIO, path: Path, row: Mapping[str, float | str]) -> None:
    """Append a line to a table, below a header if it is the first; when this returns, it is on the disk.

    Raises LiquidLensError if the disk is full; the table is as it was then.
    """
    descriptor = file.fileno()  # nothing stays in a buffer, which closing would write
    end = os.fstat(descriptor).st_size
    header, line, _ = as_csv([row]).split("\n")
    content = (f"{line}\n" if end else f"{header}\n{line}\n").encode()
    try:
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    except OSError as error:
        os.ftruncate(descriptor, end)  # half a line would stop the next run
        raise LiquidLensError(f"{path}: cannot be written ({error.strerror}).") from error


def as_csv(rows: Sequence[Mapping[str, float | str]]) -> str:
    """Rows with a header line, numbers to six digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    return text.getvalue()


def is_plain(path: Path) -> bool:
    """Whether this is a file, and not a link to one, a folder, a pipe or a device."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def beside(path: Path, names: Iterable[str]) -> list[Path]:
    """The files of these names beside `path`, those that are there.

    A bundle from a stranger may hold links to private files of whoever shows or publishes it: raises LiquidLensError if
    one of these is not a plain file.
    """
    found = [file for name in names if os.path.lexists(file := path.with_name(name))]
    for file in found:
        if not is_plain(file):
            raise LiquidLensError(f"{file} is not a plain file: a bundle holds no links; copy the file itself.")
    return found
