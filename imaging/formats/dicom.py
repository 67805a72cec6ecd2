"""Reading DICOM: from the stored pixels to grey values, frame by frame.

What leaves this module are pixels, lengths and codes of the standard; no attribute of a patient, and none of pydicom's
error messages, which quote what the file holds.
"""

import logging
import math
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array
from pydicom.tag import BaseTag

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import Budget, size_of
from liquidlens.imaging.formats.geometry import Plane
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
#: No pixel is as large (mm); and what is no number is below nothing.
_LENGTH = 10_000
#: How many times as much as its image a compressed frame may claim, or take.
_BEYOND = 4
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class Frame:
    """One decoded frame.  pixels: (rows, columns), or (rows, columns, 3) if colour was asked for."""

    pixels: NDArray[np.float32]
    units: Literal["HU"] | None
    window: tuple[float, float] | None
    notes: tuple[str, ...]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings and log lines, which quote what the file holds, out of everybody's logs."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def header(file: BinaryIO, budget: Budget) -> Dataset:
    """Everything before the pixels.  Raises LiquidLensError if it unpacks to more than the budget."""
    _check_deflated(file, budget)
    file.seek(0)
    dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True)
    if not dataset:
        raise ValueError("no data set")
    return dataset


def check(header: Dataset, budget: Budget) -> None:
    """Raise LiquidLensError if the file holds no image, one that cannot be decoded, or one over the budget."""
    if "DirectoryRecordSequence" in header:
        raise LiquidLensError("a DICOMDIR is a table of contents; give the folder that it describes.")
    if "Rows" not in header or "Columns" not in header:
        raise LiquidLensError(f"this DICOM file holds no image ({modality(header) or 'of no modality'}).")
    if modality(header) == "RTDOSE":
        raise LiquidLensError("this DICOM file holds a radiation dose, which is no scan.")
    _check_transfer_syntax(header)
    frames = number_of_frames(header)
    budget.check_slices(frames)
    budget.check_pixels(int(header.Rows) * int(header.Columns) * frames)


def load(file: BinaryIO) -> Dataset:
    """The whole file; to be asked for after `check`."""
    file.seek(0)
    dataset = pydicom.dcmread(file, force=True)
    if not any(keyword in dataset for keyword in _PIXELS):
        raise LiquidLensError("this DICOM file describes an image, but holds no pixels.")
    _check_transfer_syntax(dataset)
    return dataset


def number_of_frames(dataset: Dataset) -> int:
    """1 for a single image."""
    return int(dataset.get("NumberOfFrames") or 1)


def modality(dataset: Dataset) -> str | None:
    """The modality, if it is a code as the standard writes them and not free text."""
    code = str(dataset.get("Modality") or "")
    return code if re.fullmatch(r"[A-Z0-9]{2,8}", code) else None


def decode(dataset: Dataset, index: int, colour: bool) -> Frame:
    """Frame `index` as grey values: the modality's own rescaling applied, larger is brighter, no window applied."""
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    if photometric not in _GREY + _COLOUR:
        raise LiquidLensError("the pixels' photometric interpretation is not one that can be read.")
    if photometric in _GREY and int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise LiquidLensError("the pixels are grey by their photometric interpretation, and have several values each.")
    if "HighBit" in dataset and "PixelData" in dataset and dataset.HighBit != dataset.BitsStored - 1:
        raise LiquidLensError("the pixels are not in the lowest bits, as the standard wants them today; convert it.")
    with np.errstate(all="ignore"):
        stored = _stored(dataset, index)
        if photometric in _COLOUR:
            return _colours(apply_color_lut(stored, dataset) if photometric == "PALETTE COLOR" else stored, colour)
        return _greys(stored, dataset, index, photometric == "MONOCHROME1", colour)


def _stored(dataset: Dataset, index: int) -> NDArray:
    try:
        syntax = dataset.file_meta.TransferSyntaxUID
        wanted = _DECODERS.get(syntax)
        plugin = wanted if wanted in get_decoder(syntax).available_plugins else ""
        if syntax == uid.RLELossless or plugin == "pylibjpeg":
            _check_frame(dataset, index)
        return pixel_array(dataset, index=index, decoding_plugin=plugin)
    except RuntimeError:  # every decoder of the transfer syntax gave up
        name = dataset.file_meta.TransferSyntaxUID.name
        raise LiquidLensError(
            f"the pixels ({name}) cannot be decoded; the file may be damaged, or of a variant such as 12-bit JPEG that "
            "no decoder here knows."
        ) from None


def _check_frame(dataset: Dataset, index: int) -> None:
    """Refuse a compressed frame that is far larger than the image of the header, which was judged: OpenJPEG allocates
    what the frame itself claims, and pydicom unpacks as many run lengths as there are."""
    offsets = tuple(dataset.get(f"ExtendedOffsetTable{name}") for name in ("", "Lengths"))
    frame = get_frame(
        dataset.PixelData,
        index,
        extended_offsets=offsets if all(offsets) else None,
        number_of_frames=number_of_frames(dataset),
    )
    numbers = int(dataset.Rows) * int(dataset.Columns) * int(dataset.SamplesPerPixel)
    if dataset.file_meta.TransferSyntaxUID == uid.RLELossless:
        # Of 64 bytes of header, and of two bytes for one at worst.
        claimed, allowed = len(frame), 256 + _BEYOND * numbers * int(dataset.BitsAllocated) // 8
    else:
        from openjpeg import get_parameters

        told = get_parameters(frame)
        claimed = math.prod(int(told[axis]) for axis in ("rows", "columns", "samples_per_pixel"))
        allowed = _BEYOND * numbers
    if claimed > allowed:
        raise LiquidLensError("a compressed frame is far larger than the image that the header describes.")


def _colours(rgb: NDArray, colour: bool) -> Frame:
    rgb = rgb[..., :3]
    if colour:
        return Frame(to_float32(rgb), None, None, ())
    is_coloured = (rgb != rgb[..., :1]).any()
    return Frame(to_grey(rgb), None, None, ("Colour was turned to grey.",) if is_coloured else ())


def _greys(stored: NDArray, dataset: Dataset, index: int, inverse: bool, colour: bool) -> Frame:
    transformation = macro(dataset, index, "PixelValueTransformationSequence")
    rescaled = "RescaleSlope" in transformation and "RescaleIntercept" in transformation
    values = apply_modality_lut(stored, transformation)
    window = _window(macro(dataset, index, "FrameVOILUTSequence"))
    notes = []
    code = modality(dataset)
    is_hu = code == "CT" and rescaled and str(transformation.get("RescaleType") or "HU").strip() == "HU"
    if code == "CT" and not is_hu:
        notes.append("The file does not give Hounsfield units.")
    if inverse and not is_hu:
        ends = apply_modality_lut(_range(stored, dataset), transformation).astype(float)
        values = ends.sum() - values.astype(float)
        window = (float(ends.sum()) - window[1], float(ends.sum()) - window[0]) if window else None
        notes.append("The file shows larger values darker (MONOCHROME1); they were inverted.")
    if colour:
        values = np.repeat(values[..., None], 3, axis=-1)
        notes.append("A grey image was given as colour.")
    return Frame(to_float32(values), "HU" if is_hu else None, window, tuple(notes))


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
            if voi.get("VOILUTFunction", "LINEAR") == "LINEAR":  # whose ends are half a value inside
                centre, width = centre - 0.5, width - 1
            low, high = centre - width / 2, centre + width / 2
        else:
            entries, first, _ = voi.VOILUTSequence[0].LUTDescriptor
            low, high = float(first), float(first + (entries or 2**16) - 1)
    except (AttributeError, IndexError, TypeError, ValueError):
        return None  # without a wish of the file, or with a broken one, the viewer chooses
    return (low, high) if np.isfinite([low, high]).all() and low < high else None


def macro(dataset: Dataset, index: int, sequence: str) -> Dataset:
    """Where the attributes of a functional group stand for one frame: its own, the shared, or the data set itself."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for groups in (*own[index : index + 1], *(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]):
        if groups.get(sequence):
            return cast(Dataset, groups[sequence][0])
    return dataset


def spacing(dataset: Dataset, index: int) -> tuple[float, float] | None:
    """Millimetres between rows and between columns: in the patient, or else at the detector."""
    for place in (macro(dataset, index, "PixelMeasuresSequence"), dataset):
        for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            lengths = place.get(name)
            if lengths is not None and len(lengths) == 2 and all(0 < length < _LENGTH for length in lengths):
                return float(lengths[0]), float(lengths[1])
    return None


def plane(dataset: Dataset, index: int, name: str) -> Plane | None:
    """Where a frame lies; None if the file does not say."""
    position = macro(dataset, index, "PlanePositionSequence").get("ImagePositionPatient")
    orientation = macro(dataset, index, "PlaneOrientationSequence").get("ImageOrientationPatient")
    between = spacing(dataset, index)
    if not position or not orientation or len(position) != 3 or len(orientation) != 6 or between is None:
        return None
    x, y, z = map(float, position)
    return Plane(name, (int(dataset.Rows), int(dataset.Columns)), between, (x, y, z), tuple(map(float, orientation)))


def _check_transfer_syntax(dataset: Dataset) -> None:
    """Fill in a missing transfer syntax, and refuse those that no decoder is installed for."""
    syntax: Any = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        is_implicit, is_little = dataset.original_encoding
        explicit = uid.ExplicitVRLittleEndian if is_little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if is_implicit else explicit
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        name = syntax.name if syntax in uid.UID_dictionary else "one that is not of the standard"
        raise LiquidLensError(
            f"its transfer syntax cannot be read here ({name}); convert it, to JPEG 2000 for example."
        )


def _check_deflated(file: BinaryIO, budget: Budget) -> None:
    """Judge the size of a deflated data set by unpacking it piece by piece: pydicom unpacks it whole."""
    packed = size_of(file)
    read_preamble(file, force=True)

    def is_past_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag.group != 2

    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=is_past_meta)
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return
    inflater, inflated = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflater.eof and (piece := inflater.unconsumed_tail or file.read(2**16)):
        inflated += len(inflater.decompress(piece, 2**20))
        budget.check_inflated(inflated, packed)
