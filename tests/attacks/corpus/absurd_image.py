"""Image headers that make no sense: sizes, depths, offsets, orientation.

They hope for divisions by zero, for buffers of negative or huge size, and for reads far behind the file.
"""

import struct
import zlib
from functools import partial
from pathlib import Path

from tests.attacks.attack import Attack, Reads, Refused
from tests.attacks.corpus.bomb_image import chunk, tiff


def png(width: int, height: int, depth: int, colour: int, folder: Path, interlaced: int = 0) -> Path:
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, interlaced))
    pixels = chunk(b"IDAT", zlib.compress(bytes(400)))
    (folder / "scan.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    return folder / "scan.png"


def bmp(fields: dict[str, int], folder: Path) -> Path:
    """4 x 4 pixels whose header says something else."""
    said = {"header": 40, "width": 4, "height": 4, "planes": 1, "bits": 8, "compression": 0, "colours": 0} | fields
    head = [said[name] for name in ("header", "width", "height", "planes", "bits", "compression")]
    header = struct.pack("<LllHHL", *head) + struct.pack("<LllLL", 0, 0, 0, said["colours"], 0)
    (folder / "scan.bmp").write_bytes(b"BM" + struct.pack("<LHHL", 100, 0, 0, said.get("at", 54)) + header + bytes(64))
    return folder / "scan.bmp"


def tif(tags: dict[int, int], folder: Path) -> Path:
    """4 x 4 pixels behind the directory, of which some tags say something else."""
    said = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 4, 279: 16} | tags
    (folder / "scan.tif").write_bytes(tiff([(tag, 4, 1, value) for tag, value in said.items()], bytes(64)))
    return folder / "scan.tif"


BROKEN = Refused(r"scan\.\w+: not a readable image file")
BMP = {
    "no planes and 0 bits": {"planes": 0, "bits": 0},
    "32,000 bits": {"bits": 32_000},
    "compression 77": {"compression": 77},
    "4e9 colours": {"colours": 2**32 - 1},
    "a header of 4 GB": {"header": 2**32 - 1},
    "no pixels": {"width": 0},
}
TIFF: dict[str, tuple[dict[int, int], Refused | Reads]] = {
    "width 0": ({256: 0}, Refused("not a readable image|is empty")),
    "255 bits": ({258: 255}, Refused("numbers of 255 bits")),
    "compression 65,000": ({259: 65_000}, Refused("packed in a way that cannot be read")),
    "kind of pixels 65,000": ({262: 65_000}, Refused("colours of this TIFF are of a sort that cannot be read")),
    "255 samples": ({277: 255}, BROKEN),
    "pixels far behind the file": ({273: 2**32 - 16}, BROKEN),
    "strips of no rows": ({278: 0}, BROKEN),
    "strips of 4 GB": ({279: 2**32 - 1}, BROKEN),
    "orientation 4e9": ({274: 2**32 - 1}, Reads((4, 4))),
    "tiles of no size": ({322: 0, 323: 0, 324: 8, 325: 16}, BROKEN),
    "tiles of 4e9": ({322: 2**32 - 1, 323: 2**32 - 1, 324: 8, 325: 16}, Refused("far larger than its image")),
}
ATTACKS = (
    Attack("PNG: no width", "trusted", partial(png, 0, 4, 8, 0), Refused("not a readable image|empty")),
    Attack("PNG: 64 bits", "trusted", partial(png, 4, 4, 64, 0), BROKEN),
    Attack("PNG: colour type 9", "trusted", partial(png, 4, 4, 8, 9), BROKEN),
    Attack("PNG: palette without one", "trusted", partial(png, 4, 4, 8, 3), Reads((4, 4))),
    Attack("PNG: interlaced by method 9", "trusted", partial(png, 4, 4, 8, 0, interlaced=9), Reads((4, 4))),
    *(Attack(f"BMP: {name}", "trusted", partial(bmp, fields), BROKEN) for name, fields in BMP.items()),
    *(Attack(f"TIFF: {name}", "trusted", partial(tif, tags), ends) for name, (tags, ends) in TIFF.items()),
)
