"""The journal: finished rows, appended as they come, so that a kill at any moment loses none.

A file of JSON lines beside the table that is to be.  The first line says what the job is; each further one holds the
rows of a window (see `serve.batch.job`) and how far the places in it are done.  A line is written in one go, so what a
kill cuts off is the last line only, and its window is done again.
"""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from io import FileIO
from pathlib import Path

from imaging import LiquidLensError
from imaging.collection import Place
from serve.batch.tables import Row

#: Seconds after which what was written is to be on the disk, in case the machine itself goes down.
_SYNC = 5.0


@dataclass(frozen=True)
class Job:
    """What rows of one table have in common."""

    model: str
    model_sha256: str
    labels: tuple[str, ...]
    shard: str

    def check(self, here: "Job", path: Path) -> None:
        """Raise LiquidLensError if the rows that are `here`, in a file of this path, are not of this job."""
        if here.model_sha256 != self.model_sha256:
            what = f"another model: {here.model}, SHA-256 {here.model_sha256[:12]}..., not {self.model_sha256[:12]}..."
        elif here.shard != self.shard:
            what = f"another part of the scans: {here.shard}, not {self.shard}"
        else:
            return
        raise LiquidLensError(f"{path} holds rows of {what}. Name another --out, or start anew with --overwrite.")


#: A place of which a window holds scans, and the number of the scan to go on with; None if it is done.
Progress = tuple[Place, int | None]


class Journal:
    """An open journal.  Only one process may have it open."""

    def __init__(self, path: Path, job: Job, anew: bool = False):
        """Begin a journal, or go on with the one that is there, unless it is to be begun `anew`.

        Raises LiquidLensError if it is of another job, open in another process, or no journal, and OSError if it cannot
        be written.
        """
        self.path, self.rows = path, 0
        self._done: Counter[str] = Counter()
        self._next: dict[str, int] = {}
        self._file = path.open("ab", buffering=0)  # nothing is left over that closing would have to write
        try:
            _lock(self._file, path)
            if anew:
                self._file.truncate(0)
            self._resume(job)
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def left(self, place: Place) -> Place | None:
        """What is left of a place; None if it is done.  To be asked once for each place, as a place may come twice."""
        key = _key(place)
        if self._done[key]:
            self._done[key] -= 1
            return None
        first = self._next.pop(key, None)
        return place if first is None else replace(place, first=first)

    def append(self, rows: Sequence[Row], progress: Iterable[Progress]) -> None:
        """Keep the rows of a window.  Raises LiquidLensError if they cannot be written."""
        places = [(_key(place), number) for place, number in progress]
        line = json.dumps({"rows": rows, "places": places}, ensure_ascii=False).encode() + b"\n"
        try:
            self._write(line)
            if time.monotonic() - self._synced > _SYNC:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise LiquidLensError(
                f"{self.path}: {error.strerror}. The rows before are kept, and --resume goes on from there."
            ) from error
        self.rows += len(rows)

    def read(self) -> Iterator[Row]:
        """All rows, in the order in which they were kept."""
        for entry in self._entries():
            yield from entry["rows"]

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """End the journal, as its rows are in a table now."""
        self.close()
        self.path.unlink()

    def _write(self, line: bytes) -> None:
        left = memoryview(line)
        while left:
            left = left[self._file.write(left) :]

    def _resume(self, job: Job) -> None:
        with self.path.open("rb") as file:
            first = file.readline()
            whole = len(first) + sum(len(line) for line in file if line.endswith(b"\n"))
        if not first.endswith(b"\n"):  # it was cut off while it was begun
            if not _begin(job).startswith(first):
                raise LiquidLensError(f"{self.path} is no journal of a batch; move it out of the way.")
            self._file.truncate(0)
            self._write(_begin(job))
            return
        try:
            begun = json.loads(first)["job"]
            here = Job(**{**begun, "labels": tuple(begun["labels"])})
        except (ValueError, TypeError, KeyError):
            raise LiquidLensError(f"{self.path} is no journal of a batch; move it out of the way.") from None
        job.check(here, self.path)
        self._file.truncate(whole)
        for entry in self._entries():
            self.rows += len(entry["rows"])
            for key, number in entry["places"]:
                self._next.pop(key, None)
                if number is None:
                    self._done[key] += 1
                else:
                    self._next[key] = number

    def _entries(self) -> Iterator[dict]:
        with self.path.open("rb") as file:
            file.readline()
            for number, line in enumerate(file, 2):
                try:
                    yield json.loads(line)
                except ValueError:
                    raise LiquidLensError(f"{self.path}: line {number} is damaged.") from None


def _begin(job: Job) -> bytes:
    return json.dumps({"job": asdict(job)}, ensure_ascii=False).encode() + b"\n"


def _key(place: Place) -> str:
    """Short, as a large job has many."""
    return hashlib.blake2b(str(place).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def _lock(file: FileIO, path: Path) -> None:
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
