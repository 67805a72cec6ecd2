"""Reading PNG, JPEG and BMP images of 8 and 16 bits with Pillow, and TIFF (see `imaging.formats.tiff`)."""

from typing import BinaryIO

import numpy as np
from imagecodecs import png_decode
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import Budget, size_of
from liquidlens.imaging.formats import tiff
from liquidlens.imaging.request import Request, check_page, to_float32
from liquidlens.imaging.scan import Scan

FORMATS = ("PNG", "JPEG", "BMP")
#: Bits that detectors count with; as part of 16 bits, such an image is nearly black.
_DETECTOR = 12
#: Bits of Pillow's modes; all others have 8 for each colour.
_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}


def read_image(file: BinaryIO, request: Request) -> Scan:
    """A scan from an image, or from page ``request.selection`` of several.

    Deep grey images keep their numbers, colour becomes luminance with a note.  What a camera noted about up and down is
    applied.
    """
    picture, notes = tiff.read_page(file, request) if _is_tiff(file) else _read(file, request)
    pixels, doubts = _rgb(picture) if request.colour else _grey(picture)
    return Scan(pixels, notes=(*doubts, *notes, *_depth(picture)))


def pages(file: BinaryIO, budget: Budget) -> int:
    """How many pages an image file holds.  Raises LiquidLensError if they are over the budget."""
    if _is_tiff(file):
        return tiff.pages(file, budget)
    with _opened(file) as image:
        number = _number(image)
    budget.check_slices(number)
    return number


def stored_as(file: BinaryIO) -> tuple[str, int, str]:
    """Format, bits of a number, and mode of an image, by its header."""
    if _is_tiff(file):
        return "TIFF", *tiff.stored_as(file)
    with _opened(file) as image:
        return image.format or "image", 16 if _is_deep_with_alpha(image) else _BITS.get(image.mode, 8), image.mode


def _is_tiff(file: BinaryIO) -> bool:
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    return tiff.is_tiff(start)


def _opened(file: BinaryIO) -> ImageFile.ImageFile:
    try:
        return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise LiquidLensError("the image claims to be larger than any scan (Pillow's MAX_IMAGE_PIXELS).") from error
    except UnidentifiedImageError:  # whose message holds an address in memory
        raise ValueError("neither PNG, JPEG, BMP nor TIFF") from None


def _number(image: ImageFile.ImageFile) -> int:
    """How many pages there are.  What follows in a JPEG file is a preview or a depth map of a phone, and no page."""
    return getattr(image, "n_frames", 1) if image.format == "PNG" else 1


def _is_deep_with_alpha(image: ImageFile.ImageFile) -> bool:
    """Whether it is a PNG of 16 bits of grey and of transparency, of which Pillow reads 8."""
    return image.format == "PNG" and any(tile[3] == "LA;16B" for tile in image.tile)


def _read(file: BinaryIO, request: Request) -> tuple[tiff.Picture, tuple[str, ...]]:
    packed = size_of(file)
    with _opened(file) as image:
        number = _number(image)
        request.budget.check_slices(number)
        image.seek(check_page(request, number))
        request.budget.check_pixels(image.width * image.height)
        request.budget.check_inflated(image.width * image.height * len(image.getbands()), packed)
        if _is_deep_with_alpha(image):
            if number > 1:
                raise LiquidLensError("pages of 16-bit grey with transparency; save each as an image of its own.")
            file.seek(0)
            grey, alpha = np.moveaxis(png_decode(file.read()), -1, 0)
            notes = ("Transparency was ignored.",) if alpha.min() < 2**16 - 1 else ()
            return tiff.upright(grey, image.getexif().get(ExifTags.Base.Orientation, 1)), notes
        upright = ImageOps.exif_transpose(image)
    return (np.array(upright) if upright.mode.startswith("I") else upright), ()


def _grey(picture: tiff.Picture) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    if isinstance(picture, np.ndarray):
        return to_float32(picture), ()
    notes = []
    if picture.has_transparency_data and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
        notes.append("Transparency was ignored.")
    if picture.mode not in ("1", "L", "LA"):
        red, green, blue = np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)
        if (red != green).any() or (red != blue).any():
            notes.append("Colour was turned to grey.")
    return to_float32(np.array(picture.convert("L"))), tuple(notes)


def _rgb(picture: tiff.Picture) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    if isinstance(picture, np.ndarray):
        return to_float32(np.repeat(picture[..., None], 3, axis=-1)), ("A grey image was given as colour.",)
    return to_float32(np.array(picture.convert("RGB"))), ()


def _depth(picture: tiff.Picture) -> tuple[str, ...]:
    """A doubt about a deep image whose values would fit into the lower bits of a detector."""
    if isinstance(picture, np.ndarray) and picture.dtype.kind in "ui" and picture.size and picture.min() >= 0:
        bits = int(picture.max()).bit_length()
        if 8 < bits <= _DETECTOR:
            return (f"The values need {bits} bits only; where 16 bits are expected, the image is nearly black.",)
    return ()
