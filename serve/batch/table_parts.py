"""Parts of a job: its scans in lists of about the same length, and the folder in which their tables come to lie."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Budget
from liquidlens.imaging.collection import Place, each
from liquidlens.imaging.formats.kinds import kind_of
from liquidlens.manifest import InputContract
from liquidlens.serve.batch.inputs import STACKS, Inputs, is_told_elsewhere
from liquidlens.serve.batch.journal import Job

#: Places, or items of arrays, per part: what is done again if an actor dies.
SCANS = 512

#: A place with its number among the inputs.
Numbered = tuple[int, Place]


def cut(inputs: Inputs, expects: InputContract, budget: Budget) -> Iterator[list[Numbered]]:
    """All places, cut into parts of about `SCANS` scans: long arrays are cut as well.

    expects: what the model reads.  budget: of one scan.
    """
    part: list[Numbered] = []
    size = 0
    for number, place in inputs:
        for piece, scans in _pieces(place, budget, len(expects.size), expects.channels == 3):
            if part and size + scans > SCANS:
                yield part
                part, size = [], 0
            part.append((number, piece))
            size += scans
    if part:
        yield part


def _pieces(place: Place, budget: Budget, axes: int, colour: bool) -> Iterator[tuple[Place, int]]:
    """A place in pieces of at most `SCANS` scans, with their numbers of scans; one, if it is no array."""
    if kind_of(Path(place.path)) not in STACKS:
        yield place, 1
        return
    length = next((scan.of for scan in each(place, budget, axes=axes, colour=colour)), None)
    if length == 0 and not is_told_elsewhere(place, length):
        yield place, 1
    numbers = range(length or 0)[place.first : place.end : place.step]
    if 0 < len(numbers) <= SCANS:
        yield place, len(numbers)  # to its end, wherever that is when it is read
        return
    for first in range(0, len(numbers), SCANS):
        piece = numbers[first : first + SCANS]
        yield replace(place, first=piece.start, end=piece.stop), len(piece)


def open_folder(folder: Path, job: Job, parts: list[str], resume: bool, overwrite: bool) -> None:
    """Make the folder of the parts, with a label that says whose they are.

    Raises LiquidLensError if it holds parts that are not to be gone on with, or other things.
    """
    if folder.is_symlink():
        raise LiquidLensError(f"{folder} is a link and holds no parts of a batch; move it out of the way.")
    label = folder / "job.json"
    fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    if overwrite and label.exists():
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    if not any(folder.iterdir()):
        label.write_text(json.dumps({"job": asdict(job), "inputs": fingerprint}), encoding="utf-8")
        return
    try:
        found = json.loads(label.read_text(encoding="utf-8"))
        here, there = Job(**found["job"]), found["inputs"]
    except (OSError, ValueError, TypeError, KeyError):
        raise LiquidLensError(f"{folder} holds no parts of a batch; move it out of the way.") from None
    if not resume:
        raise LiquidLensError(
            f"{folder} holds the parts of an unfinished run: go on with them by --resume, or start anew with "
            "--overwrite."
        )
    job.check(here, folder)
    if there != fingerprint:
        raise LiquidLensError(
            f"{folder} holds parts of other inputs: files came, went or changed. Start anew with --overwrite."
        )


def file_of(folder: Path, part: int) -> Path:
    """The table of a part."""
    return folder / f"part-{part:06}.parquet"


def rows_of(file: Path) -> int | None:
    """The number of rows of a part; None if it is missing, or was damaged as the machine went down."""
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_metadata(file).num_rows
    except (FileNotFoundError, pyarrow.ArrowInvalid):
        return None
