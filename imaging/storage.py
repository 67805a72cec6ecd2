"""How a scan is stored, and whose it is: what must not tell a label, and what keeps a patient in one split.

Of the patient nothing leaves this module but a key that means nothing outside of this process.
"""

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from liquidlens.errors import reading
from liquidlens.imaging.budget import DEFAULT, Budget, size_of
from liquidlens.imaging.formats.archives import Member, open_folder, open_zip
from liquidlens.imaging.formats.kinds import Kind
from liquidlens.imaging.read import item_name, kind_of_file, kind_of_member, split

_SECRET = secrets.token_bytes(32)


@dataclass(frozen=True)
class Storage:
    """How one scan is stored, by its header alone.

    kind: the kind of file, of images their format.  bytes: of the file, or of all files of a series.
    bits: of one number; None if the header is not looked at (archives of arrays).  mode: what the numbers are: Pillow's
    mode of an image, a DICOM file's photometric interpretation, the data type of arrays and of NIfTI.
    patient: the same for the same patient ID within this process, and for nobody else anything; None if the file does
    not say.
    """

    kind: str
    bytes: int
    bits: int | None = None
    mode: str = ""
    patient: str | None = None


def storage(source: str | Path, budget: Budget = DEFAULT) -> Storage:
    """How a scan that `imaging.read` reads is stored.  Raises LiquidLensError, naming the source, as `read` does."""
    with reading(source, None):
        path, selection = split(str(source))
        kind = None if path.is_dir() else kind_of_file(path)
    with reading(source, kind or "folder"):
        if kind is None:
            return _of_members(open_folder(path, budget), selection, budget)
        with path.open("rb") as file:
            if kind == "ZIP":
                return _of_members(open_zip(file, budget), selection, budget)
            return _of_file(file, kind, size_of(file), budget)


def _of_members(members: Sequence[Member], selection: str, budget: Budget) -> Storage:
    """Of the file that is selected, or else of the DICOM series, or else of the first file that can be read."""
    kinds = {member: kind for member in members if (kind := kind_of_member(member)) not in (None, "ZIP")}
    named = [member for member in kinds if f"{selection}#".startswith(f"{item_name(member.name)}#")]
    slices = [member for member, kind in kinds.items() if kind == "DICOM"]
    chosen = named[:1] or _series(slices, selection, budget) or list(kinds)[:1]
    if not chosen:
        return Storage("folder", sum(member.size for member in members))
    with chosen[0].open() as file:
        kind = kinds[chosen[0]]
        assert kind is not None  # noqa: S101  (for the type checker)
        return _of_file(file, kind, sum(member.size for member in chosen), budget)


def _series(slices: Sequence[Member], selection: str, budget: Budget) -> list[Member]:
    """The files of the DICOM series that `imaging.read` reads."""
    if not slices:
        return []
    from liquidlens.imaging.formats.series import find_series, index

    found, _, _ = find_series(slices, (), budget)
    return [image.member for image in found[index(selection or "0", len(found))].images] if found else []


def _of_file(file: BinaryIO, kind: Kind, size: int, budget: Budget) -> Storage:
    match kind:
        case "image":
            from liquidlens.imaging.formats.images import stored_as

            form, bits, mode = stored_as(file)
            return Storage(form, size, bits, mode)
        case "DICOM":
            from liquidlens.imaging.formats import dicom

            with dicom.quiet():
                header = dicom.header(file, budget)
                photometric = str(header.get("PhotometricInterpretation") or "")
                bits = int(header.get("BitsStored") or 0)
                names = [str(header.get(name) or "").strip() for name in ("PatientID", "IssuerOfPatientID")]
            return Storage(kind, size, bits or None, photometric, _key(*names) if names[0] else None)
        case "NIfTI":
            from liquidlens.imaging.formats.nifti import data_type

            dtype = data_type(file)
            return Storage(kind, size, 8 * dtype.itemsize, str(dtype))
        case "NPY":
            from liquidlens.imaging.formats.arrays import stored

            dtype = stored(file, size, budget).dtype
            return Storage(kind, size, 8 * dtype.itemsize, str(dtype))
        case _:
            return Storage(kind, size)


def _key(*identity: str) -> str:
    return hmac.digest(_SECRET, "\0".join(identity).encode(), "sha256").hex()
