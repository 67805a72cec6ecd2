"""What kind of file it is: by its ending where that says it, else by its first bytes."""

import zlib
from pathlib import Path
from typing import BinaryIO, Literal

Kind = Literal["NPY", "NPZ", "NIfTI", "image", "DICOM", "ZIP"]

ENDINGS: dict[str, Kind] = {
    ".npy": "NPY",
    ".npz": "NPZ",
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI",
    ".png": "image",
    ".jpg": "image",
    ".jpeg": "image",
    ".bmp": "image",
    ".tif": "image",
    ".tiff": "image",
    ".dcm": "DICOM",
    ".dicom": "DICOM",
    ".zip": "ZIP",
}

_MAGIC: dict[bytes, Kind] = {
    b"\x93NUMPY": "NPY",
    b"PK\x03\x04": "ZIP",
    b"\x89PNG\r\n\x1a\n": "image",
    b"\xff\xd8\xff": "image",
    b"BM": "image",
    b"II*\x00": "image",
    b"MM\x00*": "image",
    b"II+\x00": "image",  # BigTIFF
    b"MM\x00+": "image",
}


def kind_of(path: Path) -> Kind | None:
    """The kind that a file's ending tells; None for endings that tell none."""
    return next((kind for ending, kind in ENDINGS.items() if path.name.lower().endswith(ending)), None)


def kind_by_content(file: BinaryIO) -> Kind | None:
    """The kind that an open file's first bytes tell; None for others.  DICOM files often have no ending."""
    start = file.read(1024)
    if start[128:132] == b"DICM" or _is_bare_dicom(start):
        return "DICOM"
    if start[:2] == b"\x1f\x8b":
        try:
            unpacked = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, 1024)
        except zlib.error:
            return None
        return "NIfTI" if is_nifti(unpacked) else None
    if is_nifti(start):
        return "NIfTI"
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)


def is_nifti(start: bytes) -> bool:
    """Whether bytes begin a NIfTI-1 or NIfTI-2 file, or the header half of a pair of files."""
    return start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] in (b"n+2\0", b"ni2\0")


def _is_bare_dicom(start: bytes) -> bool:
    """Whether bytes look like a DICOM data set without its 128 bytes of preamble: its first element is of group 2 or 8,
    followed by a value representation, or by the short length of an early element."""
    return (
        start[:2] in (b"\x02\x00", b"\x08\x00")
        and start[3:4] == b"\x00"
        and (start[4:6].isalpha() or start[6:8] == b"\0\0")
    )
