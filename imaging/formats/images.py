"""Reading PNG, JPEG, BMP and TIFF images of 8 and 16 bits."""

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import Budget, size_of
from liquidlens.imaging.request import Request, index, to_float32
from liquidlens.imaging.scan import Scan

#: TIFF's tag PhotometricInterpretation; 0 is WhiteIsZero.
PHOTOMETRIC = 262
FORMATS = ("PNG", "JPEG", "BMP", "TIFF")


def read_image(file: BinaryIO, request: Request) -> Scan:
    """A scan from an image, or from page ``request.selection`` of several.

    Deep grey images keep their numbers, colour becomes luminance with a note.  What a camera noted about up and down is
    applied.
    """
    packed = size_of(file)
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise LiquidLensError("the image claims to be larger than any scan (Pillow's MAX_IMAGE_PIXELS).") from error
    with image:
        pages = getattr(image, "n_frames", 1)
        request.budget.check_slices(pages)
        if pages > 1 and not request.selection:
            raise LiquidLensError(f"an image of {pages} pages; name one of them, as in {request.name}#0.")
        if pages == 1 and request.selection:
            raise LiquidLensError(f"this is one image, there is no item {request.selection!r}.")
        image.seek(index(request.selection or "0", pages))
        request.budget.check_pixels(image.width * image.height)
        request.budget.check_inflated(image.width * image.height * len(image.getbands()), packed)
        white_is_zero = _is_deep(image) and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0
        upright = ImageOps.exif_transpose(image)
    if white_is_zero and not upright.mode.startswith("I;16"):
        raise LiquidLensError("a TIFF whose larger values are darker can be read of 8 and 16 bits only; convert it.")
    pixels, notes = _rgb(upright) if request.colour else _grey(upright)
    if white_is_zero:  # of 8 bits, Pillow inverts them itself
        pixels, notes = 65535 - pixels, (*notes, "The file shows larger values darker; they were inverted.")
    return Scan(pixels, notes=notes)


def pages(file: BinaryIO, budget: Budget) -> int:
    """How many pages an image file holds.  Raises LiquidLensError if they are over the budget."""
    with Image.open(file, formats=FORMATS) as image:
        number = getattr(image, "n_frames", 1)
    budget.check_slices(number)
    return number


def _is_deep(image: Image.Image) -> bool:
    """Whether pixels are single numbers of more than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F"


def _grey(image: Image.Image) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    if _is_deep(image):
        return to_float32(np.array(image)), ()
    notes = []
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        notes.append("Transparency was ignored.")
    if image.mode not in ("1", "L", "LA"):
        red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
        if (red != green).any() or (red != blue).any():
            notes.append("Colour was turned to grey.")
    return to_float32(np.array(image.convert("L"))), tuple(notes)


def _rgb(image: Image.Image) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    if _is_deep(image):
        return to_float32(np.repeat(np.array(image)[..., None], 3, axis=-1)), ("A grey image was given as colour.",)
    return to_float32(np.array(image.convert("RGB"))), ()
