"""Reading the header of a DICOM file.

What leaves this module are lengths and codes of the standard; no attribute of a patient, and none of pydicom's error
messages, which quote what the file holds.
"""

import logging
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels import get_decoder
from pydicom.tag import BaseTag

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import Budget, size_of
from liquidlens.imaging.formats.geometry import Plane

#: No pixel is as large (mm); and what is no number is below nothing.
_LENGTH = 10_000
#: How the identifiers of the standard begin; a maker's own begin otherwise.
_STANDARD = "1.2.840.10008."


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
    if size(header) is None:
        raise LiquidLensError(f"this DICOM file holds no image ({modality(header) or 'of no modality'}).")
    if modality(header) == "RTDOSE":
        raise LiquidLensError("this DICOM file holds a radiation dose, which is no scan.")
    if "MOSAIC" in (header.get("ImageType") or ()):
        raise LiquidLensError(
            "a mosaic of Siemens, which holds a whole volume as tiles of one image; convert the series to NIfTI, with "
            "dcm2niix for example."
        )
    check_transfer_syntax(header)
    frames = number_of_frames(header)
    budget.check_slices(frames)
    budget.check_pixels(header.Rows * header.Columns * frames)


def size(header: Dataset) -> tuple[int, int] | None:
    """Rows and columns; None if it is no image."""
    found = header.get("Rows"), header.get("Columns")
    return found if all(isinstance(length, int) for length in found) else None


def is_something_else(header: Dataset) -> bool:
    """Whether it says that it is no image: a report, a table of contents, what a maker keeps for itself."""
    own = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    kind = uid.UID(str(own or ""))
    if kind.startswith(_STANDARD) or _STANDARD.startswith(kind):  # the latter if it was cut off
        return kind in uid.UID_dictionary and "Image Storage" not in kind.name
    return kind.is_valid


def number_of_frames(dataset: Dataset) -> int:
    """1 for a single image."""
    return int(dataset.get("NumberOfFrames") or 1)


def modality(dataset: Dataset) -> str | None:
    """The modality, if it is a code as the standard writes them and not free text."""
    code = str(dataset.get("Modality") or "")
    return code if re.fullmatch(r"[A-Z0-9]{2,8}", code) else None


def macro(dataset: Dataset, index: int, sequence: str) -> Dataset:
    """Where the attributes of a functional group stand for one frame: its own, the shared, or the data set itself."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for groups in (*own[index : index + 1], *(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]):
        if groups.get(sequence):
            return cast(Dataset, groups[sequence][0])
    return dataset


def numbers(dataset: Dataset, name: str) -> list[float]:
    """The numbers of an attribute; none if it is missing, blank, or holds anything that is no number."""
    try:
        found = [float(value) for value in np.ravel(dataset.get(name))]
    except (TypeError, ValueError):
        return []
    return found if np.isfinite(found).all() else []


def spacing(dataset: Dataset, index: int) -> tuple[float, float] | None:
    """Millimetres between rows and between columns: in the patient, or else at the detector."""
    for place in (macro(dataset, index, "PixelMeasuresSequence"), dataset):
        for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            lengths = numbers(place, name)
            if len(lengths) == 2 and all(0 < length < _LENGTH for length in lengths):
                return lengths[0], lengths[1]
    return None


def plane(dataset: Dataset, index: int, name: str) -> Plane | None:
    """Where a frame lies; None if the file does not say so in numbers."""
    position = numbers(macro(dataset, index, "PlanePositionSequence"), "ImagePositionPatient")
    orientation = numbers(macro(dataset, index, "PlaneOrientationSequence"), "ImageOrientationPatient")
    between = spacing(dataset, index)
    if len(position) != 3 or len(orientation) != 6 or between is None:
        return None
    x, y, z = position
    return Plane(name, (dataset.Rows, dataset.Columns), between, (x, y, z), tuple(orientation))


def check_transfer_syntax(dataset: Dataset) -> None:
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
