"""PNG, TIFF, JPEG and BMP images of a few bytes that claim, or unpack to, gigabytes.

They hope that pixels are allocated by the header, that text or colour profiles beside them are unpacked, or that a list
of pages never ends.
"""

import io
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tests.attacks.attack import Attack, Reads, Refused
from tests.attacks.zeros import MEGABYTE, deflated


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))


def png(width: int, height: int, *between: bytes, pixels: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(between) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def claims(width: int, height: int, folder: Path) -> Path:
    (folder / "bomb.png").write_bytes(png(width, height, pixels=zlib.compress(bytes(1000))))
    return folder / "bomb.png"


def unpacks(folder: Path) -> Path:
    """4 by 4 pixels, and 2 GiB of zeros in their place."""
    (folder / "bomb.png").write_bytes(png(4, 4, pixels=deflated(b"", 2048 * MEGABYTE, zlib.MAX_WBITS)))
    return folder / "bomb.png"


def beside(name: bytes, head: bytes, folder: Path) -> Path:
    """4 by 4 pixels, and 1 GiB of zeros in a chunk of text or of a colour profile."""
    bomb = chunk(name, head + deflated(b"", 1024 * MEGABYTE, zlib.MAX_WBITS))
    (folder / "bomb.png").write_bytes(png(4, 4, bomb, pixels=zlib.compress(bytes(20))))
    return folder / "bomb.png"


def tiff(entries: list[tuple[int, int, int, int]], after: bytes = b"", following: int = 0) -> bytes:
    """One directory of (tag, type, count, value), and what stands after it."""
    table = b"".join(struct.pack("<HHLL", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<LH", 8, len(entries)) + table + struct.pack("<L", following) + after


def tiff_image(width: int, height: int, compression: int, pixels: bytes, folder: Path, following: int = 0) -> Path:
    """An image in one strip behind the directory of 9 entries."""
    at = 10 + 9 * 12 + 4
    tags = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: at, 277: 1, 278: height, 279: len(pixels)}
    content = tiff([(tag, 4, 1, value) for tag, value in tags.items()], pixels, following)
    (folder / "bomb.tif").write_bytes(content)
    return folder / "bomb.tif"


def tiff_claims(folder: Path) -> Path:
    return tiff_image(100_000, 100_000, 1, bytes(16), folder)


def tiff_deflated(folder: Path) -> Path:
    return tiff_image(20_000, 20_000, 8, deflated(b"", 256 * MEGABYTE, zlib.MAX_WBITS), folder)


def tiff_for_ever(folder: Path) -> Path:
    """Its directory is followed by itself."""
    return tiff_image(4, 4, 1, bytes(16), folder, following=8)


def tiff_of_pages(folder: Path) -> Path:
    """3,000 directories."""
    content = bytearray(b"II*\0" + struct.pack("<L", 8))
    for page in range(3_000):
        at = 8 + page * (2 + 9 * 12 + 4)
        tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 1}
        content += struct.pack("<H", 9) + b"".join(struct.pack("<HHLL", tag, 4, 1, v) for tag, v in tags.items())
        content += struct.pack("<L", at + 2 + 9 * 12 + 4 if page < 2_999 else 0)
    (folder / "bomb.tif").write_bytes(bytes(content))
    return folder / "bomb.tif"


def tiff_of_strips(folder: Path) -> Path:
    """Its strips, by their number, lie at 4 billion places."""
    tags = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    strips = [(273, 4, 2**32 - 1, 8), (278, 4, 1, 1), (279, 4, 2**32 - 1, 8)]
    (folder / "bomb.tif").write_bytes(tiff(tags + strips, bytes(64)))
    return folder / "bomb.tif"


def jpeg_claims(folder: Path) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(buffer, "JPEG")
    content = bytearray(buffer.getvalue())
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    (folder / "bomb.jpg").write_bytes(bytes(content))
    return folder / "bomb.jpg"


def bmp_claims(width: int, height: int, folder: Path) -> Path:
    header = struct.pack("<LllHHLLllLL", 40, width, height, 1, 8, 0, 0, 0, 0, 0, 0)
    (folder / "bomb.bmp").write_bytes(b"BM" + struct.pack("<LHHL", 54 + 16, 0, 0, 54) + header + bytes(16))
    return folder / "bomb.bmp"


LARGE = Refused(r"larger than any scan")
ATTACKS = (
    Attack("PNG that claims 2e9 x 2e9", "scan", partial(claims, 2 * 10**9, 2 * 10**9), LARGE),
    Attack("PNG that claims 13,000 x 13,000", "scan", partial(claims, 13_000, 13_000), Refused("'inflate_ratio'")),
    Attack("PNG with 2 GiB in the place of 16 pixels", "scan", unpacks, Reads((4, 4))),
    Attack("PNG with 1 GiB of text", "scan", partial(beside, b"zTXt", b"a\0\0"), Refused("not a readable image")),
    Attack(
        "PNG with 1 GiB of international text", "scan", partial(beside, b"iTXt", b"a\0\1\0\0\0"), Refused("readable")
    ),
    Attack("PNG with a colour profile of 1 GiB", "scan", partial(beside, b"iCCP", b"a\0\0"), Refused("readable")),
    Attack("TIFF that claims 100,000 x 100,000", "scan", tiff_claims, Refused("raise 'pixels'")),
    Attack("deflated TIFF of 400 million zeros", "scan", tiff_deflated, Refused("raise 'inflate_ratio'")),
    Attack("TIFF whose pages never end", "scan", tiff_for_ever, Reads((4, 4))),
    Attack("TIFF of 3,000 pages", "images", tiff_of_pages, Refused("raise 'slices'")),
    Attack("TIFF of 4 billion strips", "scan", tiff_of_strips, Refused("not a readable image")),
    Attack("JPEG that claims 65,500 x 65,500", "scan", jpeg_claims, LARGE),
    Attack("BMP that claims 2e9 x 2e9", "scan", partial(bmp_claims, 2 * 10**9, 2 * 10**9), LARGE),
    Attack("BMP of negative width", "scan", partial(bmp_claims, -5, 5), LARGE),
)
