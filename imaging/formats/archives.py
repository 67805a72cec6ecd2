"""Folders and .zip archives as lists of files, opened one at a time and never unpacked to disk."""

import io
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import Budget, size_of

#: Files per slice that a folder or an archive may hold: a hospital's CD brings its viewer along.
_FILES_PER_SLICE = 10
#: Letters of a member's name; no system knows longer paths.
_NAME = 4_096


@dataclass(frozen=True)
class Member:
    """One file of a folder or an archive.

    name: relative to it, with forward slashes.  size: its bytes, unpacked.  is_packed: whether it must be unpacked.
    stream: opens it to be read forwards; of a packed member no read may ask for more than `size`, as `zipfile` unpacks
    what is asked for before it looks at the size.
    leads_nowhere: it is a link without a file, as git-annex leaves one for what it has not fetched: it streams as an
    empty file, and cannot be opened.
    """

    name: str
    size: int
    is_packed: bool
    stream: Callable[[], BinaryIO]
    leads_nowhere: bool = False

    def open(self) -> BinaryIO:
        """Open it to be read in any way; a packed one is unpacked into memory."""
        if self.leads_nowhere:
            raise LiquidLensError("a link that leads to no file, and to no scan; fetch the file, or delete the link.")
        file = self.stream()
        if not self.is_packed:
            return file
        with file:
            return io.BytesIO(file.read(self.size))


def open_folder(folder: Path, budget: Budget, deep: bool = True) -> list[Member]:
    """The files of a folder and, if `deep`, of its subfolders, sorted by name, hidden ones left out.

    Raises LiquidLensError if they are too many for the budget.
    """
    members = []
    for path in sorted(folder.rglob("*") if deep else folder.iterdir()):
        name = path.relative_to(folder).as_posix()
        if _hidden(name):
            continue
        if path.is_file():
            members.append(Member(name, path.stat().st_size, False, _opener(path)))
        elif path.is_symlink() and not path.exists():  # left out, the series would seem whole
            members.append(Member(name, 0, False, io.BytesIO, leads_nowhere=True))
        _check_number(len(members), budget)
    return members


def _opener(path: Path) -> Callable[[], BinaryIO]:
    return lambda: path.open("rb")


def open_zip(file: BinaryIO, budget: Budget) -> list[Member]:
    """The files of an archive, hidden ones left out; the archive must stay open while they are read.

    Sizes are judged before anything is unpacked, by what the archive declares; no more than that is unpacked.
    Raises LiquidLensError if the archive is over the budget, encrypted, packed by another method than deflate, or if a
    member is a link or its name leaves the archive.
    """
    packed = size_of(file)
    archive = zipfile.ZipFile(file)
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    _check_number(len(entries), budget)
    for entry in entries:
        path = PureWindowsPath(entry.filename)  # knows drives, and slashes of both kinds
        if len(entry.filename) > _NAME:
            raise LiquidLensError(f"the archive has a member whose name has {len(entry.filename):,} letters.")
        if path.anchor or ".." in path.parts:
            raise LiquidLensError(f"the archive's member {entry.filename!r} points outside of it; pack it again.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise LiquidLensError(f"the archive's member {entry.filename!r} is a link; pack the file itself.")
        if entry.flag_bits & 1:
            raise LiquidLensError("the archive is encrypted; unpack it first.")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise LiquidLensError("the archive is packed by an unusual method; pack it again with deflate.")
        budget.check_inflated(entry.file_size, min(entry.compress_size, packed))
    budget.check_inflated(sum(entry.file_size for entry in entries), packed)  # members may share their packed bytes
    return [
        Member(entry.filename, entry.file_size, True, _unpacker(archive, entry))
        for entry in entries
        if not _hidden(entry.filename)
    ]


def _unpacker(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    return lambda: archive.open(entry)  # type: ignore[return-value]


def _check_number(files: int, budget: Budget) -> None:
    allowed = _FILES_PER_SLICE * budget.slices
    if files > allowed:
        raise LiquidLensError(
            f"more than {allowed:,} files, {_FILES_PER_SLICE} times the budget of slices; give one series alone, or "
            "raise 'slices'."
        )


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
