"""Reading one scan: DICOM, NIfTI volumes, NumPy arrays, and PNG, JPEG, BMP and TIFF images.

A file that holds several scans is read by naming one after a ``#``: ``vesselmnist3d.npz#test_images/7`` is item 7 of
one array of an archive, ``scans.npy#7`` item 7 of a stack, ``series.nii.gz#2`` one volume of a 4D image,
``pages.tif#0`` one page of a TIFF, ``folder#1`` one of several DICOM series, ``clip.dcm#5`` one frame,
``archive.zip#left/scan.png`` one file of an archive or folder.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from liquidlens.errors import LiquidLensError, reading
from liquidlens.imaging.budget import DEFAULT, Budget, size_of
from liquidlens.imaging.formats.archives import Member, open_folder, open_zip
from liquidlens.imaging.formats.arrays import read_npy, read_npz
from liquidlens.imaging.formats.kinds import ENDINGS, Kind, kind_by_content, kind_of
from liquidlens.imaging.request import Request
from liquidlens.imaging.scan import Scan

__all__ = ["kind_of", "read"]

#: Letters of a path; no system knows longer ones.  What stands after the ``#`` may be of any length, and of nothing but
#: further marks, at each of which a file is looked for.
_LONGEST = 4_096


def read(source: str | Path, budget: Budget = DEFAULT, *, colour: bool = False) -> Scan:
    """Read one scan, in this process: the time and memory of `budget` are not kept (see `imaging.read_safely`).

    source: a file, or a DICOM series as a folder or a .zip archive, optionally with ``#selection`` (see this module's
        text).  The ending tells the kind, or else the content does; `ENDINGS` lists them.
    budget: limits that are checked before anything is decoded.
    colour: colour images as (rows, columns, 3) and not as grey ones; volumes stay grey.
    Raises LiquidLensError, naming the source, if it is missing, broken, of another kind, over the budget, or holds no
    single scan.
    """
    with reading(source, None):
        path, selection = split(str(source))
        request = Request(path.name, selection, budget, colour)
        is_folder = path.is_dir()
        kind = None if is_folder else kind_of_file(path)
    with reading(source, kind or "folder"):
        if kind is None:
            return _read_members(open_folder(path, budget), request)
        with path.open("rb") as file:
            return read_file(file, kind, request)


def exists(path: str) -> bool:
    """Whether there is such a file or folder, as far as this process can see; no name is too long to ask for."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def split(source: str) -> tuple[Path, str]:
    """Split ``path#selection`` where it leaves the longest path that exists, else at the last ``#``."""
    marks = [len(source), *(at for at in range(min(len(source), _LONGEST) - 1, 0, -1) if source[at] == "#")]
    at = next((at for at in marks if exists(source[:at])), marks[min(1, len(marks) - 1)])
    return Path(source[:at]), source[at + 1 :]


def kind_of_file(path: Path) -> Kind:
    kind = kind_of(path)
    exists = path.is_file()
    if kind is None and exists:
        with path.open("rb") as file:
            kind = kind_by_content(file)
    if kind is None:
        raise LiquidLensError(f"this kind of file cannot be read; known kinds are {', '.join(ENDINGS)}.")
    if not exists:
        raise LiquidLensError("there is no such file.")
    return kind


def read_file(file: BinaryIO, kind: Kind, request: Request) -> Scan:
    """Read one open file.  Libraries are imported here: each takes a quarter of a second that others need not pay."""
    request.budget.check_file(size_of(file))
    match kind:
        case "NPY":
            return read_npy(file, request)
        case "NPZ":
            return read_npz(file, request)
        case "ZIP":
            return _read_members(open_zip(file, request.budget), request)
        case "NIfTI":
            from liquidlens.imaging.formats.nifti import read_nifti

            return read_nifti(file, request)
        case "image":
            from liquidlens.imaging.formats.images import read_image

            return read_image(file, request)
        case "DICOM":
            from liquidlens.imaging.formats.series import read_dicom

            return read_dicom(file, request)


def _read_members(members: Sequence[Member], request: Request) -> Scan:
    """The one DICOM series of a folder or an archive, or else the one file in it that can be read, or the file that is
    named."""
    for member in sorted(members, key=lambda member: -len(member.name)):  # names may hold a "#" as well
        name = item_name(member.name)
        if f"{request.selection}#".startswith(f"{name}#"):
            selection = request.selection[len(name) + 1 :]
            return _read_member(member, kind_of_member(member), replace(request, name=member.name, selection=selection))
    kinds = [(member, kind_of_member(member)) for member in members]
    slices = [member for member, kind in kinds if kind == "DICOM"]
    if slices:
        from liquidlens.imaging.formats.series import read_only_series

        scan = read_only_series(slices, [member for member, kind in kinds if kind != "DICOM"], request)
        if scan is not None:
            return scan
    others = [(member, kind) for member, kind in kinds if kind is not None and kind not in ("DICOM", "ZIP")]
    if len(others) != 1:
        found = "no scan" if not others else f"{len(others)} scans and no DICOM series; give one of its files"
        raise LiquidLensError(f"it holds {found}.")
    member, kind = others[0]
    return _read_member(member, kind, replace(request, name=member.name))


def _read_member(member: Member, kind: Kind | None, request: Request) -> Scan:
    with reading(member.name, kind), member.open() as file:
        if kind in (None, "ZIP"):
            raise LiquidLensError("this kind of file cannot be read.")
        return read_file(file, kind, request)


def item_name(name: str) -> str:
    """How a file of a folder or an archive is named after the ``#``, where a number alone is that of a series."""
    return f"./{name}" if name.isdecimal() else name


def kind_of_member(member: Member) -> Kind | None:
    kind = kind_of(Path(member.name))
    if kind is None:
        with member.stream() as file:
            kind = kind_by_content(file)
    return kind
