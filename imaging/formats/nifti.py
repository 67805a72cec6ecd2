"""Reading NIfTI-1 and NIfTI-2 volumes, packed or not."""

import gzip
import logging
import math
from typing import Any, BinaryIO

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import Budget, size_of
from liquidlens.imaging.formats.geometry import check_straight, to_lps
from liquidlens.imaging.formats.kinds import is_nifti
from liquidlens.imaging.request import Request, index, to_grey
from liquidlens.imaging.scan import Scan

#: NIfTI's world axes point right to left as DICOM's do not: x to the right, y to the front.
_RAS_TO_LPS = np.diag([-1.0, -1, 1, 1])
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}
_RGB = ("R", "G", "B")
#: Bytes that may stand in front of the voxels, as extensions of the header, or behind them.
_BESIDE = 16 * 2**20
#: Bytes that one packed byte can hold at most.
_DEFLATE = 1_032


def read_nifti(file: BinaryIO, request: Request) -> Scan:
    """A volume from a NIfTI file, or volume ``request.selection`` of a 4D one, turned to the convention of `Scan`."""
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # what it complains of also arrives as an exception
    packed = size_of(file)
    is_packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not is_packed:
        return _read(file, None, request)
    try:
        return _read(gzip.GzipFile(fileobj=file), packed, request)
    except gzip.BadGzipFile as error:
        if "Not a gzipped file" not in str(error):
            raise
        raise LiquidLensError(
            "behind the end of what gzip packed there are more bytes, so the file may be two that were joined; unpack "
            "it and save it again."
        ) from None


def _read(stream: Any, packed: int | None, request: Request) -> Scan:
    """packed: bytes of the packed file, None if it is not packed."""
    image_class = _check_header(stream, packed, request)
    stream.seek(0)
    image: Any = image_class.from_stream(stream)
    volume = _volume(_axes(image.shape), request)
    data = np.asanyarray(image.dataobj) if volume is None else image.dataobj[..., volume, *[0] * (image.ndim - 4)]
    data = data.reshape(image.shape[:3])
    if packed is not None:
        _check_sum(stream, image.dataobj.offset + math.prod(image.shape) * image.dataobj.dtype.itemsize)
    notes = []
    if data.dtype.names:
        data = to_grey(np.stack([data[name] for name in _RGB], axis=-1))
        notes.append("Colour was turned to grey.")
    affine, oriented, doubts = _affine(image.header)
    check_straight(affine, data.shape)
    pixels, spacing, place, angles = to_lps(data, affine)
    low, high = float(image.header["cal_min"]), float(image.header["cal_max"])
    return Scan(
        pixels,
        spacing,
        window=(low, high) if -math.inf < low < high < math.inf else None,
        oriented=oriented,
        affine=place if oriented else None,
        notes=(*notes, *doubts, *angles),
    )


def _check_sum(stream: Any, end: int) -> None:
    """Unpack what is left, at whose end gzip's checksum is compared: else a flipped bit would go unseen.

    end: where the voxels do.  What goes on for long after them is not unpacked to its end.
    """
    while stream.read(2**20):
        if stream.tell() > end + _BESIDE:
            raise LiquidLensError("the file goes on for long after its last voxel; save it again.")


def volumes(file: BinaryIO) -> int:
    """How many volumes a file holds by its header: 1 but for 4D images.  Raises ValueError if they cannot be in it."""
    size = size_of(file)
    header, packed = _read_header(file)
    shape = _axes(header.get_data_shape())
    if len(shape) != 4:
        return 1
    if not all(shape) or math.prod(shape) * header.get_data_dtype().itemsize > size * (_DEFLATE if packed else 1):
        raise ValueError("the file is too small for its volumes")
    return int(shape[3])


def data_type(file: BinaryIO) -> np.dtype:
    """What the voxels are stored as, by the file's header."""
    return _read_header(file)[0].get_data_dtype()


def _read_header(file: BinaryIO) -> tuple[Any, bool]:
    """The header of an open file, and whether the file is packed."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return _header((gzip.GzipFile(fileobj=file) if packed else file).read(540)), packed


def _header(start: bytes) -> Any:
    """A header by the first bytes of a file; nibabel's own checks, which take longer than a small file, come later."""
    second = start[4:8] in (b"n+2\0", b"ni2\0")
    return Nifti2Header(start[:540], check=False) if second else Nifti1Header(start[:348], check=False)


def _check_header(stream: BinaryIO, packed: int | None, request: Request) -> type[Nifti1Image]:
    """Judge the header alone, before nibabel reads extensions or pixels.  Returns the class that reads the file.

    packed: bytes of the packed file, None if it is not packed.
    """
    start = stream.read(540)
    if len(start) < 348 or not is_nifti(start):
        raise ValueError("no NIfTI header")
    header = _header(start)
    if b"+" not in bytes(header["magic"]):
        raise LiquidLensError("the header of a pair .hdr and .img without its pixels; save it as one .nii file.")
    if 3000 <= int(header["intent_code"]) < 3100:
        raise LiquidLensError("a CIFTI file, which holds a surface or a matrix; volumes can be read.")
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if dtype.kind not in "biuf" and dtype.names is None:
        raise LiquidLensError(f"pixels are numbers, this image holds {dtype}.")
    axes = _axes(shape)
    if _volume(axes, request) is None and len(axes) != 3:
        raise LiquidLensError(f"a volume has 3 axes, this image has {len(axes)}.")
    request.budget.check_pixels(math.prod(shape[:3]))
    _check_size(request.budget, int(header["vox_offset"]) + math.prod(shape) * dtype.itemsize, packed)
    if header["vox_offset"] < header.single_vox_offset:
        raise LiquidLensError(
            f"the voxels begin within the header (vox_offset {int(header['vox_offset'])}, less than "
            f"{header.single_vox_offset}), so which bytes they are is unknown; save the file again."
        )
    if header["vox_offset"] > _BESIDE:
        raise LiquidLensError("the voxels begin far behind the header; save the file without its extensions.")
    return Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image


def _check_size(budget: Budget, inflated: int, packed: int | None) -> None:
    if packed is not None:
        budget.check_inflated(inflated, packed)


def _axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without axes of length 1 behind those of space and time."""
    while len(shape) > 4 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _volume(shape: tuple[int, ...], request: Request) -> int | None:
    """Which volume of a 4D image is asked for; None for other images."""
    if len(shape) == 4:
        if not request.selection and shape[3] > 1:
            raise LiquidLensError(f"a 4D image of {shape[3]} volumes; name one of them, as in {request.name}#0.")
        return index(request.selection or "0", shape[3])
    if request.selection:
        raise LiquidLensError(f"this image is one volume, there is no item {request.selection!r}.")
    return None


def _affine(header: Any) -> tuple[np.ndarray, bool, list[str]]:
    """The matrix to LPS millimetres that nibabel prefers, whether it says how the patient lies, and doubts about it."""
    to_mm = _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    affine = _RAS_TO_LPS @ header.get_best_affine()
    affine[:3] *= to_mm
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not sform and not qform:
        return affine, False, ["The file does not say how the patient lies; the usual order of its axes was assumed."]
    if sform and qform:
        try:
            sides = [nibabel.aff2axcodes(matrix) for matrix in (header.get_sform(), header.get_qform())]
        except ValueError:
            return affine, True, ["The rotation of the file's qform is impossible; the sform was used."]
        if sides[0] != sides[1]:
            return (
                affine,
                False,
                ["The file says in two ways how the patient lies, and they disagree; the sform was used."],
            )
    return affine, True, []
