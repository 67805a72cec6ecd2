"""From the stored pixels of a DICOM file to grey values, frame by frame.

What leaves this module are pixels and codes of the standard; none of pydicom's error messages, which quote what the
file holds.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, Literal

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments, get_frame, parse_basic_offsets
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array
from pydicom.pixels.utils import get_expected_length

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.formats.dicom import check_transfer_syntax, macro, modality, number_of_frames, numbers
from liquidlens.imaging.request import to_float32, to_grey

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
#: Decoders that answer a damaged image with an error; GDCM, which pydicom asks first, often ends the whole process.
_DECODERS = {
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEG2000: "pylibjpeg",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
}
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000 = frozenset(uid.JPEG2000TransferSyntaxes)  # those of high throughput as well
#: Markers of JPEG and JPEG-LS behind which the size of the image stands.
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
#: The next marker with a length, as decoders look for it: other bytes are skipped, and markers that stand alone.
_MARKER = re.compile(rb"\xff[^\xff\x00\x01\xd0-\xd8]")
#: The data or the end of the image; and how many segments may stand in front of its size.
_FRAME_ENDS, _SEGMENTS = {0xD9, 0xDA}, 10_000
#: How a compressed frame begins: the first markers of JPEG and JPEG-LS, and of JPEG 2000.
_STARTS = (b"\xff\xd8", b"\xff\x4f")
_JPEG_END = b"\xff\xd9"
#: How many times as much as its image a compressed frame may claim, or take.
_BEYOND = 4
#: Bits that numbers are stored in; others are refused by pydicom.
_WIDTHS = (1, 8, 16, 32, 64)
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_BLANK = (None, "")


@dataclass(frozen=True)
class Frame:
    """One decoded frame.  pixels: (rows, columns), or (rows, columns, 3) if colour was asked for.  mirror: what they
    were taken from, if larger was darker in the file."""

    pixels: NDArray[np.float32]
    units: Literal["HU"] | None
    window: tuple[float, float] | None
    notes: tuple[str, ...]
    mirror: float | None = None


def load(file: BinaryIO) -> Dataset:
    """The whole file; to be asked for after `dicom.check`."""
    file.seek(0)
    dataset = pydicom.dcmread(file, force=True)
    if not any(dataset.get(keyword) for keyword in _PIXELS):
        raise LiquidLensError("this DICOM file describes an image, but holds no pixels.")
    check_transfer_syntax(dataset)
    _check_number(dataset)
    return dataset


def _check_number(dataset: Dataset) -> None:
    """Raise LiquidLensError if there are more frames among the pixels than the header says."""
    told = number_of_frames(dataset)
    if uid.UID(dataset.file_meta.TransferSyntaxUID).is_encapsulated:
        found = _compressed_frames(dataset)
    else:
        length = max(len(dataset.get(keyword) or b"") for keyword in _PIXELS)
        frame = get_expected_length(dataset, "bytes") / told
        found = int(length / frame) if frame and dataset.BitsAllocated in _WIDTHS else told
    if found > told:
        raise LiquidLensError(
            f"its pixels are those of {found} images, and its header speaks of {told} (Number of Frames); which "
            "one is meant is unknown."
        )


def _compressed_frames(dataset: Dataset) -> int:
    """How many frames the fragments hold at least: each of run lengths, others where a new image begins."""
    pixels = BytesIO(dataset.PixelData)
    listed = parse_basic_offsets(pixels)
    is_run_lengths = dataset.file_meta.TransferSyntaxUID == uid.RLELossless
    starts = [is_run_lengths or fragment.startswith(_STARTS) for fragment in generate_fragments(pixels)]
    return max(len(listed), sum(starts))


def decode(dataset: Dataset, index: int, colour: bool) -> Frame:
    """Frame `index` as grey values: the modality's own rescaling applied, larger is brighter, no window applied."""
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    if photometric not in _GREY + _COLOUR:
        raise LiquidLensError("the pixels' photometric interpretation is not one that can be read.")
    if photometric in _GREY and int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise LiquidLensError("the pixels are grey by their photometric interpretation, and have several values each.")
    high = dataset.get("HighBit")
    if high is not None and "PixelData" in dataset and high != dataset.BitsStored - 1:
        raise LiquidLensError("the pixels are not in the lowest bits, as the standard wants them today; convert it.")
    with np.errstate(all="ignore"):
        stored = _stored(dataset, index)
        if photometric in _COLOUR:
            return _colours(stored, dataset, photometric == "PALETTE COLOR", colour)
        return _greys(stored, dataset, index, photometric == "MONOCHROME1", colour)


def _stored(dataset: Dataset, index: int) -> NDArray:
    try:
        syntax = dataset.file_meta.TransferSyntaxUID
        wanted = _DECODERS.get(syntax)
        plugin = wanted if wanted in get_decoder(syntax).available_plugins else ""
        if syntax.is_encapsulated:
            _check_frame(dataset, index)
        elif dataset.BitsAllocated == dataset.SamplesPerPixel == 1:
            return _bits(dataset, index)
        try:
            return pixel_array(dataset, index=index, decoding_plugin=plugin)
        except RuntimeError:
            if syntax not in _JPEG_LS:
                raise
            return pixel_array(_without_stray_bytes(dataset, index), index=0, decoding_plugin=plugin)
    except RuntimeError:  # every decoder of the transfer syntax gave up
        name = dataset.file_meta.TransferSyntaxUID.name
        raise LiquidLensError(
            f"the pixels ({name}) cannot be decoded; the file may be damaged, or of a variant such as 12-bit JPEG that "
            "no decoder here knows."
        ) from None


def _bits(dataset: Dataset, index: int) -> NDArray[np.uint8]:
    """A frame of single bits, which may begin and end within a byte (PS3.5, 8.1.1)."""
    # pydicom 3.0.2 takes as many bytes as a frame from the start of a byte has, which for many frames is one too few.
    if len(dataset.PixelData) < get_expected_length(dataset):
        raise ValueError("the file ends before its pixels")
    count = dataset.Rows * dataset.Columns
    first, end = index * count, (index + 1) * count
    packed = np.frombuffer(dataset.PixelData, np.uint8)[first // 8 : (end + 7) // 8]
    bits = np.unpackbits(packed, bitorder="little")[first % 8 :][:count]
    return bits.reshape(dataset.Rows, dataset.Columns)


def _frame(dataset: Dataset, index: int) -> bytes:
    """The bytes of a compressed frame."""
    offsets = tuple(dataset.get(f"ExtendedOffsetTable{name}") for name in ("", "Lengths"))
    return get_frame(
        dataset.PixelData,
        index,
        extended_offsets=offsets if all(offsets) else None,
        number_of_frames=number_of_frames(dataset),
    )


def _without_stray_bytes(dataset: Dataset, index: int) -> Dataset:
    """A JPEG-LS frame alone, without bytes of zero in front of its end marker, which some writers leave there."""
    image, marker, _ = _frame(dataset, index).rpartition(_JPEG_END)
    alone = dataset.group_dataset(0x0028)  # what describes the pixels
    alone.file_meta = dataset.file_meta
    alone.add_new("NumberOfFrames", "IS", 1)
    alone.add_new("PixelData", "OB", encapsulate([image.rstrip(b"\0") + marker]))
    return alone


def _check_frame(dataset: Dataset, index: int) -> None:
    """Refuse a compressed frame of another size than the image of the header, which was judged: decoders allocate what
    the frame itself claims, and pydicom unpacks as many run lengths as there are, and puts pixels into any rows."""
    frame = _frame(dataset, index)
    size: tuple[int, ...] = int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel)
    told, count = size, math.prod(size)
    if dataset.file_meta.TransferSyntaxUID == uid.RLELossless:
        # Of 64 bytes of header, and of two bytes for one at worst.
        claimed, allowed = len(frame), 256 + _BEYOND * count * int(dataset.BitsAllocated) // 8
    elif dataset.file_meta.TransferSyntaxUID in _JPEG_2000:
        from openjpeg import get_parameters

        parameters = get_parameters(frame)
        told = tuple(int(parameters[axis]) for axis in ("rows", "columns", "samples_per_pixel"))
        claimed, allowed = math.prod(told), _BEYOND * count
    else:
        told = _size_of_jpeg(frame)
        claimed, allowed = math.prod(told), _BEYOND * count
        if not claimed:
            raise LiquidLensError("a compressed frame does not say how large it is; the file may be damaged.")
    if claimed > allowed:
        raise LiquidLensError("a compressed frame is far larger than the image that the header describes.")
    if told != size:
        frame_is, image_is = (" x ".join(map(str, numbers)) for numbers in (told, size))
        raise LiquidLensError(
            f"a compressed frame is of {frame_is} numbers, and the header speaks of {image_is}; which one is meant is "
            "unknown."
        )


def _size_of_jpeg(frame: bytes) -> tuple[int, ...]:
    """Rows, columns and samples of a JPEG or JPEG-LS image (ISO 10918-1, B.2.2); 0 if it does not say."""
    at = 2  # behind the start of the image
    for _ in range(_SEGMENTS):
        found = _MARKER.search(frame, at)
        if found is None or (at := found.end()) + 8 > len(frame) or frame[at - 1] in _FRAME_ENDS:
            break
        if frame[at - 1] in _FRAME_HEADERS:
            rows, columns = (int.from_bytes(frame[where : where + 2]) for where in (at + 3, at + 5))
            return rows, columns, frame[at + 7]
        at += int.from_bytes(frame[at : at + 2])
    return (0,)


def _colours(stored: NDArray, dataset: Dataset, by_palette: bool, colour: bool) -> Frame:
    rgb, bits = stored, dataset.BitsStored
    if by_palette:
        rgb, bits = apply_color_lut(stored, dataset), dataset.RedPaletteColorLookupTableDescriptor[2]
    rgb = rgb[..., :3] >> max(0, min(bits, 8 * rgb.itemsize) - 8)  # the upper 8 of the bits that it says
    if colour:
        return Frame(to_float32(rgb), None, None, ())
    is_coloured = (rgb != rgb[..., :1]).any()
    return Frame(to_grey(rgb), None, None, ("Colour was turned to grey.",) if is_coloured else ())


def _greys(stored: NDArray, dataset: Dataset, index: int, inverse: bool, colour: bool) -> Frame:
    transformation = macro(dataset, index, "PixelValueTransformationSequence")
    rescale = _rescaling(transformation)
    values = rescale(stored)
    window = _window(macro(dataset, index, "FrameVOILUTSequence"))
    notes = []
    code = modality(dataset)
    is_rescaled = bool(numbers(transformation, "RescaleSlope") and numbers(transformation, "RescaleIntercept"))
    is_hu = code == "CT" and is_rescaled and str(transformation.get("RescaleType") or "HU").strip() == "HU"
    if code == "CT" and not is_hu:
        notes.append("The file does not give Hounsfield units.")
    mirror = None
    if inverse and not is_hu:
        mirror = float(rescale(_range(stored, dataset)).astype(float).sum())
        values = mirror - values.astype(float)
        window = (mirror - window[1], mirror - window[0]) if window else None
        notes.append("The file shows larger values darker (MONOCHROME1); they were inverted.")
    if colour:
        values = np.repeat(values[..., None], 3, axis=-1)
        notes.append("A grey image was given as colour.")
    return Frame(to_float32(values), "HU" if is_hu else None, window, tuple(notes), mirror)


def _rescaling(transformation: Dataset) -> Callable[[NDArray], NDArray]:
    """The modality's own table or rescaling (PS3.3, C.11.1); of a blank one nothing is left, of a blank slope or
    intercept what changes nothing."""
    table = transformation.get("ModalityLUTSequence")
    if table and table[0].get("LUTDescriptor") and table[0].get("LUTData"):
        return lambda stored: apply_modality_lut(stored, transformation)
    slope, intercept = (transformation.get(f"Rescale{name}") for name in ("Slope", "Intercept"))
    if slope in _BLANK and intercept in _BLANK:
        return lambda stored: stored
    factor = 1.0 if slope in _BLANK else float(slope)
    summand = 0.0 if intercept in _BLANK else float(intercept)
    return lambda stored: stored.astype(np.float64) * factor + summand


def _range(stored: NDArray, dataset: Dataset) -> NDArray:
    """The lowest and highest value that can be stored; of fractions, those that are."""
    if stored.dtype.kind == "f":
        return np.array([stored.min(), stored.max()])
    bits = int(dataset.BitsStored)
    low = -(2 ** (bits - 1)) if int(dataset.get("PixelRepresentation") or 0) else 0
    return np.array([low, low + 2**bits - 1])


def _window(voi: Dataset) -> tuple[float, float] | None:
    """The ends of the first window, or of the table that maps values for display (PS3.3, C.11.2)."""
    try:
        if voi.get("WindowCenter") is not None and voi.get("WindowWidth") is not None:
            centre, width = (float(np.ravel(voi[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
            if (voi.get("VOILUTFunction") or "LINEAR") == "LINEAR":  # whose ends are half a value inside
                centre, width = centre - 0.5, width - 1
            low, high = centre - width / 2, centre + width / 2
        else:
            entries, first, _ = voi.VOILUTSequence[0].LUTDescriptor
            low, high = float(first), float(first + (entries or 2**16) - 1)
    except (AttributeError, IndexError, TypeError, ValueError):
        return None  # without a wish of the file, or with a broken one, the viewer chooses
    return (low, high) if np.isfinite([low, high]).all() and low < high else None
