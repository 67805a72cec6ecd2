"""The journal: finished rows, appended as they come, so that a kill at any moment loses none.

A file of JSON lines beside the table that is to be.  The first line says what the job is; each further one holds the
rows of a window (see `serve.batch.engine`) and with which scan the job goes on.  A kill cuts off the last line only,
and its window is done again.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from io import FileIO
from pathlib import Path

from liquidlens.errors import LiquidLensError
from liquidlens.files import lock
from liquidlens.imaging.collection import Place
from liquidlens.serve.batch.tables import Row

#: Seconds after which what was written is to be on the disk, in case the machine itself goes down.
_SYNC = 5.0


@dataclass(frozen=True)
class Job:
    """What rows of one table have in common.

    inputs: the fingerprint of all inputs.
    shard: the part of them.
    """

    model: str
    model_sha256: str
    inputs: str
    shard: str

    def check(self, here: "Job", path: Path) -> None:
        """Raise LiquidLensError if the rows that are `here`, in a file of this path, are not of this job."""
        if here.model_sha256 != self.model_sha256:
            what = f"another model: {here.model}, SHA-256 {here.model_sha256[:12]}..., not {self.model_sha256[:12]}..."
        elif here.inputs != self.inputs:
            what = "other inputs: some came, went, or were named in another way"
        elif here.shard != self.shard:
            what = f"another part of the scans: {here.shard}, not {self.shard}"
        else:
            return
        raise LiquidLensError(f"{path} holds rows of {what}. Name another --out, or start anew with --overwrite.")


#: Number of the input with which a job goes on, and of the scan in it.
Position = tuple[int, int]


class Journal:
    """An open journal, which only one process may have.

    rows: how many it holds.
    position: where the job went on when it was opened.
    """

    def __init__(self, path: Path, job: Job, anew: bool = False):
        """Begin a journal, or go on with the one that is there, unless it is to be begun `anew`.

        Raises LiquidLensError if it is of another job, open in another process, or no journal, and OSError if it cannot
        be written.
        """
        self.path, self.rows, self.position = path, 0, (0, 0)
        self._file = opened(path)
        try:
            lock(self._file, path)
            if anew:
                self._file.truncate(0)
            self._resume(job)
        except OSError as error:
            if not os.fstat(self._file.fileno()).st_size:
                self.path.unlink()
            self._file.close()
            raise LiquidLensError(f"{path}: {error.strerror}.") from error
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def left(self, number: int, place: Place) -> Place | None:
        """What is left of input `number`; None if it is done."""
        at, scan = self.position
        if number < at:
            return None
        return replace(place, first=scan) if number == at and scan > place.first else place

    def append(self, rows: Sequence[Row], position: Position) -> None:
        """Keep the rows of a window, after which the job goes on at `position`.  Raises LiquidLensError if they cannot
        be written."""
        line = json.dumps({"rows": rows, "position": position}, ensure_ascii=False).encode() + b"\n"
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
        try:
            self.path.unlink()  # before it is closed: then it may be another one's
        except PermissionError:  # Windows removes no open file
            self.close()
            self.path.unlink()
        self.close()

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
            here = Job(**json.loads(first)["job"])
        except (ValueError, TypeError, KeyError):
            raise LiquidLensError(f"{self.path} is no journal of a batch; move it out of the way.") from None
        job.check(here, self.path)
        self._file.truncate(whole)
        for entry in self._entries():
            self.rows += len(entry["rows"])
            number, scan = entry["position"]
            self.position = number, scan

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


def opened(path: Path) -> FileIO:
    """A journal, open to be appended to; nothing is left over that closing would have to write.  Raises LiquidLensError
    if a link, which somebody may have laid there, is in its place."""
    if path.is_symlink():
        raise LiquidLensError(f"{path} is a link and no journal of a batch; move it out of the way.")
    return FileIO(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666), "ab")
