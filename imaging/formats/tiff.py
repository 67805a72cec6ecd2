"""Reading TIFF with tifffile: any sort of number, byte order and usual packing.  Pillow, which reads the other images,
gives wrong numbers for many of these without a word."""

import logging
import math
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import Budget, size_of
from liquidlens.imaging.request import Request, check_page

#: Of the dozens that tifffile knows, those of usual writers; each unpacks no more than it is asked for.
_PACKINGS = (
    COMPRESSION.NONE,
    COMPRESSION.CCITTRLE,
    COMPRESSION.CCITT_T4,
    COMPRESSION.CCITT_T6,
    COMPRESSION.LZW,
    COMPRESSION.JPEG,
    COMPRESSION.ADOBE_DEFLATE,
    COMPRESSION.DEFLATE,
    COMPRESSION.PACKBITS,
    COMPRESSION.LZMA,
    COMPRESSION.ZSTD,
)
#: Numbers of each pixel without those beside the picture, such as its transparency.
_SAMPLES = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
}
_ORIENTATION, _ROWS_PER_STRIP = 274, 278
#: The whole numbers that 64 bits of fraction hold exactly have as many bits.
_EXACT = 53
#: How many times as many pixels as the image its tiles may hold: they go over its edges.
_BEYOND = 4
#: A tile that is no larger does no harm, however small the image is.
_TILE = 2**20

#: Grey values deeper than 8 bits or with a sign, as stored; or a picture of 8 bits.
Picture = NDArray | Image.Image


def is_tiff(start: bytes) -> bool:
    return start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def pages(file: BinaryIO, budget: Budget) -> int:
    """How many pages a file holds.  Raises LiquidLensError if they are over the budget."""
    with _opened(file) as tiff:
        return _number(tiff, budget)


def read_page(file: BinaryIO, request: Request) -> tuple[Picture, tuple[str, ...]]:
    """One page as it is to be seen, and notes.  Raises LiquidLensError if it is no picture."""
    packed = size_of(file)
    with _opened(file) as tiff:
        page = cast(TiffPage, tiff.pages[check_page(request, _number(tiff, request.budget))])
        _check(page, packed, request.budget)
        stored = page.asarray(squeeze=False, maxworkers=1)  # (planes, depth, rows, columns, samples)
        stored = np.moveaxis(stored[:, 0], 0, -1).reshape(*stored.shape[2:4], -1)
        picture, notes = _picture(stored, page)
        return upright(picture, int(page.tags.valueof(_ORIENTATION, 1))), notes


def stored_as(file: BinaryIO) -> tuple[int, str]:
    """Bits of a number, and how numbers become colours, of the first page."""
    with _opened(file) as tiff:
        page = cast(TiffPage, tiff.pages[0])
        return int(page.bitspersample), PHOTOMETRIC(page.photometric).name


def _opened(file: BinaryIO) -> TiffFile:
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # it quotes what the file holds
    file.seek(0)
    return TiffFile(file)


def _number(tiff: TiffFile, budget: Budget) -> int:
    number = len(tiff.pages)
    budget.check_slices(number)
    if tiff.is_imagej and int((tiff.imagej_metadata or {}).get("images", 1)) > number:
        raise LiquidLensError("ImageJ wrote more images into it than it has pages; save it again, or as several files.")
    return number


def _check(page: TiffPage, packed: int, budget: Budget) -> None:
    """Raise LiquidLensError for a page that is over the budget or cannot be read, before anything is unpacked."""
    size = page.imagewidth * page.imagelength * page.imagedepth
    budget.check_pixels(size)
    if page.imagedepth != 1:
        raise LiquidLensError(f"a page with a depth of {page.imagedepth}; save it as pages, one for each slice.")
    if page.photometric not in _SAMPLES or (page.photometric == PHOTOMETRIC.YCBCR and page.compression != 7):
        raise LiquidLensError("the colours of this TIFF are of a sort that cannot be read; save it as grey or RGB.")
    if page.compression not in _PACKINGS:
        raise LiquidLensError("this TIFF is packed in a way that cannot be read; save it with deflate or LZW.")
    if page.dtype is None or page.dtype.kind not in "biuf" or not isinstance(page.bitspersample, int):
        held = page.dtype or f"numbers of {page.bitspersample} bits"
        raise LiquidLensError(f"pixels are numbers of one size, this TIFF holds {held}; save it as 16 bits or float32.")
    budget.check_inflated(size * page.samplesperpixel * page.dtype.itemsize, packed)
    if page.tags.valueof(_ROWS_PER_STRIP, 1) == 0:
        raise ValueError("strips of no rows")
    if page.is_tiled:
        across, down = page.imagewidth / page.tilewidth, page.imagelength / page.tilelength
        tiles = math.ceil(across) * math.ceil(down) * page.tilewidth * page.tilelength * page.tiledepth
        if tiles > max(_TILE, _BEYOND * size):
            raise LiquidLensError("the tiles of this TIFF are far larger than its image; save it again.")
    pieces = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if not page.is_contiguous and len(pieces) < math.prod(page.chunked):
        raise ValueError("strips or tiles are missing")
    if any(at <= 0 or length <= 0 or at + length > packed for at, length in pieces):
        raise ValueError("the file ends before its pixels")


def _picture(stored: NDArray, page: TiffPage) -> tuple[Picture, tuple[str, ...]]:
    """(rows, columns, samples) as a picture."""
    bits, samples = page.bitspersample, _SAMPLES[PHOTOMETRIC(page.photometric)]
    beside = stored.shape[2] - samples
    has_alpha = beside == 1 and page.extrasamples[:1] in ((1,), (2,))
    if beside < 0 or (beside > 0 and not has_alpha and samples == 1) or beside > 1:
        raise LiquidLensError(
            f"an image of {stored.shape[2]} channels, which are neither grey nor a colour; save one of them alone."
        )
    if samples == 1 and not (page.photometric == PHOTOMETRIC.PALETTE or (bits <= 8 and stored.dtype.kind in "bu")):
        return _deep(stored[..., 0], bits, page.photometric == PHOTOMETRIC.MINISWHITE)
    if stored.dtype.kind not in "bu" or bits > 16:
        raise LiquidLensError(f"colours of up to 16 bits can be read, this TIFF holds {stored.dtype}; convert it.")
    if page.photometric == PHOTOMETRIC.PALETTE:
        table = np.asarray(page.colormap)  # (3, entries) of 16 bits
        return Image.fromarray((table >> 8).astype(np.uint8).T[stored[..., 0]]), ()
    eight = _to_8_bits(stored if has_alpha else stored[..., :samples], bits)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        eight[..., 0] = 255 - eight[..., 0]
    if page.photometric == PHOTOMETRIC.SEPARATED:
        return Image.frombytes("CMYK", eight.shape[1::-1], eight[..., :4].tobytes()), ()
    mode = ("L" if samples == 1 else "RGB") + "A" * has_alpha
    premultiplied = mode == "RGBA" and page.extrasamples[0] == 1
    return Image.frombytes(mode, eight.shape[1::-1], eight.tobytes(), "raw", "RGBa" if premultiplied else mode), ()


def _to_8_bits(stored: NDArray, bits: int) -> NDArray[np.uint8]:
    if bits < 8:
        return (stored.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)
    return (stored >> (bits - 8)).astype(np.uint8)


def _deep(stored: NDArray, bits: int, white_is_zero: bool) -> tuple[NDArray, tuple[str, ...]]:
    if not white_is_zero:
        return stored, ()
    if stored.dtype.kind != "u" or bits > _EXACT:
        raise LiquidLensError(
            "a TIFF whose larger values are darker can be read of whole numbers from 0 on only; convert it."
        )
    return (2**bits - 1) - stored.astype(np.float64), ("The file shows larger values darker; they were inverted.",)


def upright(picture: Picture, orientation: int) -> Picture:
    """Turned as TIFF's tag Orientation says: what the first row and the first column of the stored picture show."""
    if orientation not in range(2, 9):
        return picture
    if isinstance(picture, Image.Image):
        return Image.fromarray(_turned(np.asarray(picture), orientation), picture.mode)
    return _turned(picture, orientation)


def _turned(array: NDArray, orientation: int) -> NDArray:
    if orientation > 4:
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)
