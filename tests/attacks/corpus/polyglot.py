"""Files that are two things at once, or are not what their names say.

They hope that what checked a file and what opens it take it for different things, or that a library finds a format of
its own accord that nobody judged.  Here the ending decides, or else the first bytes, once.
"""

import gzip
import io
import zipfile
from functools import partial
from pathlib import Path

from tests.attacks.attack import Attack, Reads, Refused
from tests.attacks.formats import formats

WHOLE = {whole.ending: whole.content for whole in formats()}
IMAGE, VOLUME = Reads((40, 33)), Reads((4, 5, 6))


def named(name: str, *parts: bytes, folder: Path) -> Path:
    (folder / name).write_bytes(b"".join(parts))
    return folder / name


def file(name: str, *parts: bytes) -> partial:
    return partial(_named, name, parts)


def _named(name: str, parts: tuple[bytes, ...], folder: Path) -> Path:
    return named(name, *parts, folder=folder)


def appended(before: bytes, archive: bytes) -> bytes:
    """A zip archive behind something else, its offsets corrected."""
    buffer = io.BytesIO()
    buffer.write(before)
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(buffer, "a") as target:
        for entry in source.infolist():
            target.writestr(entry, source.read(entry))
    return buffer.getvalue()


def preamble(start: bytes) -> bytes:
    """A DICOM file whose first 128 bytes, which mean nothing, begin another format."""
    return start[:128].ljust(128, b"\0") + WHOLE[".dcm"][128:]


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file 99 string readstring pop show\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!DOCTYPE html><script>alert(1)</script>"
ATTACKS = (
    Attack("DICOM that is a zip too", "scan", file("a.dcm", appended(WHOLE[".dcm"], WHOLE[".npz"])), IMAGE),
    Attack("the same, named zip", "scan", file("a.zip", appended(WHOLE[".dcm"], WHOLE[".npz"])), VOLUME),
    Attack("the same, without an ending", "scan", file("a", appended(WHOLE[".dcm"], WHOLE[".npz"])), IMAGE),
    Attack("PNG with an npz behind it", "scan", file("a.png", appended(WHOLE[".png"], WHOLE[".npz"])), IMAGE),
    Attack("the same, named npz", "scan", file("a.npz", appended(WHOLE[".png"], WHOLE[".npz"])), VOLUME),
    Attack("DICOM that begins as a TIFF", "scan", file("a", preamble(b"II*\0\x08\0\0\0")), IMAGE),
    Attack("DICOM that begins as a program", "scan", file("a", preamble(b"MZ\x90\0")), IMAGE),
    Attack("DICOM that begins as a page", "scan", file("a.dcm", preamble(HTML)), IMAGE),
    Attack("NIfTI that ends as a zip", "scan", file("a.nii", appended(WHOLE[".nii"], WHOLE[".npz"])), Reads((6, 5, 4))),
    Attack("gzip of two files", "scan", file("a.nii.gz", WHOLE[".nii.gz"], gzip.compress(bytes(9))), Reads((6, 5, 4))),
    Attack("gzip in gzip", "scan", file("a.nii.gz", gzip.compress(WHOLE[".nii.gz"])), Refused("not a readable NIfTI")),
    Attack("PostScript named png", "scan", file("a.png", POSTSCRIPT), Refused("not a readable image")),
    Attack("SVG named png", "scan", file("a.png", SVG), Refused("not a readable image")),
    Attack("page named png", "scan", file("a.png", HTML), Refused("not a readable image")),
    Attack("page without an ending", "scan", file("a", HTML), Refused("this kind of file cannot be read")),
    Attack("JPEG named png", "scan", file("a.png", WHOLE[".jpg"]), IMAGE),
    Attack("PNG named dcm", "scan", file("a.dcm", WHOLE[".png"]), Refused("not a readable DICOM|holds no image")),
)
